"""Pairs: two strategies at one batch size, compared inside the same blocks."""

from dataclasses import dataclass
from itertools import combinations

from tasks.analysis.frames import Frames, by_strategy
from tasks.analysis.summary import Summary, pooled_deviation, summarize
from tasks.domain.strategy import Strategy
from tasks.domain.sweep import Sweep

MIN_VERDICT_BLOCKS = 6
"""Fewer blocks give no verdict on speed."""
MIN_ACCURACY_BLOCKS = 3
"""Whole trainings of each strategy below which equivalence is not decidable."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """`strategy` against `against` at one batch size, both in the same block and on the same machine."""

    strategy: Strategy
    against: Strategy
    global_batch_size: int
    ratios: Summary | None
    """One a block: how many times as fast `strategy` trained, in training seconds; null without a common block."""

    @property
    def num_blocks(self) -> int:
        """Blocks in which both trials are valid."""
        return self.ratios.n if self.ratios else 0


@dataclass(frozen=True, kw_only=True, slots=True)
class AccuracySpread:
    """How far final test accuracies lie apart at one batch size, as shares."""

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
    """The declared family: each strategy against one device, and the others against each other, at each batch size."""
    ordered = sorted(sweep.strategies, key=lambda strategy: strategy is not Strategy.ONE_DEVICE)
    seconds = by_strategy(frames.valid, "training_seconds")
    return tuple(
        Pair(
            strategy=strategy,
            against=against,
            global_batch_size=batch,
            ratios=summarize(rows[against] / rows[strategy]),
        )
        for batch in sweep.global_batch_sizes
        for rows in [seconds[seconds.index.get_level_values(0) == batch]]
        for against, strategy in combinations(ordered, 2)
    )


def build_accuracy_spreads(sweep: Sweep, frames: Frames) -> tuple[AccuracySpread, ...]:
    """One spread a batch size."""
    accuracies, spreads = by_strategy(frames.valid, "test_accuracy"), []
    for batch in sweep.global_batch_sizes:
        rows = accuracies[accuracies.index.get_level_values(0) == batch]
        differences = (rows.max(axis=1) - rows.min(axis=1))[rows.count(axis=1) > 1]
        spreads.append(
            AccuracySpread(
                global_batch_size=batch,
                largest_difference=None if differences.empty else float(differences.max()),
                between_strategies=pooled_deviation(rows),
                between_seeds=pooled_deviation(rows.T),
                num_strategies=int(rows.notna().any().sum()),
                num_blocks=len(rows),
            )
        )
    return tuple(spreads)
