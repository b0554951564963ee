"""Two runs side by side: ratios by hand, and what may not be set side by side."""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from scipy import stats

from tasks.analysis.analysis import Analysis
from tasks.analysis.sessions import SessionPoint, compare_sessions
from tasks.domain.device import DeviceType
from tasks.domain.loop import Loop
from tasks.domain.precision import Precision
from tasks.domain.reduction import Reduction
from tasks.domain.refusal import Refusal
from tasks.domain.trial import Trial
from tasks.results import schema
from tests.analysis.example_runs import MIRRORED, ONE, WORKERS, Outcome, analyze_example, make_result, session

A, B = (0.6, 0.7, 0.8), (0.9, 1.0, 1.1, 1.2)
"""ln of how many times as fast mirrored trained as one device, by block."""


@pytest.fixture(scope="module")
def analyses(tmp_path_factory: pytest.TempPathFactory) -> tuple[Analysis, Analysis]:
    folder = tmp_path_factory.mktemp("sessions")
    return session(folder / "a", (0.5,)), session(folder / "b", (0.6,))


def mirrored_of(tmp_path: Path, a: tuple[float, ...], b: tuple[float, ...]) -> SessionPoint:
    points = compare_sessions(session(tmp_path / "a", a), session(tmp_path / "b", b, 90.0)).points
    return next(point for point in points if point.cell.strategy is MIRRORED)


def test_ratios_and_their_intervals_are_those_computed_by_hand(tmp_path: Path) -> None:
    point = mirrored_of(tmp_path, A, B)
    assert (point.a.num_blocks, point.b.num_blocks) == (3, 4)
    assert point.a.speedup.ratio == pytest.approx(math.exp(0.7))
    half = 4.302653 * 0.1 / math.sqrt(3)  # t at 2 degrees of freedom
    assert (point.a.speedup.low, point.a.speedup.high) == pytest.approx((math.exp(0.7 - half), math.exp(0.7 + half)))
    half = 3.182446 * math.sqrt(0.05 / 3 / 4)  # t at 3
    assert (point.b.speedup.low, point.b.speedup.high) == pytest.approx((math.exp(1.05 - half), math.exp(1.05 + half)))
    # Welch: variances of the means .01/3 and .05/3/4, sum .0075, .0075^2 / (.00333^2/2 + .00417^2/3) = 4.9592.
    half = stats.t.ppf(0.975, 4.959184) * math.sqrt(0.0075)
    assert point.quotient.ratio == pytest.approx(math.exp(0.35))
    assert (point.quotient.low, point.quotient.high) == pytest.approx((math.exp(0.35 - half), math.exp(0.35 + half)))


def test_seconds_are_medians_an_epoch_and_one_device_has_no_ratio(tmp_path: Path) -> None:
    one, mirrored = compare_sessions(session(tmp_path / "a", A), session(tmp_path / "b", B, 90.0)).points
    assert (one.a.seconds_per_epoch, one.a.num_trials) == (pytest.approx(30.0), 3)
    assert (one.b.seconds_per_epoch, one.b.num_trials) == (pytest.approx(45.0), 4)
    assert (one.a.speedup.ratio, one.b.speedup.ratio, one.quotient.ratio) == (None, None, None)
    assert mirrored.a.seconds_per_epoch == pytest.approx(30 * math.exp(-0.7))
    assert mirrored.b.seconds_per_epoch == pytest.approx(45 * (math.exp(-1.0) + math.exp(-1.1)) / 2)


@pytest.mark.parametrize("few", [(0.5,), (0.5, 0.7)])
def test_fewer_than_three_blocks_give_no_interval(tmp_path: Path, few: tuple[float, ...]) -> None:
    point = mirrored_of(tmp_path, few, B)
    mean = sum(few) / len(few)
    assert (point.a.speedup.low, point.a.speedup.high, point.a.num_blocks) == (None, None, len(few))
    assert point.b.speedup.low
    assert point.quotient.ratio == pytest.approx(math.exp(1.05 - mean))
    assert (point.quotient.low, point.quotient.high) == (None, None)


def test_without_one_device_in_the_grid_the_baseline_trials_are_the_denominator(tmp_path: Path) -> None:
    found = [session(tmp_path / name, d, strategies=(MIRRORED,)) for name, d in (("a", A), ("b", B))]
    (point,) = compare_sessions(*found).points
    assert point.quotient.ratio == pytest.approx(math.exp(0.35))


