"""Points: the cells of the grid, each with the numbers of its valid trials."""

from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from tasks.analysis.coverage import Problem
from tasks.analysis.frames import Frames, rows_of
from tasks.analysis.summary import Summary, summarize
from tasks.domain.cell import Arm, Cell
from tasks.domain.device import DeviceType
from tasks.domain.reduction import Reduction
from tasks.domain.strategy import Strategy
from tasks.domain.sweep import Sweep
from tasks.domain.trial import Role


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Point:
    """One point of the grid, also where no trial of it is valid."""

    cell: Cell
    role: Role
    num_replicas: int
    """Devices that one trial holds."""
    problems: tuple[Problem, ...]
    """Planned trials without a number."""
    trials: pd.DataFrame
    """Its rows of `Frames.valid`."""
    epochs: pd.DataFrame
    """Those of whole trainings."""
    steps: pd.DataFrame
    median_curve: pd.DataFrame
    """`elapsed_seconds` and `test_accuracy` by epoch, medians over the trials that have the epoch."""
    step_percentiles: tuple[float, float, float] | None
    """50th, 95th and 99th percentile of step time in seconds, taken inside each trial, then the median over the trials;
    null without any window. They describe, they decide nothing."""

    @property
    def strategy(self) -> Strategy:
        """The cell's strategy."""
        return self.cell.strategy

    @property
    def global_batch_size(self) -> int:
        """Examples per optimizer step over all replicas."""
        return self.cell.global_batch_size

    @property
    def n(self) -> int:
        """Number of valid trials."""
        return len(self.trials)

    @property
    def num_whole(self) -> int:
        """Number of valid trials that trained every epoch."""
        return int(self.trials["training_seconds"].count())

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


def medians(points: Iterable[Point], column: str) -> list[float]:
    """The median of a column of `Frames.valid` at each point that has one."""
    return [value for point in points if (value := point.median(column)) is not None]


def default_cells(sweep: Sweep, strategy: Strategy) -> tuple[Cell, ...]:
    """The strategy's cells in the first setting that the sweep trains under, by batch size.

    Where it has several reductions, `auto`, or the first; where it has two environments, this one.
    """
    wanted = strategy, sweep.setting, Arm.HERE
    cells = [cell for cell in sweep.cells if (cell.strategy, cell.setting, cell.arm) == wanted]
    reductions = sorted((cell.reduction for cell in cells), key=lambda reduction: reduction is not Reduction.AUTO)
    return tuple(cell for cell in cells if cell.reduction == reductions[0])


def build_points(sweep: Sweep, device: DeviceType, frames: Frames, problems: tuple[Problem, ...]) -> tuple[Point, ...]:
    """The points that a block trains, in the order of its members: the grid first."""
    return tuple(_point(sweep, frames, problems, cell, role) for role, cell in sweep.members(device))


def _point(sweep: Sweep, frames: Frames, problems: tuple[Problem, ...], cell: Cell, role: Role) -> Point:
    trials = rows_of(frames.valid, cell, role)
    epochs = rows_of(frames.epochs, cell, role)
    steps = frames.steps[frames.steps["trial_key"].isin(trials["trial_key"])]
    by_trial = steps.groupby("trial_key")["step_seconds"]
    p50, p95, p99 = (float(by_trial.quantile(q).median()) for q in (0.50, 0.95, 0.99))
    return Point(
        cell=cell,
        role=role,
        num_replicas=sweep.replicas_of(cell.strategy),
        problems=tuple(problem for problem in problems if (problem.cell, problem.role) == (cell, role)),
        trials=trials,
        epochs=epochs,
        steps=steps,
        median_curve=epochs.groupby("epoch")[["elapsed_seconds", "test_accuracy"]].median(),
        step_percentiles=None if steps.empty else (p50, p95, p99),
    )
