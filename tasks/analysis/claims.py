"""Claims: what a run's data say about each conclusion of the original report."""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import assert_never

import pandas as pd

from tasks.analysis.frames import Frames, values_at
from tasks.analysis.pairs import MIN_ACCURACY_BLOCKS, MIN_VERDICT_BLOCKS
from tasks.analysis.points import default_cells
from tasks.analysis.published import ClaimName, Published
from tasks.analysis.summary import Summary, summarize
from tasks.domain.cell import Cell
from tasks.domain.dataset import NamedDataset
from tasks.domain.strategy import Strategy
from tasks.domain.sweep import Sweep

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
    NO_VALUES = "This run has no valid trial of some set-up that it names"
    TOO_FEW_BLOCKS = "{blocks}; at least {needed} needed"
    INCONCLUSIVE = "{blocks}, and no test decided every pair"
    DIFFERS_BY_TRIAL = "It holds in some trials and not in others"
    NOT_TESTED = "Described only: no rule decides it"
    NO_NUMBER = "The conclusion names no number to test"
    NOT_MEASURED = "Utilisation was not measured here"
    FEWER_EPOCHS = "This run trained fewer than 5 epochs"


class Measure(StrEnum):
    """The quantity of a claim's evidence: factors and shares, of whole trainings where no epoch is named."""

    SPEEDUP = "times as fast as one_device"
    TARGET_SPEEDUP = "times as fast as one_device to the target accuracy"
    EFFICIENCY = "strong scaling efficiency"
    ACCURACY = "highest test accuracy"
    ACCURACY_DIFFERENCE = "final test accuracy minus that of one_device, mean over the batch sizes"
    EPOCH_DIFFERENCE = "test accuracy minus that of one_device, mean over the epochs"


@dataclass(frozen=True, slots=True)
class Rule:
    """What a claim rests on."""

    strategies: tuple[Strategy, ...]
    measure: Measure
    obstacle: Obstacle | None
    """What keeps enough evidence from deciding; null where the values decide by being counted."""
    min_blocks: int = 1


SPEED = (Measure.SPEEDUP, Obstacle.INCONCLUSIVE, MIN_VERDICT_BLOCKS)
SIMILAR = (Measure.ACCURACY_DIFFERENCE, Obstacle.INCONCLUSIVE, MIN_ACCURACY_BLOCKS)
RULES = {
    ClaimName.ONE_DEVICE_SLOWER: Rule((MIRRORED, WORKERS), *SPEED),
    ClaimName.OVER_99_PERCENT: Rule((ONE,), Measure.ACCURACY, None),
    ClaimName.MIRRORED_SLOWER: Rule((MIRRORED,), *SPEED),
    ClaimName.MIRRORED_SIMILAR_ACCURACY: Rule((MIRRORED,), *SIMILAR),
    ClaimName.MIRRORED_CONVERGES_FASTER: Rule((MIRRORED,), Measure.EPOCH_DIFFERENCE, Obstacle.NOT_TESTED),
    ClaimName.MULTI_WORKER_FASTER: Rule((WORKERS,), *SPEED),
    ClaimName.MULTI_WORKER_SCALES: Rule((WORKERS,), Measure.EFFICIENCY, Obstacle.NO_NUMBER),
    ClaimName.MULTI_WORKER_CONVERGES_FASTEST: Rule(
        (WORKERS,), Measure.TARGET_SPEEDUP, Obstacle.NOT_TESTED, MIN_VERDICT_BLOCKS
    ),
    ClaimName.MULTI_WORKER_ACCURACY: Rule((WORKERS,), *SIMILAR),
}
"""The claims that data of a run can speak about; the others are about what is not measured, or about the original."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """One quantity that was seen."""

    strategy: Strategy
    measure: Measure
    global_batch_size: int | None
    """Null where it is a mean over the batch sizes."""
    value: Summary


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """One conclusion and what these data say of it."""

    name: ClaimName
    verdict: ClaimVerdict
    obstacle: Obstacle | None = None
    """Why it is not decidable; null where it is."""
    evidence: tuple[Evidence, ...] = ()

    @property
    def num_blocks(self) -> int:
        """Blocks behind the weakest piece of the evidence."""
        return min((item.value.n for item in self.evidence), default=0)

    @property
    def min_blocks(self) -> int:
        """Blocks that a verdict needs."""
        return RULES[self.name].min_blocks if self.name in RULES else 0


def judge_claims(sweep: Sweep, frames: Frames, published: Published) -> tuple[Claim, ...]:
    """Every claim, in the order of its name's declaration, on the trials of `default_cells` alone."""
    workers = [setup.total_seconds for setup in published.setups if setup.strategy is WORKERS]
    others = [setup.total_seconds for setup in published.setups if setup.strategy is not WORKERS]
    own = {
        ClaimName.OWN_FIGURES_AGREE: max(high for _, high in workers) < min(low for low, _ in others),
        ClaimName.LOG_SHOWS_GPUS: published.log.is_gpu_shown,
    }
    return tuple(_decide(name, own[name]) if name in own else _judge(name, sweep, frames) for name in ClaimName)


