"""Claims: what a run's data say about each conclusion of the original report."""

from dataclasses import dataclass
from typing import assert_never

from tasks.analysis.accuracy import MIN_ACCURACY_BLOCKS, AccuracyPair, AccuracyVerdict
from tasks.analysis.claim import Claim, ClaimVerdict, Evidence, Measure, Obstacle
from tasks.analysis.pairs import MIN_VERDICT_BLOCKS, Pair, Verdict
from tasks.analysis.points import Point
from tasks.analysis.published import ClaimName, Published
from tasks.analysis.summary import Summary, summarize
from tasks.domain.dataset import NamedDataset
from tasks.domain.strategy import Strategy
from tasks.domain.sweep import Sweep

CLAIMED_ACCURACY, CLAIMED_EPOCHS = 0.99, 5
"""The original's "over 99 % within 5 epochs"."""
ONE, MIRRORED, WORKERS = Strategy.ONE_DEVICE, Strategy.MIRRORED, Strategy.MULTI_WORKER_MIRRORED


@dataclass(frozen=True, kw_only=True, slots=True)
class Findings:
    """What claims are judged by."""

    sweep: Sweep
    points: tuple[Point, ...]
    pairs: tuple[Pair, ...]
    accuracy_pairs: tuple[AccuracyPair, ...]
    published: Published

    def pairs_against_one_device(self, *strategies: Strategy) -> tuple[Pair, ...]:
        """The pairs of these strategies with one device, at every batch size."""
        return tuple(pair for pair in self.pairs if pair.strategy in strategies and pair.against is ONE)

    def points_of(self, strategy: Strategy) -> tuple[Point, ...]:
        """The strategy's points, by batch size."""
        return tuple(point for point in self.points if point.strategy is strategy)


def judge_claims(findings: Findings) -> tuple[Claim, ...]:
    """Every claim, in the order of its name's declaration."""
    return tuple(_judge(name, findings) for name in ClaimName)


def _judge(name: ClaimName, findings: Findings) -> Claim:  # noqa: PLR0912 (one branch a claim)
    match name:
        case ClaimName.ONE_DEVICE_SLOWER:
            claim = _speed(name, findings.pairs_against_one_device(MIRRORED, WORKERS), Verdict.FASTER)
        case ClaimName.OVER_99_PERCENT:
            claim = _over_99_percent(findings)
        case ClaimName.MIRRORED_SLOWER:
            claim = _speed(name, findings.pairs_against_one_device(MIRRORED), Verdict.SLOWER)
        case ClaimName.MIRRORED_SIMILAR_ACCURACY:
            claim = _similar_accuracy(name, findings, MIRRORED)
        case ClaimName.MIRRORED_CONVERGES_FASTER:
            claim = _converges_faster(findings)
        case ClaimName.MIRRORED_UTILISATION:
            claim = _undecided(name, Obstacle.NOT_MEASURED)
        case ClaimName.MULTI_WORKER_FASTER:
            claim = _speed(name, findings.pairs_against_one_device(WORKERS), Verdict.FASTER)
        case ClaimName.MULTI_WORKER_SCALES:
            claim = _scales(findings)
        case ClaimName.MULTI_WORKER_CONVERGES_FASTEST:
            claim = _converges_fastest(findings)
        case ClaimName.MULTI_WORKER_ACCURACY:
            claim = _similar_accuracy(name, findings, WORKERS)
        case ClaimName.OWN_FIGURES_AGREE:
            return _own_figures_agree(findings.published)
        case ClaimName.LOG_SHOWS_GPUS:
            return _decided(name, findings.published.log.is_gpu_shown)
        case _:
            assert_never(name)
    return _undecided(name, obstacle, claim.evidence) if (obstacle := _other_setting(findings.sweep)) else claim


def _other_setting(sweep: Sweep) -> Obstacle | None:
    """Why this run cannot speak about the original at all, if so."""
    if sweep.dataset != NamedDataset.MNIST:
        return Obstacle.OTHER_DATA
    return Obstacle.PART_OF_DATA if sweep.max_train_examples is not None else None


def _speed(name: ClaimName, pairs: tuple[Pair, ...], claimed: Verdict) -> Claim:
    """Supported where every pair has the claimed verdict, refuted where every pair has another one that decides."""
    evidence = tuple(
        _evidence(pair.strategy, pair.global_batch_size, Measure.SPEEDUP, pair.ratios) for pair in pairs if pair.ratios
    )
    verdicts = {pair.verdict for pair in pairs}
    if len(evidence) < len(pairs) or not pairs:
        return _undecided(name, Obstacle.NO_VALUES, evidence)
    if min(pair.num_blocks for pair in pairs) < MIN_VERDICT_BLOCKS:
        return _undecided(name, Obstacle.TOO_FEW_BLOCKS, evidence)
    if Verdict.INCONCLUSIVE in verdicts:
        return _undecided(name, Obstacle.INCONCLUSIVE, evidence)
    if claimed in verdicts and len(verdicts) > 1:
        return _undecided(name, Obstacle.DIFFERS_BY_BATCH, evidence)
    return _decided(name, verdicts == {claimed}, evidence)


