"""Curves, step times and machines of hand-made trials."""

import dataclasses
import json
from pathlib import Path

import pytest

from tasks.domain.outcome import StepWindow
from tasks.domain.trial import Trial
from tests.analysis.example_runs import ENVIRONMENT, ONE, Outcome, analyze_example, grid, make_result

SWEEP = grid(strategies=(ONE,), global_batch_sizes=(64,))
THREE = grid(3, strategies=(ONE,), global_batch_sizes=(64,))


def window(first_step: int, num_steps: int, seconds: float) -> StepWindow:
    return StepWindow(epoch=1, first_step=first_step, num_steps=num_steps, num_examples=64, seconds=seconds)


def test_step_time_is_the_windows_seconds_over_its_steps(tmp_path: Path) -> None:
    def outcome(trial: Trial) -> Outcome:
        windows = tuple(window(1 + 10 * i, 10, 0.1 * (i + 1)) for i in range(5))
        return dataclasses.replace(make_result(trial, 60.0), windows=(*windows, window(51, 5, 0.3)))

    point = analyze_example(tmp_path, SWEEP, outcome).points[0]
    assert tuple(point.steps["step_seconds"]) == pytest.approx((0.01, 0.02, 0.03, 0.04, 0.05, 0.06))
    assert point.step_percentiles == pytest.approx((0.035, 0.0575, 0.0595))


def test_percentiles_are_taken_in_each_trial_before_the_median(tmp_path: Path) -> None:
    def outcome(trial: Trial) -> Outcome:
        windows = tuple(window(1 + i, 1, 0.01 * trial.block) for i in range(trial.block * 10))
        return dataclasses.replace(make_result(trial, 60.0), windows=windows)

    times = analyze_example(tmp_path, THREE, outcome).points[0].step_percentiles
    assert times == pytest.approx((0.02, 0.02, 0.02))  # pooled windows would give .03


def test_median_curve_is_taken_epoch_by_epoch(tmp_path: Path) -> None:
    def outcome(trial: Trial) -> Outcome:
        return make_result(trial, 10.0 * trial.block, (0.9, 0.9 + 0.01 * trial.block))

    curve = analyze_example(tmp_path, dataclasses.replace(THREE, num_epochs=2), outcome).points[0].median_curve
    assert list(curve.index) == [1, 2]
    assert list(curve["elapsed_seconds"]) == pytest.approx([10.0, 20.0])
    assert list(curve["test_accuracy"]) == pytest.approx([0.9, 0.92])


def test_machines_are_distinct_states_with_plain_values(tmp_path: Path) -> None:
    (machine,) = analyze_example(tmp_path, SWEEP).machines
    assert machine.environment == dataclasses.asdict(ENVIRONMENT)
    assert json.loads(json.dumps(machine.environment)) == machine.environment
    assert machine.versions["tensorflow_version"] == ("2.21.0",)
    assert machine.is_pinned == (True,)