def test_cells_that_one_run_has_are_named_and_an_unmeasured_one_has_no_number(tmp_path: Path) -> None:
    a = session(tmp_path / "a", A, global_batch_sizes=(64, 128))
    b = session(tmp_path / "b", B, strategies=(ONE, MIRRORED, WORKERS))
    found = compare_sessions(a, b)
    assert [cell.label for cell in found.only_a] == ["one_device, batch 128", "mirrored, batch 128"]
    assert [cell.label for cell in found.only_b] == ["multi_worker_mirrored, batch 64"]
    assert [point.cell.label for point in found.points] == ["one_device, batch 64", "mirrored, batch 64"]

    def outcome(trial: Trial) -> Outcome:
        return None if trial.strategy is MIRRORED else make_result(trial, 60.0)

    c = analyze_example(tmp_path / "c" / "run", b.run.sweep, outcome, run_name="c")
    side = compare_sessions(a, c).points[1].b
    assert (side.speedup.ratio, side.num_blocks, side.seconds_per_epoch, side.num_trials) == (None, 0, None, 0)


def of_run(**changes: Any) -> Callable[[Analysis], Analysis]:
    return lambda analysis: dataclasses.replace(analysis, run=dataclasses.replace(analysis.run, **changes))


def of_sweep(**changes: Any) -> Callable[[Analysis], Analysis]:
    def change(analysis: Analysis) -> Analysis:
        return of_run(sweep=dataclasses.replace(analysis.run.sweep, **changes))(analysis)

    return change


def on_machine(analysis: Analysis) -> Analysis:
    (machine,) = analysis.machines
    other = dataclasses.replace(machine, environment={**machine.environment, "machine_fingerprint": "fedcba9876543210"})
    return dataclasses.replace(analysis, machines=(machine, other))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (on_machine, "machine_fingerprint is 0123456789abcdef in A and 0123456789abcdef, fedcba9876543210 in B"),
        (of_run(dataset_digest="e" * 64), f"dataset_digest is {'d' * 64} in A and {'e' * 64} in B"),
        (of_run(num_train_examples=50_000), "num_train_examples is 60000 in A and 50000 in B"),
        (of_sweep(max_train_examples=2048), "max_train_examples is all in A and 2048 in B"),
        (of_sweep(model="larger_cnn"), "model is reference_cnn in A and larger_cnn in B"),
        (of_run(device=DeviceType.GPU), "device is cpu_slice in A and gpu in B"),
        (of_sweep(cores_per_replica=2), "cores_per_replica is 1 in A and 2 in B"),
        (of_sweep(num_replicas=4), "num_replicas is 2 in A and 4 in B"),
        (of_run(schema_version=2), f"schema_version is {schema.VERSION} in A and 2 in B"),
        (lambda analysis: dataclasses.replace(analysis, slowdowns=(0.1,)), "slowdown is none in A and 0.1 in B"),
        (of_sweep(loops=(Loop.STEP, Loop.KERAS_FIT)), "loop is fused in A and step, keras_fit in B"),
        (of_sweep(precisions=(Precision.FLOAT64,)), "precision is float32 in A and float64 in B"),
        (of_sweep(xla=(True,)), "is_xla_enabled is False in A and True in B"),
        (of_sweep(steps_per_call=(8,)), "steps_per_call is 32 in A and 8 in B"),
        (of_sweep(global_batch_sizes=(128,)), "global_batch_size is 64 in A and 128 in B"),
        (of_sweep(strategies=(WORKERS,)), "strategy is one_device, mirrored in A and multi_worker_mirrored in B"),
        (of_run(run_name="a"), "A and B are one run, run_name=a"),
    ],
)
def test_what_cannot_be_compared_is_refused_by_its_column_and_both_values(
    analyses: tuple[Analysis, Analysis], change: Callable[[Analysis], Analysis], said: str
) -> None:
    a, b = analyses
    with pytest.raises(Refusal) as error:
        compare_sessions(a, change(b))
    assert str(error.value).startswith(f"{said}; ")
    assert "\n" not in str(error.value)


def test_a_gpu_has_tf32_and_no_cores(analyses: tuple[Analysis, Analysis]) -> None:
    a, b = (of_run(device=DeviceType.GPU)(analysis) for analysis in analyses)
    assert compare_sessions(a, of_sweep(cores_per_replica=2)(b)).points
    with pytest.raises(Refusal, match="is_tf32_enabled is False in A and True in B"):
        compare_sessions(a, of_sweep(is_tf32_enabled=True)(b))


def test_the_same_two_machines_on_both_sides_are_no_obstacle(analyses: tuple[Analysis, Analysis]) -> None:
    a, b = map(on_machine, analyses)
    assert compare_sessions(a, dataclasses.replace(b, machines=b.machines[::-1])).points


def test_reductions_alone_may_differ_where_one_device_is_common(analyses: tuple[Analysis, Analysis]) -> None:
    a, b = analyses
    found = dataclasses.replace(b, points=b.points[:1])
    other = of_sweep(reductions=(Reduction.HIERARCHICAL_COPY,))(found)
    assert [cell.label for cell in compare_sessions(a, other).only_a] == ["mirrored, batch 64"]
