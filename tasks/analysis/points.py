"""Points: strategy x batch size, with the numbers of its valid trials."""

import statistics
from dataclasses import dataclass

import pandas as pd

from tasks.analysis.coverage import Problem
from tasks.analysis.frames import Frames
from tasks.analysis.summary import Summary, summarize
from tasks.domain.strategy import Strategy
from tasks.domain.sweep import Sweep
from tasks.domain.trial import Role


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Point:
    """One point of the grid, also where no trial of it is valid."""

    strategy: Strategy
    global_batch_size: int
    """Examples per optimizer step over all replicas."""
    role: Role
    num_replicas: int
    """Devices that one trial holds."""
    problems: tuple[Problem, ...]
    """Planned trials without a number."""
    trials: pd.DataFrame
    """Its rows of `Frames.valid`."""
    epochs: pd.DataFrame
    steps: pd.DataFrame
    median_curve: pd.DataFrame
    """`elapsed_seconds` and `test_accuracy` by epoch, medians over the trials that have the epoch."""
    step_percentiles: tuple[float, float, float] | None
    """50th, 95th and 99th percentile of step time in seconds, taken inside each trial, then the median over the trials;
    null without any window. They describe, they decide nothing."""

    @property
    def n(self) -> int:
        """Number of valid trials."""
        return len(self.trials)

    @property
    def per_replica_batch_size(self) -> int:
        """Examples per optimizer step on each replica."""
        return self.global_batch_size // self.num_replicas

    def summary(self, column: str) -> Summary | None:
        """The values of a column of `Frames.valid`, one a trial that has it; None without any."""
        return summarize(self.trials[column])

    def median(self, column: str) -> float | None:
        """The median of a column of `Frames.valid`; None without a value."""
        summary = self.summary(column)
        return summary.median if summary else None

    def value(self, column: str) -> float:
        """The median of a column that every valid trial has; raises statistics.StatisticsError without a trial."""
        return float(statistics.median(self.trials[column]))


def build_points(sweep: Sweep, frames: Frames, problems: tuple[Problem, ...]) -> tuple[Point, ...]:
    """The points that the sweep asks for: by batch size, then by strategy, both in the sweep's order."""
    cells = [(strategy, batch) for batch in sweep.global_batch_sizes for strategy in sweep.strategies]
    return tuple(_point(sweep, frames, problems, strategy, batch, Role.MEASURED) for strategy, batch in cells)


def build_baselines(sweep: Sweep, frames: Frames, problems: tuple[Problem, ...]) -> tuple[Point, ...]:
    """The points that only serve as the denominator of others, by batch size."""
    rows = frames.trials[frames.trials["role"] == Role.BASELINE]
    cells = sorted(set(zip(rows["global_batch_size"], rows["strategy"], strict=True)))
    return tuple(_point(sweep, frames, problems, Strategy(name), int(batch), Role.BASELINE) for batch, name in cells)


def _point(
    sweep: Sweep, frames: Frames, problems: tuple[Problem, ...], strategy: Strategy, batch: int, role: Role
) -> Point:
    rows = frames.valid
    is_at = (rows["strategy"] == strategy) & (rows["global_batch_size"] == batch) & (rows["role"] == role)
    keys = rows.loc[is_at, "trial_key"]
    epochs = frames.epochs[frames.epochs["trial_key"].isin(keys)]
    steps = frames.steps[frames.steps["trial_key"].isin(keys)]
    by_trial = steps.groupby("trial_key")["step_seconds"]
    p50, p95, p99 = (float(by_trial.quantile(q).median()) for q in (0.50, 0.95, 0.99))
    return Point(
        strategy=strategy,
        global_batch_size=batch,
        role=role,
        num_replicas=sweep.replicas_of(strategy),
        problems=tuple(p for p in problems if (p.strategy, p.global_batch_size, p.role) == (strategy, batch, role)),
        trials=rows[is_at],
        epochs=epochs,
        steps=steps,
        median_curve=epochs.groupby("epoch")[["elapsed_seconds", "test_accuracy"]].median(),
        step_percentiles=None if steps.empty else (p50, p95, p99),
    )