def _judge(name: ClaimName, sweep: Sweep, frames: Frames) -> Claim:
    rule = RULES.get(name)
    evidence: tuple[Evidence, ...] = ()
    if rule:
        evidence = tuple(item for strategy in rule.strategies for item in _see(rule.measure, strategy, sweep, frames))
    passes = {value > CLAIMED_ACCURACY for item in evidence for value in item.value.values}
    obstacle = _other_setting(sweep) or _obstacle(rule, sweep, evidence, passes)
    if obstacle is None:
        return _decide(name, True in passes, evidence)
    return Claim(name=name, verdict=ClaimVerdict.NOT_DECIDABLE, obstacle=obstacle, evidence=evidence)


def _decide(name: ClaimName, holds: bool, evidence: tuple[Evidence, ...] = ()) -> Claim:
    return Claim(name=name, verdict=ClaimVerdict.SUPPORTED if holds else ClaimVerdict.REFUTED, evidence=evidence)


def _other_setting(sweep: Sweep) -> Obstacle | None:
    """Why this run cannot speak about the original at all, if so."""
    if sweep.dataset != NamedDataset.MNIST:
        return Obstacle.OTHER_DATA
    return Obstacle.PART_OF_DATA if sweep.max_train_examples is not None else None


def _obstacle(rule: Rule | None, sweep: Sweep, evidence: tuple[Evidence, ...], passes: set[bool]) -> Obstacle | None:
    """Why the evidence does not decide; None where every value is on the same side of the claimed accuracy."""
    if rule is None:
        return Obstacle.NOT_MEASURED
    expected = len(rule.strategies) * len(sweep.global_batch_sizes) if rule.measure is Measure.SPEEDUP else 1
    if len(evidence) < expected:
        return Obstacle.NO_VALUES
    if min(item.value.n for item in evidence) < rule.min_blocks:
        return Obstacle.TOO_FEW_BLOCKS
    if rule.obstacle:
        return rule.obstacle
    if False in passes and sweep.num_epochs < CLAIMED_EPOCHS:
        return Obstacle.FEWER_EPOCHS
    return Obstacle.DIFFERS_BY_TRIAL if len(passes) > 1 else None


def _see(measure: Measure, strategy: Strategy, sweep: Sweep, frames: Frames) -> list[Evidence]:
    """The measure's values at each batch size, one a block, where there are any."""
    values = {cell.global_batch_size: _values(measure, cell, frames) for cell in default_cells(sweep, strategy)}
    found: dict[int | None, Summary | None] = {batch: summarize(rows) for batch, rows in values.items()}
    if measure is Measure.ACCURACY_DIFFERENCE and values:
        found = {None: summarize(pd.concat(list(values.values())).groupby("block").mean())}
    return [
        Evidence(strategy=strategy, measure=measure, global_batch_size=batch, value=value)
        for batch, value in found.items()
        if value
    ]


def _values(measure: Measure, cell: Cell, frames: Frames) -> "pd.Series[float]":
    """The measure by block and machine."""
    single = replace(cell, strategy=ONE, reduction=None)
    match measure:
        case Measure.SPEEDUP | Measure.TARGET_SPEEDUP:
            column = "training_seconds" if measure is Measure.SPEEDUP else "seconds_to_target"
            return values_at(frames.valid, single, column) / values_at(frames.valid, cell, column)
        case Measure.EFFICIENCY:
            return values_at(frames.valid, cell, "efficiency")
        case Measure.ACCURACY:
            early = frames.epochs[frames.epochs["epoch"] <= CLAIMED_EPOCHS]
            return values_at(early, cell, "test_accuracy").groupby(level=[0, 1]).max()
        case Measure.ACCURACY_DIFFERENCE:
            return values_at(frames.valid, cell, "test_accuracy") - values_at(frames.valid, single, "test_accuracy")
        case Measure.EPOCH_DIFFERENCE:
            own, other = (values_at(frames.epochs, c, "test_accuracy", ["epoch"]) for c in (cell, single))
            return (own - other).groupby(level=[0, 1]).mean()
        case _:
            assert_never(measure)
