"""Pairs: two cells of one setting and batch size, compared inside the same blocks."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, groupby

import pandas as pd

from tasks.analysis.frames import Frames, values_at
from tasks.analysis.summary import Summary, pooled_deviation, summarize
from tasks.domain.cell import Cell, Setting
from tasks.domain.strategy import Strategy
from tasks.domain.sweep import Sweep

MIN_VERDICT_BLOCKS = 6
"""Fewer blocks give no verdict on speed."""
MIN_ACCURACY_BLOCKS = 3
"""Whole trainings of each strategy below which equivalence is not decidable."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """`cell` against another of its setting and batch size, both in the same block and on the same machine."""

    cell: Cell
    against: Cell
    ratios: Summary | None
    """One a block: how many times as fast `cell` trained, in training seconds; null without a common block."""

    @property
    def num_blocks(self) -> int:
        """Blocks in which both trials are valid."""
        return self.ratios.n if self.ratios else 0


@dataclass(frozen=True, kw_only=True, slots=True)
class AccuracySpread:
    """How far final test accuracies lie apart in one setting at one batch size, as shares."""

    setting: Setting
    global_batch_size: int
    largest_difference: float | None
    """Between two strategies in the same block, the largest over the blocks; null with fewer than 2 strategies."""
    between_strategies: float | None
    """Standard deviation over the strategies of one block (one seed), pooled over the blocks."""
    between_seeds: float | None
    """Standard deviation over the blocks of one strategy, pooled over the strategies; null below 2 blocks."""
    num_strategies: int
    num_blocks: int


def build_pairs(sweep: Sweep, frames: Frames) -> tuple[Pair, ...]:
    """The declared family, inside each setting and batch size: every cell against one device, the others among them."""
    pairs = []
    for _, _, cells in _comparable(sweep):
        ordered = sorted(cells, key=lambda cell: cell.strategy is not Strategy.ONE_DEVICE)
        seconds = {cell: values_at(frames.valid, cell, "training_seconds") for cell in ordered}
        pairs += [
            Pair(cell=cell, against=against, ratios=summarize(seconds[against] / seconds[cell]))
            for against, cell in combinations(ordered, 2)
        ]
    return tuple(pairs)


def build_accuracy_spreads(sweep: Sweep, frames: Frames) -> tuple[AccuracySpread, ...]:
    """One spread for each setting and batch size."""
    spreads = []
    for setting, batch, cells in _comparable(sweep):
        values = [values_at(frames.valid, cell, "test_accuracy") for cell in cells]
        rows = pd.DataFrame(dict(enumerate(values)))
        differences = (rows.max(axis=1) - rows.min(axis=1))[rows.count(axis=1) > 1]
        spreads.append(
            AccuracySpread(
                setting=setting,
                global_batch_size=batch,
                largest_difference=None if differences.empty else float(differences.max()),
                between_strategies=pooled_deviation(rows),
                between_seeds=pooled_deviation(rows.T),
                num_strategies=int(rows.notna().any().sum()),
                num_blocks=len(rows),
            )
        )
    return tuple(spreads)


def _comparable(sweep: Sweep) -> Iterator[tuple[Setting, int, list[Cell]]]:
    """The cells of each setting and batch size."""
    for (setting, batch), cells in groupby(sweep.cells, key=lambda cell: (cell.setting, cell.global_batch_size)):
        yield setting, batch, list(cells)
