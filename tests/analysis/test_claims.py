"""Claims: each verdict on hand-made data."""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.analysis.analysis import Analysis
from tasks.analysis.claims import RULES, Claim, ClaimVerdict, Measure, Obstacle
from tasks.analysis.published import ClaimName
from tasks.domain.loop import Loop
from tasks.domain.reduction import Reduction
from tasks.domain.trial import Role, Trial
from tests.analysis.example_runs import (
    MIRRORED,
    ONE,
    WORKERS,
    Outcome,
    analyze_example,
    grid,
    make_failure,
    make_result,
    measured_only,
    realistic,
    usage_of,
)

SUPPORTED, REFUTED, NOT_DECIDABLE = ClaimVerdict
YES, NO = (SUPPORTED, None), (REFUTED, None)
DIFFERS, INCONCLUSIVE = (NOT_DECIDABLE, Obstacle.DIFFERS), (NOT_DECIDABLE, Obstacle.INCONCLUSIVE)
SPEED = (ClaimName.ONE_DEVICE_SLOWER, ClaimName.MIRRORED_SLOWER, ClaimName.MULTI_WORKER_FASTER)
ACCURACY = (ClaimName.MIRRORED_SIMILAR_ACCURACY, ClaimName.MULTI_WORKER_ACCURACY)
PAIR = {"strategies": (ONE, MIRRORED), "global_batch_sizes": (64,), "num_epochs": 1}
OWN = {ClaimName.OWN_FIGURES_AGREE, ClaimName.LOG_SHOWS_GPUS}


def claim_of(name: ClaimName, analysis: Analysis) -> Claim:
    return next(claim for claim in analysis.claims if claim.name is name)


def verdict_of(name: ClaimName, analysis: Analysis) -> tuple[ClaimVerdict, Obstacle | None]:
    claim = claim_of(name, analysis)
    return claim.verdict, claim.obstacle


@pytest.fixture(scope="module")
def by_blocks(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Analysis]:
    """Runs of one batch size by their number of blocks."""
    path = tmp_path_factory.mktemp("blocks")
    sweeps = {n: grid(n, global_batch_sizes=(64,), num_epochs=4) for n in (2, 3, 5, 6)}
    return {n: analyze_example(path / str(n), sweep) for n, sweep in sweeps.items()}


def test_every_claim_is_judged_in_order_and_the_originals_own_figures_and_log_refute_it(
    by_blocks: dict[int, Analysis],
) -> None:
    claims = by_blocks[6].claims
    assert [claim.name for claim in claims] == list(ClaimName)
    assert set(ClaimName) == {*RULES, *OWN}
    assert {claim.verdict for claim in claims if claim.name in OWN} == {REFUTED}


@pytest.mark.parametrize(
    ("name", "measure", "needed"),
    [
        *((name, Measure.SPEEDUP, 6) for name in SPEED),
        *((name, Measure.ACCURACY_DIFFERENCE, 3) for name in ACCURACY),
    ],
)
def test_speed_needs_six_blocks_accuracy_three_and_both_show_what_was_seen(
    by_blocks: dict[int, Analysis], name: ClaimName, measure: Measure, needed: int
) -> None:
    for num_blocks, analysis in by_blocks.items():
        claim = claim_of(name, analysis)
        assert (claim.num_blocks, claim.min_blocks) == (num_blocks, needed)
        assert (claim.obstacle is Obstacle.TOO_FEW_BLOCKS) is (claim.verdict is NOT_DECIDABLE) is (num_blocks < needed)
        assert {item.measure for item in claim.evidence} == {measure}
        assert len(claim.evidence) == (2 if name is ClaimName.ONE_DEVICE_SLOWER else 1)


