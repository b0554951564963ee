"""Points: hand-computed numbers of valid trials, and nothing where there is none."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest

from tasks.analysis.analysis import Analysis, analyze
from tasks.analysis.coverage import RunState
from tasks.analysis.points import Point
from tasks.domain.loop import Loop
from tasks.domain.outcome import InvalidReason
from tasks.domain.reduction import Reduction
from tasks.domain.strategy import Strategy
from tasks.domain.sweep import Sweep
from tasks.domain.trial import Role, Trial
from tests.analysis.example_runs import (
    ENVIRONMENT,
    MIRRORED,
    ONE,
    WORKERS,
    Outcome,
    analyze_example,
    cell_of,
    grid,
    make_failure,
    make_result,
    make_run,
    measured_only,
    plan,
    plan_trial,
    read_records,
    realistic,
    record_of,
)

BY_BLOCK = {
    (ONE, 1): 60.0,
    (ONE, 2): 66.0,
    (ONE, 3): 57.0,
    (MIRRORED, 1): 30.0,
    (MIRRORED, 2): 40.0,
    (MIRRORED, 3): 38.0,
}
TWO = {"strategies": (ONE, MIRRORED), "global_batch_sizes": (64,)}
SWEEP, ONCE = grid(3, **TWO), grid(1, **TWO)


@measured_only
def by_block(trial: Trial) -> Outcome:
    return make_result(trial, BY_BLOCK[trial.strategy, trial.block], (0.97, 0.98, 0.985, 0.986, 0.99))


def point_of(analysis: Analysis, strategy: Strategy, batch: int = 64) -> Point:
    return next(p for p in analysis.points if (p.strategy, p.global_batch_size) == (strategy, batch))


def values_of(point: Point, column: str) -> tuple[float, ...]:
    summary = point.summary(column)
    return summary.values if summary else ()


def test_points_are_the_cells_of_the_grid_in_its_order(tmp_path: Path) -> None:
    sweep = grid(
        num_epochs=1,
        global_batch_sizes=(64, 256),
        loops=tuple(Loop),
        reductions=(Reduction.AUTO, Reduction.RING),
        xla=(False, True),
        skip_unsupported=True,
    )
    analysis = analyze_example(tmp_path, sweep)
    assert tuple(point.cell for point in analysis.points) == sweep.cells
    assert {point.n for point in analysis.points} == {1}
    assert {point.cell.setting for point in analysis.first_points} == {sweep.settings[0]}
    assert [p.cell.reduction for p in analysis.points_of(WORKERS)] == [Reduction.AUTO] * 2


@pytest.mark.parametrize(
    "axes", [{"loops": (Loop.FUSED, Loop.STEP)}, {"xla": (False, True)}, {"steps_per_call": (32, 1)}]
)
def test_speedup_is_against_one_device_of_the_same_setting(tmp_path: Path, axes: dict[str, Any]) -> None:
    sweep = grid(**TWO, num_epochs=1, **axes)
    factors = {sweep.settings[0]: 1.0, sweep.settings[1]: 4.0}

    def outcome(trial: Trial) -> Outcome:
        return make_result(trial, 60.0 if trial.strategy is ONE else 30.0 * factors[trial.cell.setting])

    _, first, _, second = analyze_example(tmp_path, sweep, outcome).points
    assert (values_of(first, "speedup"), values_of(second, "speedup")) == ((2.0,), (0.5,))


def test_numbers_of_a_point_are_medians_of_its_trials(tmp_path: Path) -> None:
    analysis = analyze_example(tmp_path, SWEEP, by_block)
    single, point = point_of(analysis, ONE), point_of(analysis, MIRRORED)
    assert (point.n, point.num_whole, point.num_replicas, point.per_replica_batch_size) == (3, 3, 2, 32)
    expected = {
        "block": (1, 2, 3),
        "training_seconds": (30.0, 40.0, 38.0),
        "seconds_per_epoch": (6.0, 8.0, 7.6),
        "examples_per_second": (300_000 / 30, 300_000 / 40, 300_000 / 38),
        "device_seconds": (60.0, 80.0, 76.0),
        "test_accuracy": (0.99, 0.99, 0.99),
        "seconds_to_target": (18.0, 24.0, 22.8),
        "epochs_to_target": (3, 3, 3),
        "speedup": (2.0, 1.65, 1.5),
        "efficiency": (1.0, 0.825, 0.75),
    }
    assert {column: values_of(point, column) for column in expected} == {
        column: pytest.approx(values) for column, values in expected.items()
    }
    assert point.median("training_seconds") == 38.0
    assert (single.summary("speedup"), single.median("efficiency")) == (None, None)  # not against itself
    assert analysis.rates == {
        (Role.MEASURED, cell_of(ONE, 64)): pytest.approx(300_000 / 60),
        (Role.MEASURED, cell_of(MIRRORED, 64)): pytest.approx(300_000 / 38),
        (Role.REFERENCE, cell_of(ONE, 64)): pytest.approx(60_000 / (0.75 * 61 / 5), rel=0.03),
        (Role.BASELINE, cell_of(ONE, 32)): pytest.approx(60_000 / (64 / 5), rel=0.03),
    }


@pytest.mark.parametrize("num_replicas", [2, 4])
def test_ratios_against_one_device_by_hand(tmp_path: Path, num_replicas: int) -> None:
    # seconds of one epoch: 12 at batch 64 and 9 at each replica's share on one device, 8 on all cores unsplit
    seconds = {(MIRRORED, Role.MEASURED): 30.0, (ONE, Role.MEASURED): 60.0}
    seconds |= {(ONE, Role.BASELINE): 9.0, (ONE, Role.REFERENCE): 8.0}
    sweep = grid(**TWO, num_replicas=num_replicas)
    analysis = analyze_example(tmp_path, sweep, lambda t: make_result(t, seconds[t.strategy, t.role]))
    point = point_of(analysis, MIRRORED)
    num_steps = 1875 if num_replicas == 2 else 3750
    expected = {
        "speedup": 2.0,
        "efficiency": 2.0 / num_replicas,
        "weak_efficiency": 1.5 / num_replicas,
        "overhead_seconds": 6 / 938 - 9 / num_steps,
        "step_seconds": 6 / 938,
    }
    assert {name: point.median(name) for name in expected} == pytest.approx(expected)


def test_weak_efficiency_takes_one_device_of_the_grid_where_it_has_the_share(tmp_path: Path) -> None:
    sweep = grid(strategies=(ONE, MIRRORED), global_batch_sizes=(64, 128))
    seconds = {(ONE, 64): 66.0, (ONE, 128): 60.0, (MIRRORED, 64): 30.0, (MIRRORED, 128): 40.0}
    outcome = measured_only(lambda t: make_result(t, seconds[t.strategy, t.global_batch_size]))
    point = point_of(analyze_example(tmp_path, sweep, outcome), MIRRORED, 128)
    assert (point.median("speedup"), point.median("weak_efficiency")) == pytest.approx((1.5, 66 / 40 / 2))
    assert point.median("overhead_seconds") == pytest.approx(40 / 5 / 469 - 66 / 5 / 938)


def test_short_trainings_count_where_their_length_does_not_matter(tmp_path: Path) -> None:
    point = point_of(analyze_example(tmp_path, grid(3, **TWO, num_whole_blocks=2), by_block), MIRRORED)
    assert (point.n, point.num_whole) == (3, 2)
    whole = (
        "training_seconds",
        "device_seconds",
        "test_accuracy",
        "test_loss",
        "seconds_to_target",
        "epochs_to_target",
        "wall_seconds",
        "training_phase_seconds",
    )
    assert {name: len(values_of(point, name)) for name in whole} == dict.fromkeys(whole, 2)
    every = ("seconds_per_epoch", "examples_per_second", "step_seconds", "speedup")
    assert {name: len(values_of(point, name)) for name in every} == dict.fromkeys(every, 3)
    assert values_of(point, "training_seconds") == (30.0, 40.0)
    assert values_of(point, "seconds_per_epoch") == pytest.approx((6.0, 8.0, 7.6))
    assert set(point.epochs["block"]) == {1, 2}
    assert point.steps["trial_key"].nunique() == 3


def test_block_gives_no_ratio_without_a_valid_baseline_and_no_time_where_the_target_was_not_reached(
    tmp_path: Path,
) -> None:
    @measured_only  # a reference is valid in every block, and no denominator of a speed-up
    def outcome(trial: Trial) -> Outcome:
        if (trial.strategy, trial.block) == (ONE, 1):
            return make_failure(trial)
        if (trial.strategy, trial.block) == (ONE, 2):
            return make_result(trial, 10.0, invalid_reason=InvalidReason.WEIGHTS_DISAGREE)
        return (
            make_result(trial, 50.0, (0.9,) * 5) if (trial.strategy, trial.block) == (MIRRORED, 1) else by_block(trial)
        )

    point = point_of(analyze_example(tmp_path, SWEEP, outcome), MIRRORED)
    assert point.n == 3
    assert values_of(point, "speedup") == pytest.approx((1.5,))
    assert values_of(point, "seconds_to_target") == pytest.approx((24.0, 22.8))


def test_ratio_never_mixes_machines(tmp_path: Path) -> None:
    run, other = make_run(ONCE), dataclasses.replace(ENVIRONMENT, machine_fingerprint="f" * 16)
    places = {ONE: ENVIRONMENT, MIRRORED: other}
    records = [record_of(run, by_block(trial), environment=places[trial.strategy]) for trial in plan(run)]
    analysis = analyze(run, read_records(tmp_path, records))
    assert point_of(analysis, MIRRORED).n == 1
    columns = ("speedup", "weak_efficiency", "overhead_seconds")
    assert [point_of(analysis, MIRRORED).summary(column) for column in columns] == [None] * 3
    assert {pair.comparison.n for pair in analysis.pairs} == {0}
    assert len(analysis.machines) == 2


def test_failed_trial_is_a_row_not_a_zero(tmp_path: Path) -> None:
    outcome = {ONE: by_block, MIRRORED: make_failure}
    point = point_of(analyze_example(tmp_path, ONCE, lambda trial: outcome[trial.strategy](trial)), MIRRORED)
    assert point.n == 0
    assert [(p.shortfall, p.reason, p.phase) for p in point.problems] == [("failed", "worker_killed", "training")]
    columns = ("training_seconds", "test_accuracy", "speedup", "seconds_to_target", "wall_seconds")
    assert [point.median(column) for column in columns] == [None] * 5
    assert (point.step_percentiles, point.num_whole) == (None, 0)


@pytest.mark.parametrize("reason", [InvalidReason.LOSS_NOT_FINITE, InvalidReason.WEIGHTS_DISAGREE])
def test_invalid_trial_has_its_own_name_and_enters_no_average(tmp_path: Path, reason: InvalidReason) -> None:
    def outcome(trial: Trial) -> Outcome:
        if (trial.strategy, trial.block) != (MIRRORED, 2):
            return by_block(trial)
        result = make_result(trial, 1.0, (0.1,) * 5, reason)
        if reason is InvalidReason.LOSS_NOT_FINITE:  # the training was ended before its first epoch did
            return dataclasses.replace(result, epochs=(), windows=())
        last = dataclasses.replace(result.epochs[-1], train_loss=math.nan, test_accuracy=None)
        return dataclasses.replace(result, epochs=(*result.epochs[:-1], last))

    analysis = analyze_example(tmp_path, SWEEP, outcome)
    point = point_of(analysis, MIRRORED)
    assert [(p.block, p.shortfall, p.reason) for p in point.problems] == [(2, "invalid", reason.value)]
    assert values_of(point, "training_seconds") == (30.0, 38.0)
    assert [pair.comparison.n for pair in analysis.pairs] == [2, 2]
    assert analysis.accuracy_pairs[0].comparison.n == 2
    assert analysis.rates[Role.MEASURED, point.cell] == pytest.approx((300_000 / 30 + 300_000 / 38) / 2)
    assert point.steps["trial_key"].nunique() == point.epochs["trial_key"].nunique() == 2


def test_baselines_are_kept_apart_and_serve_as_denominators(tmp_path: Path) -> None:
    sweep = grid(strategies=(MIRRORED,), global_batch_sizes=(64,), num_epochs=1)
    seconds = {Role.MEASURED: 40.0, Role.BASELINE: 60.0, Role.REFERENCE: 50.0}
    analysis = analyze_example(tmp_path, sweep, lambda trial: make_result(trial, seconds[trial.role]))
    assert [p.strategy for p in analysis.points] == [MIRRORED]
    assert [(p.role, p.global_batch_size, p.n) for p in (*analysis.references, *analysis.baselines)] == [
        (Role.REFERENCE, 64, 1),
        (Role.BASELINE, 64, 1),
        (Role.BASELINE, 32, 1),
    ]
    assert analysis.points[0].median("speedup") == pytest.approx(1.5)
    assert [point.median("speedup") for point in analysis.references] == [None]


def test_discarded_trial_is_in_no_number_but_the_pace(tmp_path: Path) -> None:
    run = make_run(ONCE)
    discarded = plan_trial(run, cell_of(ONE, 64), role=Role.DISCARDED)
    valid = record_of(run, make_result(discarded, 2.0, (0.3,), gradient_error=1.0), num_attempts=1)
    records = [record_of(run, realistic(trial)) for trial in plan(run)]
    honest = analyze(run, read_records(tmp_path / "without", records))
    found = analyze(run, read_records(tmp_path / "valid", [valid, *records]))
    for one, other in zip(honest.points, found.points, strict=True):
        assert one.trials.equals(other.trials)
        assert (len(one.epochs), len(one.steps)) == (len(other.epochs), len(other.steps))
    for name in ("coverage", "equivalence", "pairs", "accuracy_pairs", "machines", "claims"):
        assert getattr(found, name) == getattr(honest, name), name
    assert {**found.rates} == {**honest.rates, (Role.DISCARDED, cell_of(ONE, 64)): pytest.approx(4096 / 2)}
    failed = analyze(run, read_records(tmp_path / "failed", [record_of(run, make_failure(discarded)), *records]))
    assert failed.coverage == honest.coverage
    assert analyze(run, read_records(tmp_path / "alone", [valid])).coverage.state is RunState.NOT_MEASURED


def test_tainted_trials_are_listed_also_where_the_second_attempt_is_valid(tmp_path: Path) -> None:
    run = make_run(ONCE)
    taint = {"num_attempts": 2, "first_taint": "other processes took 31.0% of the trial's cores (limit 20%)"}
    records = [record_of(run, realistic(t), **(taint if t.strategy is MIRRORED else {})) for t in plan(run)]
    analysis = analyze(run, read_records(tmp_path, records))
    (row,) = analysis.tainted.to_dict("records")
    assert row == {
        "cell": cell_of(MIRRORED, 64),
        "role": "measured",
        "block": 1,
        "status": "valid",
        "first_taint": taint["first_taint"],
    }
    assert point_of(analysis, MIRRORED).n == 1


def test_what_was_slowed_on_purpose_is_said(tmp_path: Path) -> None:
    assert analyze_example(tmp_path / "honest", ONCE).slowdowns == ()

    def outcome(trial: Trial) -> Outcome:
        return dataclasses.replace(realistic(trial), slowdown=0.1 if trial.strategy is MIRRORED else None)

    assert analyze_example(tmp_path / "slowed", ONCE, outcome).slowdowns == (0.1,)


def test_fastest_point_of_each_batch_size_is_by_seconds_an_epoch(tmp_path: Path) -> None:
    sweep = Sweep(min_blocks=2, max_blocks=2, num_whole_blocks=1, global_batch_sizes=(64, 128))

    def outcome(trial: Trial) -> Outcome:
        return make_failure(trial) if trial.global_batch_size == 128 else realistic(trial)

    (best,) = analyze_example(tmp_path, sweep, outcome).best_points()
    assert (best.strategy, best.global_batch_size, best.num_whole, best.n) == (MIRRORED, 64, 1, 2)
