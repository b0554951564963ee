"""Points: hand-computed numbers of valid trials, and nothing where there is none."""

import dataclasses
from pathlib import Path

import pytest

from tasks.analysis.analysis import Analysis, analyze
from tasks.analysis.points import Point, ideal_rates
from tasks.domain.outcome import InvalidReason
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
    fill,
    make_failure,
    make_result,
    make_run,
    plan_trial,
    put,
    read_example,
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


def test_points_come_by_batch_size_then_strategy(tmp_path: Path) -> None:
    run = make_run()
    points = analyze(run, read_example(tmp_path, run)).points
    assert [(p.global_batch_size, p.strategy) for p in points] == [
        (batch, strategy) for batch in (64, 128, 256) for strategy in (ONE, MIRRORED, WORKERS)
    ]


def test_numbers_of_a_point_are_medians_of_its_trials(tmp_path: Path) -> None:
    run = make_run(SWEEP)
    point = point_of(analyze(run, read_example(tmp_path, run, by_block)), MIRRORED)
    assert point.n == 3
    assert point.blocks == (1, 2, 3)
    assert point.num_replicas == 2
    assert point.per_replica_batch_size == 32
    assert point.training_seconds
    assert point.training_seconds.values == (30.0, 40.0, 38.0)
    assert point.training_seconds.median == 38.0
    assert point.seconds_per_epoch
    assert point.seconds_per_epoch.median == pytest.approx(7.6)
    assert point.examples_per_second
    assert point.examples_per_second.values[0] == pytest.approx(300_000 / 30)
    assert point.device_seconds
    assert point.device_seconds.median == pytest.approx(76.0)
    assert point.test_accuracy
    assert point.test_accuracy.median == 0.99
    assert point.seconds_to_target
    assert point.seconds_to_target.values == pytest.approx((18.0, 24.0, 22.8))


def test_speedup_is_the_median_of_ratios_inside_blocks(tmp_path: Path) -> None:
    run = make_run(SWEEP)
    analysis = analyze(run, read_example(tmp_path, run, by_block))
    mirrored, single = point_of(analysis, MIRRORED), point_of(analysis, ONE)
    assert mirrored.speedup
    assert mirrored.speedup.values == pytest.approx((2.0, 1.65, 1.5))
    assert mirrored.speedup.median == pytest.approx(1.65)
    assert mirrored.efficiency
    assert mirrored.efficiency.median == pytest.approx(0.825)
    assert single.speedup is None
    assert ideal_rates(analysis.points) == pytest.approx((2 * 300_000 / 60,))


def test_block_without_a_valid_baseline_gives_no_ratio(tmp_path: Path) -> None:
    def outcome(trial: Trial) -> Outcome:
        if (trial.strategy, trial.block) == (ONE, 1):
            return make_failure(trial)
        if (trial.strategy, trial.block) == (ONE, 2):
            return make_result(trial, 10.0, invalid_reason=InvalidReason.WEIGHTS_DISAGREE)
        return by_block(trial)

    run = make_run(SWEEP)
    point = point_of(analyze(run, read_example(tmp_path, run, outcome)), MIRRORED)
    assert point.n == 3
    assert point.speedup
    assert point.speedup.values == pytest.approx((1.5,))


def test_ratio_never_mixes_machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(dataclasses.replace(SWEEP, num_blocks=1))
    folder = fill(tmp_path, run, lambda trial: by_block(trial) if trial.strategy is ONE else None)
    other = dataclasses.replace(ENVIRONMENT, machine_fingerprint="f" * 16)
    monkeypatch.setattr(example_runs, "ENVIRONMENT", other)
    put(folder, run, by_block(plan_trial(run, MIRRORED, 64)))
    analysis = analyze(run, folder.read())
    assert point_of(analysis, MIRRORED).n == 1
    assert point_of(analysis, MIRRORED).speedup is None
    assert len(analysis.machines) == 2


def test_failed_trial_is_a_row_not_a_zero(tmp_path: Path) -> None:
    run = make_run(dataclasses.replace(SWEEP, num_blocks=1))
    tables = read_example(tmp_path, run, lambda t: make_failure(t) if t.strategy is MIRRORED else by_block(t))
    point = point_of(analyze(run, tables), MIRRORED)
    assert point.n == 0
    assert [(p.shortfall, p.reason, p.phase) for p in point.problems] == [("failed", "worker_killed", "training")]
    numbers = (point.training_seconds, point.test_accuracy, point.speedup, point.step_times, point.phase_times)
    assert numbers == (None,) * 5


def test_invalid_trial_enters_no_average(tmp_path: Path) -> None:
    def outcome(trial: Trial) -> Outcome:
        if (trial.strategy, trial.block) == (MIRRORED, 2):
            return make_result(trial, 1.0, (0.1,) * 5, InvalidReason.EXAMPLES_NOT_CONSERVED)
        return by_block(trial)

    run = make_run(SWEEP)
    point = point_of(analyze(run, read_example(tmp_path, run, outcome)), MIRRORED)
    assert point.training_seconds
    assert point.training_seconds.values == (30.0, 38.0)
    assert point.step_times
    assert point.step_times.num_trials == 2
    assert len(point.curves) == 2


def test_target_that_is_not_reached_has_no_time(tmp_path: Path) -> None:
    def outcome(trial: Trial) -> Outcome:
        return make_result(trial, 50.0, (0.9,) * 5) if trial.block == 1 else by_block(trial)

    run = make_run(SWEEP)
    point = point_of(analyze(run, read_example(tmp_path, run, outcome)), MIRRORED)
    assert point.n == 3
    assert point.seconds_to_target
    assert point.seconds_to_target.n == 2


def test_baselines_are_kept_apart_and_serve_as_denominators(tmp_path: Path) -> None:
    run = make_run(Sweep(strategies=(MIRRORED,), global_batch_sizes=(64,)), num_planned_trials=2)
    folder = fill(tmp_path, run, lambda trial: make_result(trial, 40.0))
    put(folder, run, make_result(plan_trial(run, ONE, 64, role=Role.BASELINE), 60.0))
    analysis = analyze(run, folder.read())
    assert [p.strategy for p in analysis.points] == [MIRRORED]
    assert [(p.strategy, p.role, p.n) for p in analysis.baselines] == [(ONE, Role.BASELINE, 1)]
    assert analysis.points[0].speedup
    assert analysis.points[0].speedup.median == pytest.approx(1.5)
    assert analysis.coverage.missing == 0
