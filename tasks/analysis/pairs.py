"""Pairs: the declared family of comparisons, each inside the same blocks."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, groupby

import pandas as pd

from tasks.analysis.frames import Frames, log_ratios, values_at
from tasks.analysis.points import default_cells
from tasks.analysis.statistics import AccuracyComparison, Comparison, judge_accuracy, judge_family
from tasks.domain.cell import Arm, Cell
from tasks.domain.device import DeviceType
from tasks.domain.strategy import Strategy
from tasks.domain.sweep import Sweep
from tasks.domain.trial import Role


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """`cell` against another one at its setting and batch size, both in the same block and on the same machine."""

    cell: Cell
    against: Cell
    against_role: Role
    """REFERENCE where it is one device as wide as all slices of `cell`; BASELINE where the grid has no one_device."""
    comparison: Comparison
    """Of training seconds over the epochs that both trained."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AccuracyPair:
    """The final test accuracy of two strategies, averaged over the batch sizes and paired by seed."""

    strategy: Strategy
    against: Strategy
    num_batch_sizes: int
    comparison: AccuracyComparison
    """Of whole trainings."""


def build_pairs(sweep: Sweep, device: DeviceType, frames: Frames) -> tuple[Pair, ...]:
    """The declared family, judged: it follows from the sweep alone, whatever was recorded."""
    family = tuple(declare(sweep, device))
    found = judge_family([log_ratios(frames, *pair) for pair in family])
    return tuple(
        Pair(cell=cell, against=against, against_role=role, comparison=comparison)
        for (cell, against, role), comparison in zip(family, found, strict=True)
    )


def declare(sweep: Sweep, device: DeviceType) -> Iterator[tuple[Cell, Cell, Role]]:
    """Inside each setting and batch size: the strategies among each other, one device second, and against those apart.

    With another environment: each point there against the same point here, and nothing else.
    """
    if sweep.versus is not None:
        yield from ((replace(c, arm=Arm.OTHER), c, Role.MEASURED) for c in sweep.cells if c.arm is Arm.HERE)
        return
    apart = [(role, cell) for role, cell in sweep.members(device) if role is not Role.MEASURED]
    for _, group in groupby(sweep.cells, key=lambda cell: (cell.setting, cell.global_batch_size)):
        ordered = sorted(group, key=lambda cell: cell.strategy is not Strategy.ONE_DEVICE)
        yield from ((cell, against, Role.MEASURED) for against, cell in combinations(ordered, 2))
        for cell in ordered:
            single = replace(cell, strategy=Strategy.ONE_DEVICE, reduction=None)
            yield from ((cell, single, role) for role, other in apart if other == single != cell)


def build_accuracy_pairs(sweep: Sweep, frames: Frames) -> tuple[AccuracyPair, ...]:
    """Every two strategies, on the cells that answers are for."""
    ordered = sorted(sweep.strategies, key=lambda strategy: strategy is not Strategy.ONE_DEVICE)
    cells = {strategy: default_cells(sweep, strategy) for strategy in ordered}
    return tuple(
        AccuracyPair(
            strategy=strategy,
            against=against,
            num_batch_sizes=len(cells[strategy]),
            comparison=judge_accuracy(accuracy_differences(frames.valid, cells[strategy], cells[against])),
        )
        for against, strategy in combinations(ordered, 2)
    )


def accuracy_differences(rows: pd.DataFrame, cells: Sequence[Cell], against: Sequence[Cell]) -> "pd.Series[float]":
    """Test accuracy of `cells` minus that of `against`, as shares, by block and machine.

    The mean over a trial's rows, then over the batch sizes, where whole trainings of all of them are valid.
    """

    def means(cell: Cell) -> "pd.Series[float]":
        return values_at(rows, cell, "test_accuracy").groupby(level=[0, 1]).mean()

    pairs = zip(cells, against, strict=True)
    by_batch = {cell.global_batch_size: means(cell) - means(other) for cell, other in pairs}
    return pd.DataFrame(by_batch).dropna().mean(axis=1)
