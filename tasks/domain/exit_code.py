"""Exit codes of the command line: one table, worst first where several apply."""

from collections.abc import Iterable
from enum import IntEnum


class ExitCode(IntEnum):
    """What a command says to its caller."""

    OK = 0
    INTERNAL_ERROR = 1
    REFUSED = 2
    """Input that cannot be served; nothing was started."""
    INVALID = 14
    """A training ended, but a check of it did not hold."""
    FAILED = 15
    """A training did not end."""
    NOT_MEASURED = 16
    """A planned trial has no record."""
    INTERRUPTED = 130


WORST_FIRST = (ExitCode.FAILED, ExitCode.INVALID, ExitCode.NOT_MEASURED)


def worst(codes: Iterable[ExitCode]) -> ExitCode:
    """The worst of several results; OK if there is none."""
    found = set(codes)
    return next((code for code in WORST_FIRST if code in found), ExitCode.OK)
