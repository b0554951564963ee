"""Coverage: planned against got, and the state that follows."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.analysis.analysis import analyze
from tasks.analysis.coverage import Coverage, RunState
from tasks.domain.device import DeviceType
from tasks.domain.loop import Loop
from tasks.domain.outcome import InvalidReason
from tasks.domain.sweep import Sweep
from tasks.domain.trial import Role, Trial
from tests.analysis.example_runs import (
    MIRRORED,
    WORKERS,
    Outcome,
    analyze_example,
    degraded,
    grid,
    make_failure,
    make_result,
    make_run,
    plan,
    plan_trial,
    read_records,
    realistic,
    record_of,
)

SHORT = grid(num_epochs=1)


def invalid(trial: Trial) -> Outcome:
    is_broken = trial.role is Role.REFERENCE and trial.global_batch_size == 128
    return make_result(trial, 9.0, invalid_reason=InvalidReason.STEAL_TIME) if is_broken else realistic(trial)


def without_64(trial: Trial) -> Outcome:
    return None if trial.global_batch_size == 64 else realistic(trial)


def counts(coverage: Coverage) -> tuple[int, int, int, int, int]:
    return coverage.planned, coverage.valid, coverage.invalid, coverage.failed, coverage.missing


def test_complete_run_is_complete(tmp_path: Path) -> None:
    analysis = analyze_example(tmp_path, SHORT)
    assert analysis.coverage.state is RunState.COMPLETE
    assert analysis.coverage.problems == ()
    assert counts(analysis.coverage) == (13, 13, 0, 0, 0)
    assert (analysis.coverage.num_blocks, analysis.coverage.num_begun, analysis.coverage.num_recorded) == (1, 1, 13)
    assert (analysis.coverage.has_ended, analysis.is_smoke) == (True, False)


def test_counts_add_up_and_every_problem_has_its_reason(tmp_path: Path) -> None:
    coverage = analyze_example(tmp_path, SHORT, degraded).coverage
    assert counts(coverage) == (13, 10, 1, 1, 1)
    assert (coverage.state, coverage.num_recorded) == (RunState.FAILED, 12)
    assert [(p.cell.strategy, p.role, p.shortfall, p.reason) for p in coverage.problems] == [
        (WORKERS, "measured", "lost", None),
        (MIRRORED, "measured", "failed", "worker_killed"),
        (WORKERS, "measured", "invalid", "weights_disagree"),
    ]


def test_every_member_is_planned_in_every_block(tmp_path: Path) -> None:
    sweep = grid(2, num_epochs=1, loops=tuple(Loop), skip_unsupported=True)
    coverage = analyze_example(tmp_path, sweep, lambda t: None if t.loop is Loop.STEP else realistic(t)).coverage
    # 24 points, 9 references and 3 baselines a block; of the step loop 9, 3 and 1
    assert counts(coverage) == (72, 46, 0, 0, 26)
    members = sweep.members(DeviceType.CPU_SLICE)
    expected = [(role, cell) for role, cell in members if cell.setting.loop is Loop.STEP]
    found = [(p.block, (p.role, p.cell)) for p in coverage.problems]
    assert found == [(block, member) for block in (1, 2) for member in expected]


@pytest.mark.parametrize(
    ("outcome_of", "ended", "going_on"),
    [
        (realistic, RunState.COMPLETE, RunState.PARTIAL),
        (without_64, RunState.DAMAGED, RunState.PARTIAL),
        (invalid, RunState.INVALID, RunState.INVALID),
        (degraded, RunState.FAILED, RunState.FAILED),
        (make_failure, RunState.NOT_MEASURED, RunState.NOT_MEASURED),
        (lambda trial: None, RunState.NOT_MEASURED, RunState.NOT_MEASURED),
    ],
)
def test_state_is_the_worst_that_was_found(
    tmp_path: Path, outcome_of: Callable[[Trial], Outcome], ended: RunState, going_on: RunState
) -> None:
    states = [
        analyze_example(tmp_path / name, SHORT, outcome_of, **changes).coverage.state
        for name, changes in (("ended", {}), ("going_on", {"end": None}))
    ]
    assert states == [ended, going_on]


def test_run_that_goes_on_plans_what_it_cannot_do_without_or_has_begun(tmp_path: Path) -> None:
    sweep = Sweep(min_blocks=2, max_blocks=9, num_epochs=1, global_batch_sizes=(64,))
    begun = {1: (10, 1), 2: (10, 2), 3: (15, 3)}  # 3 points, 1 reference, 1 baseline a block
    for last, (planned, num_begun) in begun.items():
        run = make_run(sweep, end=None)
        longer = dataclasses.replace(run, sweep=dataclasses.replace(sweep, min_blocks=last))
        records = [record_of(run, realistic(trial), number) for number, trial in enumerate(plan(longer)[:-1])]
        coverage = analyze(run, read_records(tmp_path / str(last), records)).coverage
        assert (coverage.planned, coverage.num_begun, coverage.state) == (planned, num_begun, RunState.PARTIAL)
        assert coverage.missing == planned - (5 * last - 1)


def test_discarded_trial_is_neither_planned_nor_counted(tmp_path: Path) -> None:
    run = make_run(SHORT)
    discarded = plan_trial(run, SHORT.cells[0], role=Role.DISCARDED)
    for name, outcome in (("valid", make_result(discarded, 3.0)), ("failed", make_failure(discarded))):
        records = [record_of(run, outcome), *(record_of(run, realistic(trial)) for trial in plan(run))]
        coverage = analyze(run, read_records(tmp_path / name, records)).coverage
        assert (*counts(coverage), coverage.num_recorded) == (13, 13, 0, 0, 0, 13)
        assert coverage.state is RunState.COMPLETE
    alone = analyze(run, read_records(tmp_path / "alone", [record_of(run, make_result(discarded, 3.0))]))
    assert alone.coverage.state is RunState.NOT_MEASURED


def test_part_of_the_examples_makes_a_smoke_run(tmp_path: Path) -> None:
    analysis = analyze_example(tmp_path, grid(max_train_examples=1024, num_epochs=1))
    assert analysis.is_smoke
    assert analysis.coverage.state is RunState.COMPLETE