def _similar_accuracy(name: ClaimName, findings: Findings, strategy: Strategy) -> Claim:
    pair = next((p for p in findings.accuracy_pairs if p.strategy is strategy and p.against is ONE), None)
    if pair is None or pair.differences is None:
        return _undecided(name, Obstacle.NO_VALUES)
    evidence = (_evidence(strategy, None, Measure.ACCURACY_DIFFERENCE, pair.differences),)
    if pair.differences.n < MIN_ACCURACY_BLOCKS:
        return _undecided(name, Obstacle.TOO_FEW_BLOCKS, evidence)
    if pair.verdict is AccuracyVerdict.INCONCLUSIVE:
        return _undecided(name, Obstacle.INCONCLUSIVE, evidence)
    return _decided(name, pair.verdict is AccuracyVerdict.EQUIVALENT, evidence)


def _over_99_percent(findings: Findings) -> Claim:
    """A count, not a test: supported where every one-device trial passes the mark, refuted where none does."""
    name, evidence = ClaimName.OVER_99_PERCENT, []
    for point in findings.points_of(ONE):
        early = ([p.test_accuracy for p in curve.points if p.epoch <= CLAIMED_EPOCHS] for curve in point.curves)
        if best := summarize(max(accuracies) for accuracies in early if accuracies):
            evidence.append(_evidence(ONE, point.global_batch_size, Measure.ACCURACY, best, against=None))
    if not evidence:
        return _undecided(name, Obstacle.NO_VALUES)
    passes = {accuracy > CLAIMED_ACCURACY for item in evidence for accuracy in item.value.values}
    if False in passes and findings.sweep.num_epochs < CLAIMED_EPOCHS:
        return _undecided(name, Obstacle.FEWER_EPOCHS, tuple(evidence))
    if len(passes) > 1:
        return _undecided(name, Obstacle.DIFFERS_BY_TRIAL, tuple(evidence))
    return _decided(name, True in passes, tuple(evidence))


def _converges_faster(findings: Findings) -> Claim:
    """Described by the test accuracy under mirrored minus one device's in the same block, mean over the epochs."""
    evidence = []
    for point, single in _beside_one_device(findings, MIRRORED):
        references = {(curve.block, curve.machine): curve.points for curve in single.curves}
        both = [
            list(zip(curve.points, references.get((curve.block, curve.machine), ()), strict=False))
            for curve in point.curves
        ]
        means = (sum(a.test_accuracy - b.test_accuracy for a, b in curve) / len(curve) for curve in both if curve)
        if value := summarize(means):
            evidence.append(_evidence(MIRRORED, point.global_batch_size, Measure.EPOCH_DIFFERENCE, value))
    return _described(ClaimName.MIRRORED_CONVERGES_FASTER, evidence, Obstacle.NOT_TESTED)


def _scales(findings: Findings) -> Claim:
    evidence = [
        _evidence(WORKERS, point.global_batch_size, Measure.EFFICIENCY, point.efficiency)
        for point in findings.points_of(WORKERS)
        if point.efficiency
    ]
    return _described(ClaimName.MULTI_WORKER_SCALES, evidence, Obstacle.NO_NUMBER)


def _converges_fastest(findings: Findings) -> Claim:
    """Described by how many times as fast several workers reached the target as one device in the same block."""
    target, evidence = findings.sweep.target_accuracy, []
    for point, single in _beside_one_device(findings, WORKERS):
        references = {(curve.block, curve.machine): curve.seconds_to(target) for curve in single.curves}
        both = [(references.get((curve.block, curve.machine)), curve.seconds_to(target)) for curve in point.curves]
        if value := summarize(reference / seconds for reference, seconds in both if reference and seconds):
            evidence.append(_evidence(WORKERS, point.global_batch_size, Measure.TARGET_SPEEDUP, value))
    is_short = any(item.value.n < MIN_VERDICT_BLOCKS for item in evidence)
    obstacle = Obstacle.TOO_FEW_BLOCKS if is_short else Obstacle.NOT_TESTED
    return _described(ClaimName.MULTI_WORKER_CONVERGES_FASTEST, evidence, obstacle)


def _beside_one_device(findings: Findings, strategy: Strategy) -> list[tuple[Point, Point]]:
    singles = {point.global_batch_size: point for point in findings.points_of(ONE)}
    points = findings.points_of(strategy)
    return [(p, singles[p.global_batch_size]) for p in points if p.global_batch_size in singles]


def _own_figures_agree(published: Published) -> Claim:
    """Whether several workers' printed seconds are fewer than those of every other set-up."""
    workers = [setup.total_seconds for setup in published.setups if setup.strategy is WORKERS]
    others = [setup.total_seconds for setup in published.setups if setup.strategy is not WORKERS]
    return _decided(ClaimName.OWN_FIGURES_AGREE, max(high for _, high in workers) < min(low for low, _ in others))


def _evidence(
    strategy: Strategy, batch: int | None, measure: Measure, value: Summary, against: Strategy | None = ONE
) -> Evidence:
    return Evidence(strategy=strategy, against=against, global_batch_size=batch, measure=measure, value=value)


def _described(name: ClaimName, evidence: list[Evidence], obstacle: Obstacle) -> Claim:
    return _undecided(name, obstacle if evidence else Obstacle.NO_VALUES, tuple(evidence))


def _undecided(name: ClaimName, obstacle: Obstacle, evidence: tuple[Evidence, ...] = ()) -> Claim:
    return Claim(name=name, verdict=ClaimVerdict.NOT_DECIDABLE, obstacle=obstacle, evidence=evidence)


def _decided(name: ClaimName, holds: bool, evidence: tuple[Evidence, ...] = ()) -> Claim:
    return Claim(name=name, verdict=ClaimVerdict.SUPPORTED if holds else ClaimVerdict.REFUTED, evidence=evidence)