@pytest.mark.parametrize(
    ("mirrored", "noise", "verdicts"),
    [
        ((30.0, 40.0), 0.0, (YES, NO, YES)),
        ((90.0, 80.0), 0.0, (DIFFERS, YES, YES)),
        ((30.0, 90.0), 0.0, (DIFFERS, DIFFERS, YES)),
        ((60.5, 60.5), 0.0, (DIFFERS, NO, YES)),
        ((30.0, 60.0), 0.5, (INCONCLUSIVE, INCONCLUSIVE, INCONCLUSIVE)),
    ],
)
def test_speed_is_what_the_family_says_at_every_batch_size(
    tmp_path: Path, mirrored: tuple[float, float], noise: float, verdicts: tuple[object, ...]
) -> None:
    seconds = {ONE: (60.0, 60.0), MIRRORED: mirrored, WORKERS: (40.0, 40.0)}

    def outcome(trial: Trial) -> Outcome:
        factor = math.exp(noise * (-1) ** trial.block) if trial.strategy is not ONE else 1.0
        return make_result(trial, factor * seconds[trial.strategy][trial.global_batch_size // 128])

    sweep = grid(6, global_batch_sizes=(64, 128), num_epochs=1)
    analysis = analyze_example(tmp_path, sweep, measured_only(outcome))
    assert tuple(verdict_of(name, analysis) for name in SPEED) == verdicts


@pytest.mark.parametrize(
    ("added", "similar", "earlier"),
    [
        (lambda trial: 0.001, YES, NO),
        (lambda trial: 0.01, NO, YES),
        (lambda trial: -0.01, NO, NO),
        (lambda trial: 0.002 * trial.block, INCONCLUSIVE, INCONCLUSIVE),
        (lambda trial: 0.01 if trial.global_batch_size == 64 else -0.01, YES, NO),  # the mean over the batch sizes
    ],
)
def test_accuracy_and_convergence_are_tested_on_the_mean_over_the_batch_sizes(
    tmp_path: Path, added: Callable[[Trial], float], similar: object, earlier: object
) -> None:
    def outcome(trial: Trial) -> Outcome:
        more = added(trial) if trial.strategy is MIRRORED else 0.0
        return make_result(trial, 50.0, (0.96 + more, 0.97 + more))

    sweep = grid(3, strategies=(ONE, MIRRORED), global_batch_sizes=(64, 128), num_epochs=2)
    analysis = analyze_example(tmp_path, sweep, measured_only(outcome))
    assert verdict_of(ClaimName.MIRRORED_SIMILAR_ACCURACY, analysis) == similar
    assert verdict_of(ClaimName.MIRRORED_CONVERGES_FASTER, analysis) == earlier
    assert verdict_of(ClaimName.MULTI_WORKER_CONVERGES_FASTEST, analysis) == (NOT_DECIDABLE, Obstacle.NO_VALUES)


def test_convergence_is_that_of_blocks_with_every_batch_size(tmp_path: Path) -> None:
    def outcome(trial: Trial) -> Outcome:
        if (trial.strategy, trial.global_batch_size, trial.block) == (MIRRORED, 128, 2):
            return make_failure(trial)
        more = 0.01 if (trial.strategy, trial.global_batch_size) == (MIRRORED, 64) else 0.0
        return make_result(trial, 50.0, (0.96 + more, 0.97 + more))

    sweep = grid(3, strategies=(ONE, MIRRORED), global_batch_sizes=(64, 128), num_epochs=2)
    claim = claim_of(ClaimName.MIRRORED_CONVERGES_FASTER, analyze_example(tmp_path, sweep, measured_only(outcome)))
    (seen,) = claim.evidence
    assert seen.value.values == pytest.approx((0.005, 0.005))
    assert claim.obstacle is Obstacle.TOO_FEW_BLOCKS


def test_short_blocks_speak_about_speed_and_not_about_accuracy(tmp_path: Path) -> None:
    analysis = analyze_example(tmp_path, grid(6, num_whole_blocks=2, global_batch_sizes=(64,)))
    assert (verdict_of(ClaimName.MIRRORED_SLOWER, analysis)) == NO
    for name in (*ACCURACY, ClaimName.MIRRORED_CONVERGES_FASTER):
        assert (claim_of(name, analysis).obstacle, claim_of(name, analysis).num_blocks) == (Obstacle.TOO_FEW_BLOCKS, 2)


@pytest.mark.parametrize(
    ("column", "one_device", "verdict"),
    [
        ("cpu_utilisation", 0.5, YES),
        ("cpu_utilisation", 0.9, NO),
        ("cpu_utilisation", 0.99, NO),
        ("cpu_utilisation", None, (NOT_DECIDABLE, Obstacle.NO_VALUES)),
        ("gpu_utilisation", 0.5, YES),
    ],
)
def test_utilisation_is_that_of_the_devices_held(
    tmp_path: Path, column: str, one_device: float | None, verdict: object
) -> None:
    def sampled(trial: Trial) -> dict[str, object]:
        busy = one_device if trial.strategy is ONE else 0.9
        return usage_of(trial) | {"cpu_utilisation": 0.7} | {column: busy}

    analysis = analyze_example(tmp_path, grid(6, **PAIR), sampled=sampled)
    assert verdict_of(ClaimName.MIRRORED_UTILISATION, analysis) == verdict
    for item in claim_of(ClaimName.MIRRORED_UTILISATION, analysis).evidence:
        assert item.value.values == pytest.approx([0.9 / one_device] * 6)


@pytest.mark.parametrize(("one_device", "mirrored"), [(0.9, 0.0), (0.0, 0.9), (0.0, 0.0)])
def test_devices_that_idled_have_no_ratio(tmp_path: Path, one_device: float, mirrored: float) -> None:
    def sampled(trial: Trial) -> dict[str, object]:
        busy = one_device if trial.strategy is ONE else mirrored
        return usage_of(trial) | {"cpu_utilisation": busy if trial.block == 1 else 0.9}

    analysis = analyze_example(tmp_path, grid(2, **PAIR), sampled=sampled)
    (seen,) = claim_of(ClaimName.MIRRORED_UTILISATION, analysis).evidence
    assert seen.value.values == (1.0,)


def test_claim_about_a_strategy_without_a_valid_trial_is_not_decidable(tmp_path: Path) -> None:
    def outcome(trial: Trial) -> Outcome:
        return make_failure(trial) if trial.strategy is WORKERS else realistic(trial)

    analysis = analyze_example(tmp_path, grid(num_epochs=1), outcome)
    for name in (*SPEED[::2], ClaimName.MULTI_WORKER_SCALES, ClaimName.MULTI_WORKER_ACCURACY):
        assert claim_of(name, analysis).obstacle is Obstacle.NO_VALUES
    assert claim_of(ClaimName.MIRRORED_SLOWER, analysis).obstacle is Obstacle.TOO_FEW_BLOCKS


@pytest.mark.parametrize(
    ("accuracies", "seen", "verdict"),
    [
        (((0.9, 0.95, 0.97, 0.9901, 0.96), (0.9, 0.95, 0.97, 0.98, 0.9921)), (0.9901, 0.9921), YES),
        (((0.9, 0.95, 0.97, 0.98, 0.96), (0.99, 0.95, 0.97, 0.98, 0.96)), (0.98, 0.99), NO),
        (((0.9, 0.95, 0.97, 0.98, 0.96), (0.9, 0.95, 0.97, 0.98, 0.9921)), (0.98, 0.9921), DIFFERS),
        (((0.9, 0.9, 0.9, 0.9, 0.9, 0.995),), (0.9,), NO),
        (((0.9, 0.95),), (0.95,), (NOT_DECIDABLE, Obstacle.FEWER_EPOCHS)),
    ],
    ids=["all", "none", "a part", "after the fifth epoch", "fewer epochs"],
)
def test_over_99_percent_is_a_count_over_the_best_of_five_epochs_of_one_device(
    tmp_path: Path, accuracies: tuple[tuple[float, ...], ...], seen: tuple[float, ...], verdict: object
) -> None:
    by_batch = dict(zip((64, 128), accuracies, strict=False))
    sweep = grid(strategies=(ONE,), global_batch_sizes=tuple(by_batch), num_epochs=len(accuracies[0]))
    analysis = analyze_example(tmp_path, sweep, lambda t: make_result(t, 50.0, by_batch[t.global_batch_size]))
    assert verdict_of(ClaimName.OVER_99_PERCENT, analysis) == verdict
    evidence = claim_of(ClaimName.OVER_99_PERCENT, analysis).evidence
    assert [(item.strategy, item.value.median) for item in evidence] == [(ONE, best) for best in seen]


def test_claim_without_a_number_is_described_and_never_decided(by_blocks: dict[int, Analysis]) -> None:
    claim = claim_of(ClaimName.MULTI_WORKER_SCALES, by_blocks[6])
    assert (claim.verdict, claim.obstacle, claim.min_blocks) == (NOT_DECIDABLE, Obstacle.NO_NUMBER, 1)
    assert [(item.measure, item.verdict) for item in claim.evidence] == [(Measure.EFFICIENCY, None)]


def test_evidence_is_taken_inside_blocks(tmp_path: Path) -> None:
    accuracies = {ONE: (0.97, 0.98, 0.985), MIRRORED: (0.98, 0.986, 0.99), WORKERS: (0.97, 0.985, 0.99)}
    analysis = analyze_example(
        tmp_path,
        grid(global_batch_sizes=(64,), num_epochs=3),
        lambda t: make_result(t, 60.0 if t.strategy is ONE else 30.0, accuracies[t.strategy]),
    )
    expected = {
        ClaimName.MIRRORED_CONVERGES_FASTER: (0.01 + 0.006 + 0.005) / 3,
        ClaimName.MULTI_WORKER_CONVERGES_FASTEST: (0.0 + 0.005 + 0.005) / 3,
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

    sweep = grid(
        global_batch_sizes=(64,),
        num_epochs=1,
        loops=(Loop.FUSED, Loop.STEP),
        reductions=(Reduction.ONE_DEVICE, Reduction.AUTO),
    )
    for item in claim_of(ClaimName.ONE_DEVICE_SLOWER, analyze_example(tmp_path, sweep, outcome)).evidence:
        assert item.value.values == pytest.approx((2.0,))


@pytest.mark.parametrize(
    ("changes", "slowdown", "obstacle"),
    [
        ({"dataset": "fashion_mnist"}, None, Obstacle.OTHER_DATA),
        ({"max_train_examples": 2048}, None, Obstacle.PART_OF_DATA),
        ({}, 0.1, Obstacle.SLOWED),
    ],
)
def test_other_data_and_slowed_runs_say_nothing_about_the_original(
    tmp_path: Path, changes: dict[str, object], slowdown: float | None, obstacle: Obstacle
) -> None:
    def outcome(trial: Trial) -> Outcome:
        is_slowed = trial.role is Role.REFERENCE and trial.global_batch_size == 64
        return dataclasses.replace(realistic(trial), slowdown=slowdown if is_slowed else None)

    claims = analyze_example(tmp_path, grid(num_epochs=1, **changes), outcome).claims
    assert {(c.verdict, c.obstacle) for c in claims if c.name not in OWN} == {(NOT_DECIDABLE, obstacle)}
