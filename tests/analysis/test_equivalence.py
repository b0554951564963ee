"""Equivalence: an honest run raises no alarm, a gradient that is off is caught under its own name."""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tasks.analysis.analysis import Analysis, analyze
from tasks.analysis.coverage import RunState
from tasks.domain.loop import Loop
from tasks.domain.outcome import GradientProbe, InvalidReason, TrialResult
from tasks.domain.precision import Precision
from tasks.domain.strategy import Strategy
from tasks.domain.sweep import Sweep
from tasks.domain.trial import Role, Trial
from tests.analysis.example_runs import (
    MIRRORED,
    ONE,
    WORKERS,
    Outcome,
    analyze_example,
    grid,
    make_failure,
    make_probes,
    make_result,
    make_run,
    plan,
    read_records,
    realistic,
    record_of,
)

FIELDS = {"strategies": (ONE, MIRRORED), "global_batch_sizes": (64,), "num_epochs": 1}
ONCE, TWO = grid(1, **FIELDS), grid(2, **FIELDS)
"""Each block trains one device and two replicas at batch 64, one device of two cores there, and one at batch 32."""


def off_by(error: float, strategy: Strategy = MIRRORED, block: int = 2) -> Callable[[Trial], Outcome]:
    """Trainings of 60 and 30 s, in which one trial's gradients are off."""

    def outcome(trial: Trial) -> Outcome:
        is_off = (trial.strategy, trial.block) == (strategy, block)
        return make_result(trial, 60.0 if trial.strategy is ONE else 30.0, gradient_error=error if is_off else 0.0)

    return outcome


OFF = off_by(1.0)


def probed(changed: Callable[[GradientProbe], GradientProbe]) -> Callable[[Trial], Outcome]:
    """Trainings in which the mirrored trials' probes are changed."""

    def outcome(trial: Trial) -> Outcome:
        probes = make_probes(trial)
        changes = tuple(changed(probe) for probe in probes) if trial.strategy is MIRRORED else probes
        return dataclasses.replace(make_result(trial, 30.0), gradients=changes)

    return outcome


def reasons(analysis: Analysis) -> list[tuple[str, str, str | None]]:
    return [(p.cell.strategy, p.cell.setting.loop, p.reason) for p in analysis.coverage.problems]


def test_honest_run_raises_no_alarm(tmp_path: Path) -> None:
    analysis = analyze_example(tmp_path, grid(2, num_epochs=1))
    assert analysis.coverage.state is RunState.COMPLETE
    assert (len(analysis.equivalence.checks), analysis.equivalence.num_unchecked) == (18, 0)  # 3 a batch size
    assert {(check.difference, check.num_steps) for check in analysis.equivalence.checks} == {(0.0, 2)}


def test_rounding_is_within_the_tolerance_and_its_size_is_kept(tmp_path: Path) -> None:
    analysis = analyze_example(tmp_path, TWO, off_by(8.5e-7))
    assert analysis.coverage.state is RunState.COMPLETE
    assert sorted(check.difference for check in analysis.equivalence.checks) == pytest.approx([0.0, 0.0, 0.0, 8.5e-7])


def test_gradient_that_is_off_is_invalid_by_its_own_name_and_in_no_average(tmp_path: Path) -> None:
    analysis = analyze_example(tmp_path, TWO, off_by(1e-3))
    (problem,) = analysis.coverage.problems
    assert (problem.cell.strategy, problem.block, problem.shortfall) == (MIRRORED, 2, "invalid")
    assert problem.reason == InvalidReason.GRADIENTS_DISAGREE
    assert problem.message
    assert problem.message.startswith("the gradient of step ")
    assert problem.message.endswith(
        "differs by 0.001, relatively, from that of the block's one-device trial (tolerance 3e-05)"
    )
    single, mirrored = analysis.points
    assert (single.n, mirrored.n) == (2, 1)
    assert tuple(mirrored.trials["block"]) == (1,)
    assert set(mirrored.epochs["block"]) == {1}
    assert [pair.comparison.n for pair in analysis.pairs] == [1, 1]
    assert (analysis.coverage.valid, analysis.coverage.invalid) == (7, 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda probe: dataclasses.replace(probe, loss_sum=probe.loss_sum * 1.01), "the loss of step "),
        (lambda probe: dataclasses.replace(probe, loss_sum=math.nan), "the loss of step 1 differs by inf"),
        (
            lambda probe: dataclasses.replace(probe, projections=(math.nan,) * 8),
            "the gradient of step 1 differs by inf",
        ),
        (lambda probe: dataclasses.replace(probe, num_examples=63), "the probed steps or their examples are not those"),
        (lambda probe: dataclasses.replace(probe, step=probe.step + 1), "the probed steps or their examples are not"),
        (lambda probe: dataclasses.replace(probe, projections=(1.0,)), "the probed steps or their examples are not"),
    ],
)
def test_whatever_was_probed_must_agree(
    tmp_path: Path, change: Callable[[GradientProbe], GradientProbe], message: str
) -> None:
    coverage = analyze_example(tmp_path, ONCE, probed(change)).coverage
    assert [p.reason for p in coverage.problems] == [InvalidReason.GRADIENTS_DISAGREE]
    assert str(coverage.problems[0].message).startswith(message)


def random_gradients() -> tuple[list[tuple[float, tuple[float, ...]]], float]:
    """Norm and projections of two whole gradients, one of them a little off; how far they are apart, relatively."""
    generator = np.random.default_rng(1)
    gradient, error = generator.standard_normal((2, 1000))
    vectors, error = generator.standard_normal((64, 1000)), 1e-3 * error
    probes = [(float(np.linalg.norm(own)), tuple((vectors @ own).tolist())) for own in (gradient, gradient + error)]
    return probes, float(np.linalg.norm(error) / np.linalg.norm(gradient))


