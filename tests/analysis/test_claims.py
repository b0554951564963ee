"""Claims: each verdict on hand-made data."""

from pathlib import Path

import pytest

from tasks.analysis.analysis import Analysis
from tasks.analysis.claims import RULES, Claim, ClaimVerdict, Measure, Obstacle
from tasks.analysis.published import ClaimName
from tasks.domain.loop import Loop
from tasks.domain.reduction import Reduction
from tasks.domain.sweep import Sweep
from tasks.domain.trial import Trial
from tests.analysis.example_runs import (
    MIRRORED,
    ONE,
    WORKERS,
    Outcome,
    analyze_example,
    make_failure,
    make_result,
    realistic,
)

SUPPORTED, REFUTED, NOT_DECIDABLE = ClaimVerdict.SUPPORTED, ClaimVerdict.REFUTED, ClaimVerdict.NOT_DECIDABLE
SPEED = (ClaimName.ONE_DEVICE_SLOWER, ClaimName.MIRRORED_SLOWER, ClaimName.MULTI_WORKER_FASTER)
ACCURACY = (ClaimName.MIRRORED_SIMILAR_ACCURACY, ClaimName.MULTI_WORKER_ACCURACY)
OWN = {ClaimName.OWN_FIGURES_AGREE, ClaimName.LOG_SHOWS_GPUS}


def claim_of(name: ClaimName, analysis: Analysis) -> Claim:
    return next(claim for claim in analysis.claims if claim.name is name)


@pytest.fixture(scope="module")
def by_blocks(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Analysis]:
    """Runs of one batch size by their number of blocks."""
    path = tmp_path_factory.mktemp("blocks")
    sweeps = {n: Sweep(num_blocks=n, global_batch_sizes=(64,), num_epochs=4) for n in (2, 3, 5, 6)}
    return {n: analyze_example(path / str(n), sweep) for n, sweep in sweeps.items()}


def test_every_claim_is_judged_in_order(by_blocks: dict[int, Analysis]) -> None:
    assert [claim.name for claim in by_blocks[6].claims] == list(ClaimName)
    assert set(ClaimName) == {*RULES, *OWN, ClaimName.MIRRORED_UTILISATION}


@pytest.mark.parametrize("name", SPEED)
def test_speed_is_not_decidable_and_shows_what_was_seen(by_blocks: dict[int, Analysis], name: ClaimName) -> None:
    for num_blocks, obstacle in ((5, Obstacle.TOO_FEW_BLOCKS), (6, Obstacle.INCONCLUSIVE)):
        claim = claim_of(name, by_blocks[num_blocks])
        assert (claim.verdict, claim.obstacle, claim.num_blocks) == (NOT_DECIDABLE, obstacle, num_blocks)
        assert {item.measure for item in claim.evidence} == {Measure.SPEEDUP}
        assert len(claim.evidence) == (2 if name is ClaimName.ONE_DEVICE_SLOWER else 1)


@pytest.mark.parametrize("name", ACCURACY)
def test_accuracy_needs_three_blocks_and_a_test(by_blocks: dict[int, Analysis], name: ClaimName) -> None:
    assert claim_of(name, by_blocks[2]).obstacle is Obstacle.TOO_FEW_BLOCKS
    assert claim_of(name, by_blocks[3]).obstacle is Obstacle.INCONCLUSIVE


def test_claim_about_a_strategy_without_a_valid_trial_is_not_decidable(tmp_path: Path) -> None:
    def outcome(trial: Trial) -> Outcome:
        return make_failure(trial) if trial.strategy is WORKERS else realistic(trial)

    analysis = analyze_example(tmp_path, Sweep(num_epochs=1), outcome)
    for name in (*SPEED[::2], ClaimName.MULTI_WORKER_SCALES, ClaimName.MULTI_WORKER_ACCURACY):
        assert claim_of(name, analysis).obstacle is Obstacle.NO_VALUES
    assert claim_of(ClaimName.MIRRORED_SLOWER, analysis).obstacle is Obstacle.TOO_FEW_BLOCKS


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

    claim = claim_of(ClaimName.OVER_99_PERCENT, analyze_example(tmp_path, Sweep(strategies=(ONE,)), outcome))
    assert (claim.verdict, claim.obstacle) == (verdict, obstacle)
    assert [item.value.median for item in claim.evidence] == list(best.values())
    assert {item.strategy for item in claim.evidence} == {ONE}


