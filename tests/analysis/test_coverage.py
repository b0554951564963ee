"""Coverage: planned against got, and the state that follows."""

from pathlib import Path

from tasks.analysis.coverage import RunState
from tasks.domain.loop import Loop
from tasks.domain.outcome import InvalidReason
from tasks.domain.sweep import Sweep
from tasks.domain.trial import Trial
from tests.analysis.example_runs import (
    MIRRORED,
    ONE,
    WORKERS,
    Outcome,
    analyze_example,
    make_failure,
    make_result,
    realistic,
)

SHORT = Sweep(num_epochs=1)


def degraded(trial: Trial) -> Outcome:
    """One failed, one invalid, one missing, six valid."""
    match trial.strategy, trial.global_batch_size:
        case (name, 64) if name == ONE:
            return make_failure(trial)
        case (name, 128) if name == MIRRORED:
            return make_result(trial, 30.0, invalid_reason=InvalidReason.LOSS_NOT_FINITE)
        case (name, 256) if name == WORKERS:
            return None
    return realistic(trial)


def test_complete_run_is_complete(tmp_path: Path) -> None:
    analysis = analyze_example(tmp_path, SHORT)
    assert analysis.coverage.state is RunState.COMPLETE
    assert analysis.coverage.problems == ()
    assert (analysis.coverage.planned, analysis.coverage.valid) == (9, 9)
    assert not analysis.is_smoke


def test_counts_add_up_and_every_problem_has_its_reason(tmp_path: Path) -> None:
    coverage = analyze_example(tmp_path, SHORT, degraded).coverage
    assert (coverage.planned, coverage.valid, coverage.invalid, coverage.failed, coverage.missing) == (9, 6, 1, 1, 1)
    assert coverage.state is RunState.DEGRADED
    assert {(p.cell.strategy, p.shortfall, p.reason) for p in coverage.problems} == {
        (ONE, "failed", "worker_killed"),
        (MIRRORED, "invalid", "loss_not_finite"),
        (WORKERS, "missing", None),
    }


def test_every_cell_is_planned_in_every_block(tmp_path: Path) -> None:
    sweep = Sweep(num_epochs=1, num_blocks=2, loops=tuple(Loop), skip_unsupported=True)
    coverage = analyze_example(tmp_path, sweep, lambda t: None if t.loop is Loop.STEP else realistic(t)).coverage
    assert (coverage.planned, coverage.valid, coverage.missing) == (48, 30, 18)
    expected = [cell for cell in sweep.cells if cell.setting.loop is Loop.STEP]
    assert [(p.block, p.cell) for p in coverage.problems] == [(block, cell) for block in (1, 2) for cell in expected]


def test_deleted_trial_makes_a_partial_run(tmp_path: Path) -> None:
    analysis = analyze_example(
        tmp_path, SHORT, lambda trial: None if trial.global_batch_size == 64 else realistic(trial)
    )
    assert analysis.coverage.state is RunState.PARTIAL
    assert analysis.coverage.missing == 3


def test_run_without_a_valid_trial_is_not_measured(tmp_path: Path) -> None:
    assert analyze_example(tmp_path / "empty", SHORT, lambda trial: None).coverage.state is RunState.NOT_MEASURED
    assert analyze_example(tmp_path / "failed", SHORT, make_failure).coverage.state is RunState.NOT_MEASURED


def test_part_of_the_examples_makes_a_smoke_run(tmp_path: Path) -> None:
    analysis = analyze_example(tmp_path, Sweep(max_train_examples=1024, num_epochs=1))
    assert analysis.is_smoke
    assert analysis.coverage.state is RunState.COMPLETE
