"""Claims: each verdict on hand-made data."""

import dataclasses
from pathlib import Path

import pytest

from tasks.analysis.accuracy import AccuracyVerdict
from tasks.analysis.analysis import analyze
from tasks.analysis.claim import Claim, ClaimVerdict, Measure, Obstacle
from tasks.analysis.claims import Findings, judge_claims
from tasks.analysis.pairs import Verdict
from tasks.analysis.published import ClaimName
from tasks.domain.strategy import Strategy
from tasks.domain.sweep import Sweep
from tasks.domain.trial import Trial
from tests.analysis.example_runs import (
    MIRRORED,
    ONE,
    WORKERS,
    Outcome,
    make_failure,
    make_result,
    make_run,
    read_example,
    realistic,
)

SUPPORTED, REFUTED, NOT_DECIDABLE = ClaimVerdict.SUPPORTED, ClaimVerdict.REFUTED, ClaimVerdict.NOT_DECIDABLE


def findings_of(path: Path, sweep: Sweep | None = None, outcome_of: object = realistic) -> Findings:
    run = make_run(sweep)
    analysis = analyze(run, read_example(path, run, outcome_of))  # type: ignore[arg-type]
    return Findings(
        sweep=run.sweep,
        points=analysis.points,
        pairs=analysis.pairs,
        accuracy_pairs=analysis.accuracy_pairs,
        published=analysis.published,
    )


def claim_of(name: ClaimName, findings: Findings) -> Claim:
    return next(claim for claim in judge_claims(findings) if claim.name is name)


def decided(findings: Findings, verdicts: dict[Strategy, Verdict]) -> Findings:
    """The findings as if a test had decided every pair with one device."""
    pairs = tuple(dataclasses.replace(pair, verdict=verdicts[pair.strategy]) for pair in findings.pairs)
    return dataclasses.replace(findings, pairs=pairs)


@pytest.fixture(scope="module")
def six(tmp_path_factory: pytest.TempPathFactory) -> Findings:
    return findings_of(tmp_path_factory.mktemp("six"), Sweep(num_blocks=6))


SPEED = (ClaimName.ONE_DEVICE_SLOWER, ClaimName.MIRRORED_SLOWER, ClaimName.MULTI_WORKER_FASTER)


def test_every_claim_is_judged_in_order(six: Findings) -> None:
    assert [claim.name for claim in judge_claims(six)] == list(ClaimName)


@pytest.mark.parametrize("name", SPEED)
def test_speed_is_not_decidable_below_six_blocks_and_shows_what_was_seen(tmp_path: Path, name: ClaimName) -> None:
    claim = claim_of(name, findings_of(tmp_path, Sweep(num_blocks=5)))
    assert (claim.verdict, claim.obstacle, claim.num_blocks) == (NOT_DECIDABLE, Obstacle.TOO_FEW_BLOCKS, 5)
    assert {item.measure for item in claim.evidence} == {Measure.SPEEDUP}
    assert len(claim.evidence) in (3, 6)


@pytest.mark.parametrize("name", SPEED)
def test_six_blocks_without_a_test_decide_nothing(six: Findings, name: ClaimName) -> None:
    claim = claim_of(name, six)
    assert (claim.verdict, claim.obstacle) == (NOT_DECIDABLE, Obstacle.INCONCLUSIVE)


def test_speed_claims_follow_the_pairs_verdicts(six: Findings) -> None:
    fast = decided(six, {MIRRORED: Verdict.FASTER, WORKERS: Verdict.FASTER})
    assert [claim_of(name, fast).verdict for name in SPEED] == [SUPPORTED, REFUTED, SUPPORTED]
    slow = decided(six, {MIRRORED: Verdict.SLOWER, WORKERS: Verdict.EQUIVALENT})
    assert [claim_of(name, slow).verdict for name in SPEED] == [REFUTED, SUPPORTED, REFUTED]
    mixed = decided(six, {MIRRORED: Verdict.FASTER, WORKERS: Verdict.SLOWER})
    assert claim_of(ClaimName.ONE_DEVICE_SLOWER, mixed).obstacle is Obstacle.DIFFERS_BY_BATCH


def test_claim_about_a_strategy_without_a_valid_trial_is_not_decidable(tmp_path: Path) -> None:
    def outcome(trial: Trial) -> Outcome:
        return make_failure(trial) if trial.strategy is WORKERS else realistic(trial)

    findings = findings_of(tmp_path, outcome_of=outcome)
    for name in (ClaimName.MULTI_WORKER_FASTER, ClaimName.MULTI_WORKER_SCALES, ClaimName.MULTI_WORKER_ACCURACY):
        assert claim_of(name, findings).obstacle is Obstacle.NO_VALUES
    assert claim_of(ClaimName.MIRRORED_SLOWER, findings).obstacle is Obstacle.TOO_FEW_BLOCKS


