"""Claims: what a run's data say about each conclusion of the original report."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import chain
from typing import NamedTuple, assert_never

import numpy as np
import pandas as pd

from tasks.analysis.frames import Frames, values_at
from tasks.analysis.pairs import AccuracyPair, Pair, accuracy_differences
from tasks.analysis.points import default_cells
from tasks.analysis.published import ClaimName, load_published
from tasks.analysis.statistics import (
    MIN_ACCURACY_BLOCKS,
    MIN_VERDICT_BLOCKS,
    AccuracyVerdict,
    Verdict,
    judge_accuracy,
    judge_family,
)
from tasks.analysis.summary import Summary, summarize
from tasks.domain.cell import Cell
from tasks.domain.dataset import NamedDataset
from tasks.domain.strategy import Strategy
from tasks.domain.sweep import Sweep
from tasks.domain.trial import Role

CLAIMED_ACCURACY, CLAIMED_EPOCHS = 0.99, 5
"""The original's "over 99 % within 5 epochs"."""
ONE, MIRRORED, WORKERS = Strategy.ONE_DEVICE, Strategy.MIRRORED, Strategy.MULTI_WORKER_MIRRORED


class ClaimVerdict(StrEnum):
    """What the data say."""

    SUPPORTED = "supported"
    REFUTED = "refuted"
    NOT_DECIDABLE = "not decidable here"


class Obstacle(StrEnum):
    """Why a claim is not decidable here; `{blocks}` and `{needed}` stand for the claim's numbers."""

    OTHER_DATA = "This run trained on another dataset"
    PART_OF_DATA = "This run trained on a part of the examples"
    SLOWED = "This run was slowed on purpose"
    NO_VALUES = "This run has no valid trial of some set-up that it names"
    TOO_FEW_BLOCKS = "{blocks}; at least {needed} needed"
    INCONCLUSIVE = "{blocks}, and the test is inconclusive at some batch size"
    DIFFERS = "It holds at some batch sizes or in some trials and not in others"
    NO_NUMBER = "The conclusion names no number to test"
    FEWER_EPOCHS = "This run trained fewer than 5 epochs"


class Measure(StrEnum):
    """The quantity of a claim's evidence."""

    SPEEDUP = "times as fast as one_device"
    EFFICIENCY = "strong scaling efficiency"
    ACCURACY = "highest test accuracy"
    ACCURACY_DIFFERENCE = "final test accuracy minus that of one_device, mean over the batch sizes"
    EPOCH_DIFFERENCE = "test accuracy minus that of one_device, mean over the epochs and batch sizes"
    UTILISATION = "busy share of the devices held, times that of one_device"


MIN_BLOCKS = {
    Measure.SPEEDUP: MIN_VERDICT_BLOCKS,
    Measure.EFFICIENCY: 1,
    Measure.ACCURACY: 1,
    Measure.ACCURACY_DIFFERENCE: MIN_ACCURACY_BLOCKS,
    Measure.EPOCH_DIFFERENCE: MIN_ACCURACY_BLOCKS,
    Measure.UTILISATION: MIN_VERDICT_BLOCKS,
}
"""Blocks that a verdict needs."""


class Rule(NamedTuple):
    """What a claim rests on."""

    strategies: tuple[Strategy, ...]
    measure: Measure
    wanted: Verdict | AccuracyVerdict | None
    """The verdict that supports it at every batch size, and that refutes it where no batch size has it; null where
    the values decide by being counted, or nothing does."""


