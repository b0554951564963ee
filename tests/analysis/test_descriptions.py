"""Curves, step times, phases, machines and noise of hand-made trials."""

import dataclasses
from pathlib import Path

import pytest

from tasks.analysis.analysis import analyze
from tasks.analysis.convergence import Curve, CurvePoint, median_curve
from tasks.analysis.steps import histogram
from tasks.domain.outcome import Phase, StepWindow
from tasks.domain.sweep import Sweep
from tasks.domain.trial import Trial
from tests.analysis.example_runs import ONE, Outcome, make_result, make_run, read_example

SWEEP = Sweep(strategies=(ONE,), global_batch_sizes=(64,))


def window(first_step: int, num_steps: int, seconds: float) -> StepWindow:
    return StepWindow(epoch=1, first_step=first_step, num_steps=num_steps, num_examples=64, seconds=seconds)


def test_step_time_is_the_windows_seconds_over_its_steps(tmp_path: Path) -> None:
    def outcome(trial: Trial) -> Outcome:
        windows = tuple(window(1 + 10 * i, 10, 0.1 * (i + 1)) for i in range(5))
        return dataclasses.replace(make_result(trial, 60.0), windows=(*windows, window(51, 5, 0.3)))

    run = make_run(SWEEP)
    times = analyze(run, read_example(tmp_path, run, outcome)).points[0].step_times
    assert times
    assert times.window_seconds == pytest.approx((0.01, 0.02, 0.03, 0.04, 0.05, 0.06))
    assert (times.num_windows, times.steps_per_window, times.num_trials) == (6, 10, 1)
    assert (times.p50, times.p95, times.p99) == pytest.approx((0.035, 0.0575, 0.0595))
    assert histogram(times, 0.06, 2) == pytest.approx((0.5, 1.0))


def test_percentiles_are_taken_in_each_trial_before_the_median(tmp_path: Path) -> None:
    def outcome(trial: Trial) -> Outcome:
        windows = tuple(window(1 + i, 1, 0.01 * trial.block) for i in range(trial.block * 10))
        return dataclasses.replace(make_result(trial, 60.0), windows=windows)

    run = make_run(dataclasses.replace(SWEEP, num_blocks=3))
    times = analyze(run, read_example(tmp_path, run, outcome)).points[0].step_times
    assert times
    assert times.p50 == pytest.approx(0.02)  # pooled windows would give .03


def test_phases_are_medians_in_order(tmp_path: Path) -> None:
    run = make_run(dataclasses.replace(SWEEP, num_blocks=3))
    tables = read_example(tmp_path, run, lambda t: make_result(t, 10.0 * t.block))
    times = analyze(run, tables).points[0].phase_times
    assert times
    assert [phase for phase, _ in times.phases] == list(Phase)
    assert dict(times.phases)[Phase.TRAINING] == 20.0
    assert times.unexplained == pytest.approx(0.05)
    assert times.wall == pytest.approx(20.0 + 9.4 + 0.05)
    assert times.queue is None


def test_curve_reaches_the_target_at_the_end_of_an_epoch() -> None:
    curve = Curve(1, "m", (CurvePoint(1, 5.0, 5.0, 0.97), CurvePoint(2, 4.0, 9.0, 0.986)))
    assert (curve.seconds_to(0.985), curve.epochs_to(0.985)) == (9.0, 2)
    assert (curve.seconds_to(0.99), curve.epochs_to(0.99)) == (None, None)


def test_median_curve_is_taken_epoch_by_epoch() -> None:
    curves = [Curve(b, "m", (CurvePoint(1, float(b), float(b), 0.9 + 0.01 * b),)) for b in (1, 2, 6)]
    assert median_curve(curves) == (CurvePoint(1, 2.0, 2.0, pytest.approx(0.92)),)
    assert median_curve([]) == ()


def test_machines_are_distinct_states_with_plain_values(tmp_path: Path) -> None:
    run = make_run(SWEEP)
    (machine,) = analyze(run, read_example(tmp_path, run)).machines
    assert machine.environment["hostname"] == "bench-1"
    assert machine.environment["gpu_model"] is None
    assert machine.environment["is_commit_clean"] is True
    assert machine.environment["memory_bytes"] == 8 * 2**30
    assert machine.versions["tensorflow_version"] == ("2.21.0",)
    assert machine.is_pinned == (True,)


def test_noise_between_blocks_needs_three_of_them(tmp_path: Path) -> None:
    for num_blocks, expected in ((2, None), (3, 0.1)):
        run = make_run(dataclasses.replace(SWEEP, num_blocks=num_blocks))
        factor = {1: 1.0, 2: 2.718281828459045**0.1, 3: 2.718281828459045**-0.1}
        tables = read_example(tmp_path / str(num_blocks), run, lambda t, f=factor: make_result(t, 60.0 * f[t.block]))
        noise = analyze(run, tables).block_noise
        assert noise == (None if expected is None else pytest.approx(expected))
