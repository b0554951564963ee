"""Accuracy: whether strategies differ by more than seeds do."""

import math
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations

import pandas as pd

from tasks.analysis.frames import Frames
from tasks.analysis.summary import Summary, pooled_deviation, summarize
from tasks.domain.strategy import Strategy
from tasks.domain.sweep import Sweep
from tasks.domain.trial import Role

MIN_ACCURACY_BLOCKS = 3
"""Whole trainings of each strategy below which equivalence is not decidable."""


class AccuracyVerdict(StrEnum):
    """What the seeds decide about two strategies' accuracy."""

    EQUIVALENT = "equivalent"
    DIFFERENT = "different"
    INCONCLUSIVE = "inconclusive"


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


@dataclass(frozen=True, kw_only=True, slots=True)
class AccuracyPair:
    """Final test accuracy of `strategy` minus that of `against`, paired by seed."""

    strategy: Strategy
    against: Strategy
    differences: Summary | None
    """One a block: the mean over the batch sizes, as a share."""
    verdict: AccuracyVerdict = AccuracyVerdict.INCONCLUSIVE
    """Nothing is tested yet, so that no pair is decided."""


def build_accuracy_spreads(sweep: Sweep, frames: Frames) -> tuple[AccuracySpread, ...]:
    """One spread a batch size."""
    return tuple(_spread(frames, batch) for batch in sweep.global_batch_sizes)


def build_accuracy_pairs(sweep: Sweep, frames: Frames) -> tuple[AccuracyPair, ...]:
    """Every two strategies of the sweep, one device first."""
    ordered = sorted(sweep.strategies, key=lambda strategy: strategy is not Strategy.ONE_DEVICE)
    return tuple(
        AccuracyPair(strategy=strategy, against=against, differences=summarize(_differences(frames, strategy, against)))
        for against, strategy in combinations(ordered, 2)
    )


def sampling_error(accuracy: float, num_test_examples: int) -> float:
    """Standard error of an accuracy over so many independent test examples, as a share (binomial)."""
    return math.sqrt(accuracy * (1 - accuracy) / num_test_examples)


def _measured(frames: Frames) -> pd.DataFrame:
    rows = frames.valid[frames.valid["role"] == Role.MEASURED]
    return rows.dropna(subset=["test_accuracy"])


def _spread(frames: Frames, batch: int) -> AccuracySpread:
    rows = _measured(frames)
    rows = rows[rows["global_batch_size"] == batch]
    by_block = [tuple(part) for _, part in rows.groupby("block")["test_accuracy"]]
    by_strategy = [tuple(part) for _, part in rows.groupby("strategy")["test_accuracy"]]
    differences = [max(values) - min(values) for values in by_block if len(values) > 1]
    return AccuracySpread(
        global_batch_size=batch,
        largest_difference=max(differences, default=None),
        between_strategies=pooled_deviation(by_block),
        between_seeds=pooled_deviation(by_strategy),
        num_strategies=len(by_strategy),
        num_blocks=len(by_block),
    )


def _differences(frames: Frames, strategy: Strategy, against: Strategy) -> list[float]:
    columns = ["block", "global_batch_size", "test_accuracy"]
    rows = _measured(frames)
    first, second = (rows.loc[rows["strategy"] == name, columns] for name in (strategy, against))
    both = first.merge(second, on=columns[:2], suffixes=("", "_against"))
    difference = both["test_accuracy"] - both["test_accuracy_against"]
    return [float(value) for value in difference.groupby(both["block"]).mean()]