@pytest.mark.parametrize(
    ("verdict", "expected"), [(AccuracyVerdict.EQUIVALENT, SUPPORTED), (AccuracyVerdict.DIFFERENT, REFUTED)]
)
def test_accuracy_claims_follow_the_equivalence_test(
    six: Findings, verdict: AccuracyVerdict, expected: ClaimVerdict
) -> None:
    pairs = tuple(dataclasses.replace(pair, verdict=verdict) for pair in six.accuracy_pairs)
    findings = dataclasses.replace(six, accuracy_pairs=pairs)
    for name in (ClaimName.MIRRORED_SIMILAR_ACCURACY, ClaimName.MULTI_WORKER_ACCURACY):
        assert claim_of(name, findings).verdict is expected


def test_accuracy_needs_three_blocks(tmp_path: Path, six: Findings) -> None:
    name = ClaimName.MIRRORED_SIMILAR_ACCURACY
    assert claim_of(name, findings_of(tmp_path, Sweep(num_blocks=2))).obstacle is Obstacle.TOO_FEW_BLOCKS
    assert claim_of(name, six).obstacle is Obstacle.INCONCLUSIVE


@pytest.mark.parametrize(
    ("best", "verdict", "obstacle"),
    [
        ({64: 0.9901, 128: 0.9911, 256: 0.9921}, SUPPORTED, None),
        ({64: 0.9801, 128: 0.9899, 256: 0.99}, REFUTED, None),
        ({64: 0.9901, 128: 0.9899, 256: 0.9921}, NOT_DECIDABLE, Obstacle.DIFFERS_BY_TRIAL),
    ],
)
def test_over_99_percent_is_a_count_over_one_device_trials(
    tmp_path: Path, best: dict[int, float], verdict: ClaimVerdict, obstacle: Obstacle | None
) -> None:
    def outcome(trial: Trial) -> Outcome:
        return make_result(trial, 50.0, (0.9, 0.95, 0.97, best[trial.global_batch_size], 0.96))

    claim = claim_of(ClaimName.OVER_99_PERCENT, findings_of(tmp_path, outcome_of=outcome))
    assert (claim.verdict, claim.obstacle) == (verdict, obstacle)
    assert [item.value.median for item in claim.evidence] == list(best.values())
    assert {item.strategy for item in claim.evidence} == {ONE}


def test_epochs_after_the_fifth_do_not_count_and_fewer_refute_nothing(tmp_path: Path) -> None:
    late = findings_of(
        tmp_path / "late", Sweep(num_epochs=6), lambda t: make_result(t, 50.0, (0.9, 0.9, 0.9, 0.9, 0.9, 0.995))
    )
    assert claim_of(ClaimName.OVER_99_PERCENT, late).verdict is REFUTED
    short = findings_of(tmp_path / "short", Sweep(num_epochs=2), lambda t: make_result(t, 50.0, (0.9, 0.95)))
    assert claim_of(ClaimName.OVER_99_PERCENT, short).obstacle is Obstacle.FEWER_EPOCHS


def test_what_is_described_or_not_measured_is_never_decided(six: Findings) -> None:
    expected = {
        ClaimName.MIRRORED_CONVERGES_FASTER: Obstacle.NOT_TESTED,
        ClaimName.MIRRORED_UTILISATION: Obstacle.NOT_MEASURED,
        ClaimName.MULTI_WORKER_SCALES: Obstacle.NO_NUMBER,
        ClaimName.MULTI_WORKER_CONVERGES_FASTEST: Obstacle.NOT_TESTED,
    }
    assert {name: claim_of(name, six).obstacle for name in expected} == expected


def test_evidence_of_convergence_is_taken_inside_blocks(tmp_path: Path) -> None:
    accuracies = {ONE: (0.97, 0.98, 0.985), MIRRORED: (0.98, 0.986, 0.99), WORKERS: (0.97, 0.985, 0.99)}
    findings = findings_of(
        tmp_path,
        Sweep(global_batch_sizes=(64,), num_epochs=3),
        lambda t: make_result(t, 60.0 if t.strategy is ONE else 30.0, accuracies[t.strategy]),
    )
    (seen,) = claim_of(ClaimName.MIRRORED_CONVERGES_FASTER, findings).evidence
    assert seen.value.median == pytest.approx((0.01 + 0.006 + 0.005) / 3)
    (seen,) = claim_of(ClaimName.MULTI_WORKER_CONVERGES_FASTEST, findings).evidence
    assert seen.value.median == pytest.approx(60.0 / 20.0)


def test_the_originals_own_figures_and_log_refute_it(six: Findings) -> None:
    assert claim_of(ClaimName.OWN_FIGURES_AGREE, six).verdict is REFUTED
    assert claim_of(ClaimName.LOG_SHOWS_GPUS, six).verdict is REFUTED


@pytest.mark.parametrize(
    ("sweep", "obstacle"),
    [
        (Sweep(dataset="fashion_mnist"), Obstacle.OTHER_DATA),
        (Sweep(max_train_examples=2048), Obstacle.PART_OF_DATA),
    ],
)
def test_other_data_say_nothing_about_the_original(tmp_path: Path, sweep: Sweep, obstacle: Obstacle) -> None:
    claims = judge_claims(findings_of(tmp_path, sweep))
    own = (ClaimName.OWN_FIGURES_AGREE, ClaimName.LOG_SHOWS_GPUS)
    assert {claim.obstacle for claim in claims if claim.name not in own} == {obstacle}
    assert {claim.verdict for claim in claims if claim.name not in own} == {NOT_DECIDABLE}