@pytest.mark.parametrize(
    ("accuracies", "verdict", "obstacle"),
    [((0.9,) * 5 + (0.995,), REFUTED, None), ((0.9, 0.95), NOT_DECIDABLE, Obstacle.FEWER_EPOCHS)],
)
def test_epochs_after_the_fifth_do_not_count_and_fewer_refute_nothing(
    tmp_path: Path, accuracies: tuple[float, ...], verdict: ClaimVerdict, obstacle: Obstacle | None
) -> None:
    sweep = Sweep(strategies=(ONE,), global_batch_sizes=(64,), num_epochs=len(accuracies))
    analysis = analyze_example(tmp_path, sweep, lambda trial: make_result(trial, 50.0, accuracies))
    claim = claim_of(ClaimName.OVER_99_PERCENT, analysis)
    assert (claim.verdict, claim.obstacle) == (verdict, obstacle)


def test_what_is_described_or_not_measured_is_never_decided(by_blocks: dict[int, Analysis]) -> None:
    expected = {
        ClaimName.MIRRORED_CONVERGES_FASTER: Obstacle.NOT_TESTED,
        ClaimName.MIRRORED_UTILISATION: Obstacle.NOT_MEASURED,
        ClaimName.MULTI_WORKER_SCALES: Obstacle.NO_NUMBER,
        ClaimName.MULTI_WORKER_CONVERGES_FASTEST: Obstacle.NOT_TESTED,
    }
    assert {name: claim_of(name, by_blocks[6]).obstacle for name in expected} == expected


def test_evidence_is_taken_inside_blocks(tmp_path: Path) -> None:
    accuracies = {ONE: (0.97, 0.98, 0.985), MIRRORED: (0.98, 0.986, 0.99), WORKERS: (0.97, 0.985, 0.99)}
    analysis = analyze_example(
        tmp_path,
        Sweep(global_batch_sizes=(64,), num_epochs=3),
        lambda t: make_result(t, 60.0 if t.strategy is ONE else 30.0, accuracies[t.strategy]),
    )
    expected = {
        ClaimName.MIRRORED_CONVERGES_FASTER: (0.01 + 0.006 + 0.005) / 3,
        ClaimName.MULTI_WORKER_CONVERGES_FASTEST: 60.0 / 20.0,
        ClaimName.MULTI_WORKER_SCALES: 1.0,
        ClaimName.MULTI_WORKER_ACCURACY: 0.005,
        ClaimName.MIRRORED_SLOWER: 2.0,
    }
    for name, value in expected.items():
        (seen,) = claim_of(name, analysis).evidence
        assert seen.value.median == pytest.approx(value), name


def test_claims_are_judged_on_the_first_setting_and_its_own_reduction(tmp_path: Path) -> None:
    def outcome(trial: Trial) -> Outcome:
        is_judged = trial.loop is Loop.FUSED and trial.reduction in (None, Reduction.AUTO)
        return make_result(trial, (60.0 if trial.strategy is ONE else 30.0) if is_judged else 7.0 * len(trial.strategy))

    sweep = Sweep(
        global_batch_sizes=(64,),
        num_epochs=1,
        loops=(Loop.FUSED, Loop.STEP),
        reductions=(Reduction.ONE_DEVICE, Reduction.AUTO),
    )
    for item in claim_of(ClaimName.ONE_DEVICE_SLOWER, analyze_example(tmp_path, sweep, outcome)).evidence:
        assert item.value.values == (2.0,)


def test_the_originals_own_figures_and_log_refute_it(by_blocks: dict[int, Analysis]) -> None:
    assert {claim.verdict for claim in by_blocks[6].claims if claim.name in OWN} == {REFUTED}


@pytest.mark.parametrize(
    ("sweep", "obstacle"),
    [
        (Sweep(dataset="fashion_mnist", num_epochs=1), Obstacle.OTHER_DATA),
        (Sweep(max_train_examples=2048, num_epochs=1), Obstacle.PART_OF_DATA),
    ],
)
def test_other_data_say_nothing_about_the_original(tmp_path: Path, sweep: Sweep, obstacle: Obstacle) -> None:
    claims = [claim for claim in analyze_example(tmp_path, sweep).claims if claim.name not in OWN]
    assert {(claim.verdict, claim.obstacle) for claim in claims} == {(NOT_DECIDABLE, obstacle)}
