"""Coverage: planned against got, and the state that follows."""

import dataclasses
from pathlib import Path

import pytest

from tasks.analysis.analysis import analyze
from tasks.analysis.coverage import Coverage, RunState
from tasks.domain.device import DeviceType
from tasks.domain.loop import Loop
from tasks.domain.sweep import Sweep
from tests.analysis.example_runs import (
    MIRRORED,
    WORKERS,
    analyze_example,
    degraded,
    grid,
    make_run,
    plan,
    read_records,
    realistic,
    record_of,
)

SHORT = grid(num_epochs=1)


def counts(coverage: Coverage) -> tuple[int, int, int, int, int]:
    return coverage.planned, coverage.valid, coverage.invalid, coverage.failed, coverage.missing


@pytest.mark.parametrize("max_train_examples", [None, 1024])
def test_complete_run_is_complete_and_one_of_a_part_of_the_examples_is_a_smoke_run(
    tmp_path: Path, max_train_examples: int | None
) -> None:
    analysis = analyze_example(tmp_path, dataclasses.replace(SHORT, max_train_examples=max_train_examples))
    coverage = analysis.coverage
    assert (coverage.state, coverage.problems, coverage.has_ended) == (RunState.COMPLETE, (), True)
    assert counts(coverage) == (13, 13, 0, 0, 0)
    assert (coverage.num_blocks, coverage.num_begun, coverage.num_recorded) == (1, 1, 13)
    assert analysis.is_smoke is (max_train_examples is not None)


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
    ("recorded", "ended", "going_on"),
    [
        ({"valid": 4}, RunState.COMPLETE, RunState.PARTIAL),
        ({"valid": 3, "missing": 1}, RunState.DAMAGED, RunState.PARTIAL),
        ({"valid": 2, "invalid": 1, "missing": 1}, RunState.INVALID, RunState.INVALID),
        ({"valid": 1, "invalid": 1, "failed": 1, "missing": 1}, RunState.FAILED, RunState.FAILED),
        ({"invalid": 2, "failed": 2}, RunState.NOT_MEASURED, RunState.NOT_MEASURED),
        ({"missing": 4}, RunState.NOT_MEASURED, RunState.NOT_MEASURED),
    ],
)
def test_state_is_the_worst_that_was_found(recorded: dict[str, int], ended: RunState, going_on: RunState) -> None:
    found = dict.fromkeys(("valid", "invalid", "failed", "missing"), 0) | recorded
    blocks = {"planned": 4, "num_blocks": 1, "num_begun": 1, "num_recorded": 4 - found["missing"], "problems": ()}
    states = [Coverage(**found, **blocks, has_ended=has_ended).state for has_ended in (True, False)]
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
        assert {problem.shortfall for problem in coverage.problems} == {"missing"}
