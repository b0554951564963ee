"""Points: hand-computed numbers of valid trials, and nothing where there is none."""

import dataclasses
from pathlib import Path
from statistics import StatisticsError
from typing import Any

import pytest

from tasks.analysis.analysis import Analysis, analyze
from tasks.analysis.points import Point
from tasks.domain.loop import Loop
from tasks.domain.outcome import InvalidReason
from tasks.domain.reduction import Reduction
from tasks.domain.strategy import Strategy
from tasks.domain.sweep import Sweep
from tasks.domain.trial import Role, Trial
from tests.analysis import example_runs
from tests.analysis.example_runs import (
    ENVIRONMENT,
    MIRRORED,
    ONE,
    WORKERS,
    Outcome,
    analyze_example,
    cell_of,
    fill,
    make_failure,
    make_result,
    make_run,
    plan_trial,
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
SWEEP = Sweep(strategies=(ONE, MIRRORED), global_batch_sizes=(64,), num_blocks=3)


def by_block(trial: Trial) -> Outcome:
    return make_result(trial, BY_BLOCK[trial.strategy, trial.block], (0.97, 0.98, 0.985, 0.986, 0.99))


def point_of(analysis: Analysis, strategy: Strategy, batch: int = 64) -> Point:
    return next(p for p in analysis.points if (p.strategy, p.global_batch_size) == (strategy, batch))


def values_of(point: Point, column: str) -> tuple[float, ...]:
    summary = point.summary(column)
    return summary.values if summary else ()


def test_points_come_by_batch_size_then_strategy(tmp_path: Path) -> None:
    points = analyze_example(tmp_path, Sweep(num_epochs=1)).points
    assert [(p.global_batch_size, p.strategy) for p in points] == [
        (batch, strategy) for batch in (64, 128, 256) for strategy in (ONE, MIRRORED, WORKERS)
    ]


def test_points_are_the_cells_of_the_grid_in_its_order(tmp_path: Path) -> None:
    sweep = Sweep(
        num_epochs=1,
        loops=tuple(Loop),
        reductions=(Reduction.AUTO, Reduction.RING),
        xla=(False, True),
        skip_unsupported=True,
    )
    analysis = analyze_example(tmp_path, sweep)
    assert tuple(point.cell for point in analysis.points) == sweep.cells
    assert {point.n for point in analysis.points} == {1}
    assert {point.cell.setting for point in analysis.first_points} == {sweep.settings[0]}
    assert [p.cell.reduction for p in analysis.points_of(WORKERS)] == [Reduction.AUTO] * 3


@pytest.mark.parametrize(
    "axes", [{"loops": (Loop.FUSED, Loop.STEP)}, {"xla": (False, True)}, {"steps_per_call": (32, 1)}]
)
def test_speedup_is_against_one_device_of_the_same_setting(tmp_path: Path, axes: dict[str, Any]) -> None:
    sweep = Sweep(strategies=(ONE, MIRRORED), global_batch_sizes=(64,), num_epochs=1, **axes)
    factors = {sweep.settings[0]: 1.0, sweep.settings[1]: 4.0}

    def outcome(trial: Trial) -> Outcome:
        return make_result(trial, 60.0 if trial.strategy is ONE else 30.0 * factors[trial.cell.setting])

    _, first, _, second = analyze_example(tmp_path, sweep, outcome).points
    assert (values_of(first, "speedup"), values_of(second, "speedup")) == ((2.0,), (0.5,))


def test_first_setting_is_the_first_that_trains_something(tmp_path: Path) -> None:
    axes: dict[str, Any] = {"loops": (Loop.STEP, Loop.FUSED), "steps_per_call": (32, 1)}
    sweep = Sweep(global_batch_sizes=(64,), num_epochs=1, skip_unsupported=True, **axes)
    setting = analyze_example(tmp_path, sweep).setting
    assert (setting.loop, setting.steps_per_call) == (Loop.STEP, 1)


def test_numbers_of_a_point_are_medians_of_its_trials(tmp_path: Path) -> None:
    point = point_of(analyze_example(tmp_path, SWEEP, by_block), MIRRORED)
    assert (point.n, point.num_replicas, point.per_replica_batch_size) == (3, 2, 32)
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
    for column, values in expected.items():
        assert values_of(point, column) == pytest.approx(values), column
    assert point.value("training_seconds") == point.median("training_seconds") == 38.0


def test_one_device_has_no_speedup_against_itself(tmp_path: Path) -> None:
    single = point_of(analyze_example(tmp_path, SWEEP, by_block), ONE)
    assert (single.summary("speedup"), single.median("efficiency")) == (None, None)


def test_block_without_a_valid_baseline_gives_no_ratio(tmp_path: Path) -> None:
    def outcome(trial: Trial) -> Outcome:
        if (trial.strategy, trial.block) == (ONE, 1):
            return make_failure(trial)
        if (trial.strategy, trial.block) == (ONE, 2):
            return make_result(trial, 10.0, invalid_reason=InvalidReason.WEIGHTS_DISAGREE)
        return by_block(trial)

    point = point_of(analyze_example(tmp_path, SWEEP, outcome), MIRRORED)
    assert point.n == 3
    assert values_of(point, "speedup") == pytest.approx((1.5,))


def test_ratio_never_mixes_machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(dataclasses.replace(SWEEP, num_blocks=1))
    folder = fill(tmp_path, run, lambda trial: by_block(trial) if trial.strategy is ONE else None)
    other = dataclasses.replace(ENVIRONMENT, machine_fingerprint="f" * 16)
    monkeypatch.setattr(example_runs, "ENVIRONMENT", other)
    folder.put(record_of(run, by_block(plan_trial(run, cell_of(MIRRORED, 64)))))
    analysis = analyze(run, folder.read())
    assert point_of(analysis, MIRRORED).n == 1
    assert point_of(analysis, MIRRORED).summary("speedup") is None
    assert len(analysis.machines) == 2


def test_failed_trial_is_a_row_not_a_zero(tmp_path: Path) -> None:
    sweep = dataclasses.replace(SWEEP, num_blocks=1)
    outcome = {ONE: by_block, MIRRORED: make_failure}
    point = point_of(analyze_example(tmp_path, sweep, lambda trial: outcome[trial.strategy](trial)), MIRRORED)
    assert point.n == 0
    assert [(p.shortfall, p.reason, p.phase) for p in point.problems] == [("failed", "worker_killed", "training")]
    columns = ("training_seconds", "test_accuracy", "speedup", "seconds_to_target", "wall_seconds")
    assert [point.median(column) for column in columns] == [None] * 5
    assert point.step_percentiles is None
    with pytest.raises(StatisticsError):
        point.value("training_seconds")


def test_invalid_trial_enters_no_average(tmp_path: Path) -> None:
    def outcome(trial: Trial) -> Outcome:
        if (trial.strategy, trial.block) == (MIRRORED, 2):
            return make_result(trial, 1.0, (0.1,) * 5, InvalidReason.EXAMPLES_NOT_CONSERVED)
        return by_block(trial)

    point = point_of(analyze_example(tmp_path, SWEEP, outcome), MIRRORED)
    assert values_of(point, "training_seconds") == (30.0, 38.0)
    assert point.steps["trial_key"].nunique() == point.epochs["trial_key"].nunique() == 2


def test_target_that_is_not_reached_has_no_time(tmp_path: Path) -> None:
    def outcome(trial: Trial) -> Outcome:
        return make_result(trial, 50.0, (0.9,) * 5) if trial.block == 1 else by_block(trial)

    point = point_of(analyze_example(tmp_path, SWEEP, outcome), MIRRORED)
    assert point.n == 3
    assert values_of(point, "seconds_to_target") == pytest.approx((24.0, 22.8))


def test_baselines_are_kept_apart_and_serve_as_denominators(tmp_path: Path) -> None:
    run = make_run(Sweep(strategies=(MIRRORED,), global_batch_sizes=(64,)), num_planned_trials=2)
    folder = fill(tmp_path, run, lambda trial: make_result(trial, 40.0))
    folder.put(record_of(run, make_result(plan_trial(run, cell_of(ONE, 64), role=Role.BASELINE), 60.0)))
    analysis = analyze(run, folder.read())
    assert [p.strategy for p in analysis.points] == [MIRRORED]
    assert [(p.strategy, p.role, p.n) for p in analysis.baselines] == [(ONE, Role.BASELINE, 1)]
    assert analysis.points[0].median("speedup") == pytest.approx(1.5)
    assert analysis.coverage.missing == 0
