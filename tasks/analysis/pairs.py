"""Pairs: two strategies at one batch size, compared inside the same blocks."""

from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations

import pandas as pd

from tasks.analysis.frames import Frames
from tasks.analysis.summary import Summary, summarize
from tasks.domain import metrics
from tasks.domain.strategy import Strategy
from tasks.domain.sweep import Sweep

MIN_VERDICT_BLOCKS = 6
"""Fewer blocks give no verdict on speed."""


class Verdict(StrEnum):
    """What a pair's blocks decide about the first strategy against the second."""

    FASTER = "faster"
    SLOWER = "slower"
    EQUIVALENT = "equivalent"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """`strategy` against `against` at one batch size, both in the same block and on the same machine."""

    strategy: Strategy
    against: Strategy
    global_batch_size: int
    ratios: Summary | None
    """One a block: how many times as fast `strategy` trained, in training seconds; null without a common block."""
    verdict: Verdict = Verdict.INCONCLUSIVE
    """Nothing is tested yet, so that no pair is decided."""

    @property
    def num_blocks(self) -> int:
        """Blocks in which both trials are valid."""
        return self.ratios.n if self.ratios else 0


def build_pairs(sweep: Sweep, frames: Frames) -> tuple[Pair, ...]:
    """The declared family: each strategy against one device, and the others against each other, at each batch size."""
    ordered = sorted(sweep.strategies, key=lambda strategy: strategy is not Strategy.ONE_DEVICE)
    return tuple(
        Pair(
            strategy=strategy,
            against=against,
            global_batch_size=global_batch_size,
            ratios=summarize(
                blocked_ratios(
                    frames.valid_at(strategy, global_batch_size), frames.valid_at(against, global_batch_size)
                )
            ),
        )
        for global_batch_size in sweep.global_batch_sizes
        for against, strategy in combinations(ordered, 2)
    )


def blocked_ratios(trials: pd.DataFrame, references: pd.DataFrame) -> list[float]:
    """How many times as fast each trial was as the reference trial of the same block and machine, in block order."""
    columns = ["block", "machine_fingerprint", "training_seconds"]
    both = trials[columns].merge(references[columns], on=columns[:2], suffixes=("", "_reference"))
    pairs = zip(both["training_seconds_reference"], both["training_seconds"], strict=True)
    return [metrics.speedup(float(reference), float(seconds)) for reference, seconds in pairs]
