"""Coverage: the trials that were planned against the trials that may be used."""

from dataclasses import dataclass
from enum import StrEnum
from itertools import product

import pandas as pd

from tasks.analysis.frames import Frames
from tasks.domain.outcome import Status
from tasks.domain.strategy import Strategy
from tasks.domain.sweep import Sweep
from tasks.domain.trial import Role
from tasks.results.run import Run


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


class Shortfall(StrEnum):
    """Why a planned trial gives no number."""

    INVALID = "invalid"
    """It ended with a check that did not hold."""
    FAILED = "failed"
    """It did not end."""
    MISSING = "missing"
    """It has no record."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """One planned trial without a number."""

    strategy: Strategy
    global_batch_size: int
    block: int
    role: Role
    shortfall: Shortfall
    reason: str | None
    """Code of the broken check or of the failure; null where the trial is missing."""
    message: str | None
    phase: str | None
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
    counts = frames.trials["status"].value_counts()
    problems = [*_recorded_problems(frames.trials), *_missing_problems(run, frames.trials)]
    return Coverage(
        planned=run.num_planned_trials,
        valid=int(counts.get(Status.VALID, 0)),
        invalid=int(counts.get(Status.INVALID, 0)),
        failed=int(counts.get(Status.FAILED, 0)),
        missing=max(0, run.num_planned_trials - len(frames.trials)),
        problems=tuple(sorted(problems, key=lambda problem: _place(run.sweep, problem))),
    )


def _place(sweep: Sweep, problem: Problem) -> tuple[int, int, int]:
    """Sorts problems by block, batch size and strategy; batch sizes that only baselines have come last."""
    batches, batch = sweep.global_batch_sizes, problem.global_batch_size
    strategies = (*sweep.strategies, problem.strategy)
    place = batches.index(batch) if batch in batches else len(batches) + batch
    return problem.block, place, strategies.index(problem.strategy)


def _recorded_problems(trials: pd.DataFrame) -> list[Problem]:
    rows = trials[trials["status"] != Status.VALID]
    return [
        Problem(
            strategy=Strategy(row["strategy"]),
            global_batch_size=int(row["global_batch_size"]),
            block=int(row["block"]),
            role=Role(row["role"]),
            shortfall=Shortfall(row["status"]),
            reason=_text(row["reason"]),
            message=_text(row["message"]),
            phase=_text(row["failed_phase"]),
        )
        for row in rows.to_dict("records")
    ]


def _missing_problems(run: Run, trials: pd.DataFrame) -> list[Problem]:
    measured = trials[trials["role"] == Role.MEASURED]
    recorded = set(zip(measured["block"], measured["global_batch_size"], measured["strategy"], strict=True))
    blocks = range(1, run.sweep.num_blocks + 1)
    return [
        Problem(
            strategy=strategy,
            global_batch_size=global_batch_size,
            block=block,
            role=Role.MEASURED,
            shortfall=Shortfall.MISSING,
            reason=None,
            message=None,
            phase=None,
        )
        for block, global_batch_size, strategy in product(blocks, run.sweep.global_batch_sizes, run.sweep.strategies)
        if (block, global_batch_size, strategy) not in recorded
    ]


def _text(value: object) -> str | None:
    """The cell's text; None where pandas holds a null of any kind."""
    return value if isinstance(value, str) else None