RULES = {
    ClaimName.ONE_DEVICE_SLOWER: Rule((MIRRORED, WORKERS), Measure.SPEEDUP, Verdict.FASTER),
    ClaimName.OVER_99_PERCENT: Rule((ONE,), Measure.ACCURACY, None),
    ClaimName.MIRRORED_SLOWER: Rule((MIRRORED,), Measure.SPEEDUP, Verdict.SLOWER),
    ClaimName.MIRRORED_SIMILAR_ACCURACY: Rule((MIRRORED,), Measure.ACCURACY_DIFFERENCE, AccuracyVerdict.EQUIVALENT),
    ClaimName.MIRRORED_CONVERGES_FASTER: Rule((MIRRORED,), Measure.EPOCH_DIFFERENCE, AccuracyVerdict.DIFFERENT),
    ClaimName.MIRRORED_UTILISATION: Rule((MIRRORED,), Measure.UTILISATION, Verdict.FASTER),
    ClaimName.MULTI_WORKER_FASTER: Rule((WORKERS,), Measure.SPEEDUP, Verdict.FASTER),
    ClaimName.MULTI_WORKER_SCALES: Rule((WORKERS,), Measure.EFFICIENCY, None),
    ClaimName.MULTI_WORKER_CONVERGES_FASTEST: Rule((WORKERS,), Measure.EPOCH_DIFFERENCE, AccuracyVerdict.DIFFERENT),
    ClaimName.MULTI_WORKER_ACCURACY: Rule((WORKERS,), Measure.ACCURACY_DIFFERENCE, AccuracyVerdict.EQUIVALENT),
}
"""The claims that data of a run can speak about; the others are about the original itself."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """One quantity that was seen."""

    strategy: Strategy
    measure: Measure
    global_batch_size: int | None
    """Null where it is a mean over the batch sizes."""
    value: Summary
    verdict: Verdict | AccuracyVerdict | None = None
    """What the test says; null where there is none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """One conclusion and what these data say of it."""

    name: ClaimName
    found: ClaimVerdict | Obstacle
    evidence: tuple[Evidence, ...] = ()

    @property
    def verdict(self) -> ClaimVerdict:
        """What the data say."""
        return ClaimVerdict.NOT_DECIDABLE if isinstance(self.found, Obstacle) else self.found

    @property
    def obstacle(self) -> Obstacle | None:
        """Why it is not decidable; null where it is."""
        return self.found if isinstance(self.found, Obstacle) else None

    @property
    def num_blocks(self) -> int:
        """Blocks behind the weakest piece of the evidence."""
        return min((item.value.n for item in self.evidence), default=0)

    @property
    def min_blocks(self) -> int:
        """Blocks that a verdict needs; 0 where it is about the original itself."""
        return MIN_BLOCKS[RULES[self.name].measure] if self.name in RULES else 0


SAYS = {True: ClaimVerdict.SUPPORTED, False: ClaimVerdict.REFUTED}


def judge_claims(
    sweep: Sweep, frames: Frames, pairs: Sequence[Pair], accuracy_pairs: Sequence[AccuracyPair]
) -> tuple[Claim, ...]:
    """Every claim, in the order of its name's declaration, on the trials of `default_cells` alone."""
    published = load_published()
    workers = [setup.total_seconds for setup in published.setups if setup.strategy is WORKERS]
    others = [setup.total_seconds for setup in published.setups if setup.strategy is not WORKERS]
    own = {
        ClaimName.OWN_FIGURES_AGREE: max(high for _, high in workers) < min(low for low, _ in others),
        ClaimName.LOG_SHOWS_GPUS: published.log["is_gpu_shown"] is True,
    }
    claims = []
    for name in ClaimName:
        if name in own:
            claims.append(Claim(name=name, found=SAYS[own[name]]))
            continue
        rule = RULES[name]
        seen = (_see(rule.measure, strategy, sweep, frames, pairs, accuracy_pairs) for strategy in rule.strategies)
        evidence = tuple(chain.from_iterable(seen))
        found = _other_setting(sweep, frames) or _judge(rule, sweep, evidence)
        claims.append(Claim(name=name, found=found, evidence=evidence))
    return tuple(claims)


def _other_setting(sweep: Sweep, frames: Frames) -> Obstacle | None:
    """Why this run cannot speak about the original at all, if so."""
    if sweep.dataset != NamedDataset.MNIST:
        return Obstacle.OTHER_DATA
    if sweep.max_train_examples is not None:
        return Obstacle.PART_OF_DATA
    return Obstacle.SLOWED if frames.trials["slowdown"].notna().any() else None


