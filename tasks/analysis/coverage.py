"""Coverage: the trials that were planned against the trials that may be used."""

from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from tasks.analysis.frames import Frames
from tasks.domain.cell import Cell
from tasks.domain.outcome import Status
from tasks.domain.trial import Role
from tasks.results.run import Run

MISSING, LOST = "missing", "lost"
"""The shortfall of a planned trial without a record, in a run that goes on or was stopped, and in one that had ended;
the others are the statuses `invalid` and `failed`."""
TEXTS = {"reason": "reason", "message": "message", "phase": "failed_phase"}
"""Columns of a problem's texts, where pandas holds a null of some kind if there is none."""


class RunState(StrEnum):
    """How much of a run may be used, the best first."""

    COMPLETE = "complete"
    """Every planned trial is valid."""
    PARTIAL = "partial"
    """The run goes on, or was stopped before its end; what is recorded is valid."""
    DAMAGED = "damaged"
    """The run had ended, but a trial of it has no record any more."""
    INVALID = "invalid"
    """A check of some training did not hold."""
    FAILED = "failed"
    """Some training did not end."""
    NOT_MEASURED = "not_measured"
    """No trial is valid."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """One planned trial without a number."""

    cell: Cell
    block: int
    role: Role
    shortfall: str
    reason: str | None = None
    """Code of the broken check or of the failure; null where the trial is missing."""
    message: str | None = None
    phase: str | None = None
    """Phase in which a failed trial died."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Coverage:
    """Counts of trials; `planned` is what the others should add up to."""

    planned: int
    valid: int
    invalid: int
    failed: int
    missing: int
    num_blocks: int
    """Blocks that `planned` counts."""
    num_begun: int
    """Blocks with a record, valid or not."""
    has_ended: bool
    """Whether the run came to its end, so that what is missing was lost."""
    num_recorded: int
    """Trials with a record."""
    problems: tuple[Problem, ...]
    """By block, then as the members of a block."""

    @property
    def state(self) -> RunState:
        """The run's state, the worst first."""
        if not self.valid:
            return RunState.NOT_MEASURED
        if self.failed:
            return RunState.FAILED
        if self.invalid:
            return RunState.INVALID
        if self.missing:
            return RunState.DAMAGED if self.has_ended else RunState.PARTIAL
        return RunState.COMPLETE if self.has_ended else RunState.PARTIAL


def build_coverage(run: Run, frames: Frames) -> Coverage:
    """What was planned, what of it is valid, and why the rest is not.

    Planned are the blocks of a run that has ended; otherwise those that it cannot do without, or has begun.
    """
    trials = frames.trials.to_dict("records")
    counts = Counter(row["status"] for row in trials)
    records = {(row["block"], row["cell"], row["role"]): row for row in trials}
    begun = max((row["block"] for row in trials), default=0)
    num_blocks = max(begun, run.end.num_blocks if run.end else run.sweep.min_blocks)
    members = run.sweep.members(run.device)
    planned = [(block, cell, role) for block in range(1, num_blocks + 1) for role, cell in members]
    nothing: dict[Hashable, Any] = {"status": LOST if run.end else MISSING}
    problems = tuple(
        Problem(
            cell=cell,
            block=block,
            role=Role(role),
            shortfall=row["status"],
            **{name: row[column] for name, column in TEXTS.items() if isinstance(row.get(column), str)},
        )
        for block, cell, role in dict.fromkeys([*planned, *records])
        if (row := records.get((block, cell, role), nothing))["status"] != Status.VALID
    )
    return Coverage(
        planned=len(planned),
        valid=counts[Status.VALID],
        invalid=counts[Status.INVALID],
        failed=counts[Status.FAILED],
        missing=sum(problem.shortfall in (MISSING, LOST) for problem in problems),
        num_blocks=num_blocks,
        num_begun=begun,
        has_ended=run.end is not None,
        num_recorded=len(records),
        problems=problems,
    )
