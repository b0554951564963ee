"""Coverage: the trials that were planned against the trials that may be used."""

from dataclasses import dataclass
from enum import StrEnum
from itertools import product
from typing import Any

from tasks.analysis.frames import Frames
from tasks.domain.cell import Cell
from tasks.domain.outcome import Status
from tasks.domain.sweep import Sweep
from tasks.domain.trial import Role
from tasks.results.run import Run

MISSING = "missing"
"""The shortfall of a planned trial without a record; the others are the statuses `invalid` and `failed`."""


class RunState(StrEnum):
    """How much of a run may be used."""

    COMPLETE = "complete"
    """Every planned trial is valid."""
    PARTIAL = "partial"
    """Some planned trials have no record, the others are valid."""
    DEGRADED = "degraded"
    """Some trials failed or are invalid."""
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
    problems: tuple[Problem, ...]
    """By block, then as the grid; a baseline trial without a record is only counted."""

    @property
    def state(self) -> RunState:
        """The run's state, the worst first."""
        if not self.valid:
            return RunState.NOT_MEASURED
        if self.invalid or self.failed:
            return RunState.DEGRADED
        return RunState.PARTIAL if self.missing else RunState.COMPLETE


def build_coverage(run: Run, frames: Frames) -> Coverage:
    """What was planned, what of it is valid, and why the rest is not."""
    counts = {str(status): int(number) for status, number in frames.trials["status"].value_counts().items()}
    names = ["block", "cell", "role"]
    trials = frames.trials[[*names, "status", *TEXTS.values()]]
    records = {tuple(row[name] for name in names): row for row in trials.to_dict("records")}
    sweep = run.sweep
    planned = product(range(1, sweep.num_blocks + 1), sweep.cells, [Role.MEASURED])
    nothing: dict[Any, Any] = {"status": MISSING}
    problems = [
        Problem(
            cell=cell,
            block=int(block),
            role=Role(role),
            shortfall=row["status"],
            **{name: row[column] for name, column in TEXTS.items() if isinstance(row.get(column), str)},
        )
        for block, cell, role in dict.fromkeys([*records, *planned])
        if (row := records.get((block, cell, role), nothing))["status"] != Status.VALID
    ]
    return Coverage(
        planned=run.num_planned_trials,
        valid=counts.get(Status.VALID, 0),
        invalid=counts.get(Status.INVALID, 0),
        failed=counts.get(Status.FAILED, 0),
        missing=max(0, run.num_planned_trials - len(frames.trials)),
        problems=tuple(sorted(problems, key=lambda problem: _place(sweep, problem))),
    )


TEXTS = {"reason": "reason", "message": "message", "phase": "failed_phase"}
"""Columns of a problem's texts, where pandas holds a null of some kind if there is none."""


def _place(sweep: Sweep, problem: Problem) -> tuple[int, int]:
    """Sorts problems by block, then as the grid; cells that only baselines have come last, by batch size."""
    cells, cell = sweep.cells, problem.cell
    return problem.block, cells.index(cell) if cell in cells else len(cells) + cell.global_batch_size