@pytest.mark.parametrize(
    ("probes", "difference", "tolerance"),
    [
        ([(5.0, (3.0, 4.0)), (5.0, (3.0, 3.0))], (1 / 2) ** 0.5 / 5, 1e-6),
        (*random_gradients(), 0.3),  # standard error of the estimate: sqrt(2 / 64) / 2
    ],
    ids=["by hand", "of whole gradients"],
)
def test_difference_is_estimated_by_projections_relative_to_the_references_norm(
    tmp_path: Path, probes: list[tuple[float, tuple[float, ...]]], difference: float, tolerance: float
) -> None:
    def outcome(trial: Trial) -> Outcome:
        norm, values = probes[trial.strategy is MIRRORED]
        probe = GradientProbe(step=1, num_examples=64, loss_sum=2.0, gradient_norm=norm, projections=values)
        return dataclasses.replace(make_result(trial, 30.0), gradients=(probe,))

    checks = analyze_example(tmp_path, ONCE, outcome).equivalence.checks
    assert max(check.difference for check in checks) == pytest.approx(difference, rel=tolerance)


def without_gradients(trial: Trial) -> Outcome:
    probes = () if trial.strategy is MIRRORED else make_probes(trial)
    return dataclasses.replace(make_result(trial, 30.0), gradients=probes)


@pytest.mark.parametrize(
    ("sweep", "outcome", "num_checks", "num_unchecked"),
    [
        (grid(2, strategies=(MIRRORED, WORKERS), num_epochs=1), lambda t: None if t.strategy is ONE else OFF(t), 0, 12),
        (TWO, lambda t: make_failure(t) if (t.strategy, t.block) == (ONE, 2) else OFF(t), 2, 1),
        (TWO, without_gradients, 2, 2),
        (TWO, lambda t: None, 0, 0),
    ],
    ids=["no one-device trial", "a failed one", "no gradients", "no records"],
)
def test_what_cannot_be_checked_is_counted_and_valid(
    tmp_path: Path, sweep: Sweep, outcome: Callable[[Trial], Outcome], num_checks: int, num_unchecked: int
) -> None:
    analysis = analyze_example(tmp_path, sweep, outcome)
    assert (len(analysis.equivalence.checks), analysis.equivalence.num_unchecked) == (num_checks, num_unchecked)
    assert analysis.coverage.invalid == 0


@pytest.mark.parametrize("role", [Role.BASELINE, Role.REFERENCE])
def test_grid_without_one_device_is_checked_against_what_it_is_set_against(tmp_path: Path, role: Role) -> None:
    sweep = grid(2, strategies=(MIRRORED,), num_epochs=1, global_batch_sizes=(64,))
    analysis = analyze_example(tmp_path, sweep, lambda t: OFF(t) if t.role in (role, Role.MEASURED) else None)
    assert [(p.cell.strategy, p.reason) for p in analysis.coverage.problems if p.shortfall == "invalid"] == [
        (MIRRORED, "gradients_disagree")
    ]


def test_earlier_finding_keeps_its_name(tmp_path: Path) -> None:
    def outcome(trial: Trial) -> Outcome:
        reason = InvalidReason.LOSS_NOT_FINITE if trial.strategy is MIRRORED else None
        return make_result(trial, 30.0, invalid_reason=reason, gradient_error=1.0 if reason else 0.0)

    assert {reason for *_, reason in reasons(analyze_example(tmp_path, TWO, outcome))} == {"loss_not_finite"}


@pytest.mark.parametrize("loops", [(Loop.FUSED, Loop.KERAS_FIT), (Loop.KERAS_FIT, Loop.FUSED)])
def test_loops_are_compared_with_each_other_the_first_is_the_reference(tmp_path: Path, loops: tuple[Loop, ...]) -> None:
    def outcome(trial: Trial) -> TrialResult:
        return make_result(trial, 30.0, gradient_error=1e-3 if trial.loop is Loop.KERAS_FIT else 0.0)

    run = make_run(grid(**FIELDS, loops=loops))
    trials = sorted(plan(run), key=lambda t: t.loop is loops[0])  # the order of settings counts, not that of trials
    records = [record_of(run, outcome(trial), number) for number, trial in enumerate(trials)]
    found = reasons(analyze(run, read_records(tmp_path, records)))
    assert found == [(strategy, loops[1], "gradients_disagree") for strategy in (ONE, MIRRORED, ONE, ONE)]


def test_precisions_have_tolerances_and_references_of_their_own(tmp_path: Path) -> None:
    def outcome(trial: Trial) -> Outcome:
        is_mixed, is_mirrored = trial.precision is Precision.MIXED_BFLOAT16, trial.strategy is MIRRORED
        return make_result(trial, 30.0, gradient_error=0.5 * is_mixed + 1e-3 * is_mirrored)

    sweep = grid(**FIELDS, precisions=(Precision.FLOAT32, Precision.MIXED_BFLOAT16))
    analysis = analyze_example(tmp_path, sweep, outcome)
    assert {(check.precision, check.is_passed) for check in analysis.equivalence.checks} == {
        (Precision.FLOAT32, True),
        (Precision.FLOAT32, False),
        (Precision.MIXED_BFLOAT16, True),
    }
    assert [p.cell.setting.precision for p in analysis.coverage.problems] == [Precision.FLOAT32]


def test_xla_is_compared_with_the_setting_without(tmp_path: Path) -> None:
    sweep = grid(**FIELDS, xla=(False, True))
    assert len(analyze_example(tmp_path, sweep, realistic).equivalence.checks) == 5 + 1