def _judge(rule: Rule, sweep: Sweep, evidence: Sequence[Evidence]) -> ClaimVerdict | Obstacle:
    """What the evidence says, or why it is not enough."""
    is_by_batch = rule.measure in (Measure.SPEEDUP, Measure.UTILISATION)
    if len(evidence) < (len(rule.strategies) * len(sweep.global_batch_sizes) if is_by_batch else 1):
        return Obstacle.NO_VALUES
    if min(item.value.n for item in evidence) < MIN_BLOCKS[rule.measure]:
        return Obstacle.TOO_FEW_BLOCKS
    if rule.measure is Measure.ACCURACY:
        passes = {value > CLAIMED_ACCURACY for item in evidence for value in item.value.values}
        if False in passes and sweep.num_epochs < CLAIMED_EPOCHS:
            return Obstacle.FEWER_EPOCHS
        return Obstacle.DIFFERS if len(passes) > 1 else SAYS[True in passes]
    if rule.wanted is None:
        return Obstacle.NO_NUMBER
    verdicts = {item.verdict for item in evidence}
    if verdicts & {Verdict.INCONCLUSIVE, AccuracyVerdict.INCONCLUSIVE, AccuracyVerdict.NOT_DECIDABLE}:
        return Obstacle.INCONCLUSIVE
    holds = rule.wanted in verdicts
    if rule.measure is Measure.EPOCH_DIFFERENCE:
        holds = holds and all(item.value.median > 0 for item in evidence)
    return Obstacle.DIFFERS if holds and len(verdicts) > 1 else SAYS[holds]


def _see(
    measure: Measure,
    strategy: Strategy,
    sweep: Sweep,
    frames: Frames,
    pairs: Sequence[Pair],
    accuracy_pairs: Sequence[AccuracyPair],
) -> list[Evidence]:
    """The measure's values at each batch size, one a block, where there are any."""
    cells = default_cells(sweep, strategy)
    singles = [replace(cell, strategy=ONE, reduction=None) for cell in cells]
    batches = [cell.global_batch_size for cell in cells]
    found: list[tuple[int | None, Iterable[float], Verdict | AccuracyVerdict | None]] = []
    match measure:
        case Measure.SPEEDUP:
            for pair in pairs:
                if pair.cell in cells and pair.against in singles and pair.against_role is Role.MEASURED:
                    speedups = np.exp(pair.comparison.differences)
                    found.append((pair.cell.global_batch_size, speedups, pair.comparison.verdict))
        case Measure.ACCURACY_DIFFERENCE:
            judged = [p.comparison for p in accuracy_pairs if (p.strategy, p.against) == (strategy, ONE)]
            found += [(None, comparison.differences, comparison.verdict) for comparison in judged]
        case Measure.EPOCH_DIFFERENCE:
            means = accuracy_differences(frames.epochs, cells, singles)
            found += [(None, means, judge_accuracy(means).verdict)]
        case Measure.UTILISATION:
            shares = [[_utilisation(frames.valid, c) for c in places] for places in zip(cells, singles, strict=True)]
            ratios = [own / other for own, other in shares]  # 0, infinite or NaN where one of them idled
            kept = [values[values.between(0, np.inf, inclusive="neither")] for values in ratios]
            verdicts = [comparison.verdict for comparison in judge_family([np.log(values) for values in kept])]
            found += zip(batches, kept, verdicts, strict=True)
        case Measure.EFFICIENCY:
            found += [(cell.global_batch_size, values_at(frames.valid, cell, "efficiency"), None) for cell in cells]
        case Measure.ACCURACY:
            early = frames.epochs[frames.epochs["epoch"] <= CLAIMED_EPOCHS]
            best = [values_at(early, cell, "test_accuracy").groupby(level=[0, 1]).max() for cell in cells]
            found += [(batch, values, None) for batch, values in zip(batches, best, strict=True)]
        case _:
            assert_never(measure)
    return [
        Evidence(strategy=strategy, measure=measure, global_batch_size=batch, value=value, verdict=verdict)
        for batch, values, verdict in found
        if (value := summarize(values))
    ]


def _utilisation(valid: pd.DataFrame, cell: Cell) -> "pd.Series[float]":
    """Busy share of the trial's devices while it trained: GPUs where it had some, otherwise its cores."""
    gpus = values_at(valid, cell, "gpu_utilisation")
    return gpus.fillna(values_at(valid, cell, "cpu_utilisation"))
