"""Exit codes of the command line: one table, worst first where several apply."""

from collections.abc import Iterable
from enum import IntEnum


class ExitCode(IntEnum):
    """What a command says to its caller."""

    OK = 0
    INTERNAL_ERROR = 1
    REFUSED = 2
    """Input that cannot be served; nothing was started."""
    REGRESSED = 10
    """The other environment, or tonight's, is slower at some point."""
    IMPROVED = 11
    """It is faster at some point and nowhere slower."""
    SUSPECT = 12
    """A cell is far out tonight; the next night decides."""
    INCONCLUSIVE = 13
    """Too few blocks for any verdict that was asked for."""
    INVALID = 14
    """A check of a training did not hold, or a run that had ended lacks a record."""
    FAILED = 15
    """A training did not end."""
    NOT_MEASURED = 16
    """No trial has a record."""
    NO_BASELINE = 17
    """Too few comparable nights before."""
    PARTIAL = 18
    """The run was stopped before its end."""
    INTERRUPTED = 130


WORST_FIRST = (
    ExitCode.INTERRUPTED,
    ExitCode.FAILED,
    ExitCode.INVALID,
    ExitCode.REGRESSED,
    ExitCode.NOT_MEASURED,
    ExitCode.PARTIAL,
    ExitCode.SUSPECT,
    ExitCode.NO_BASELINE,
    ExitCode.INCONCLUSIVE,
    ExitCode.IMPROVED,
)


def worst(codes: Iterable[ExitCode]) -> ExitCode:
    """The worst of several results; OK if there is none."""
    found = set(codes)
    return next((code for code in WORST_FIRST if code in found), ExitCode.OK)
