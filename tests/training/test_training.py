"""Real trainings in processes of their own: what must not differ between strategies."""

import os
from pathlib import Path

import pytest

from tasks.data.preparation import prepare
from tasks.domain.outcome import FailureReason, InvalidReason, TrialFailure, TrialResult
from tasks.domain.strategy import Strategy
from tasks.results.environment import find_devices
from tasks.training.launcher import run_trial
from tests.examples import make_trial

pytestmark = [
    pytest.mark.tensorflow,
    pytest.mark.skipif(len(find_devices().cores) < 2, reason="two slices need two cores"),
]
SHAPES = {
    Strategy.ONE_DEVICE: {"num_workers": 1, "replicas_per_worker": 1},
    Strategy.MIRRORED: {"num_workers": 1, "replicas_per_worker": 2},
    Strategy.MULTI_WORKER_MIRRORED: {"num_workers": 2, "replicas_per_worker": 1},
}


@pytest.fixture(scope="module")
def data_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(prepare("mnist", tmp_path_factory.mktemp("data")).directory)


@pytest.fixture(scope="module")
def results(data_directory: Path) -> dict[Strategy, TrialResult]:
    """One trial a strategy; 1,000 examples end in a partial batch of 40, which two replicas share."""
    found = {}
    for strategy, shape in SHAPES.items():
        outcome = run_trial(
            make_trial(strategy=strategy, **shape), devices=find_devices(), data_directory=data_directory
        )
        assert isinstance(outcome, TrialResult), outcome
        found[strategy] = outcome
    return found


def test_every_strategy_passes_its_checks(results: dict[Strategy, TrialResult]) -> None:
    for result in results.values():
        assert (result.invalid_reason, result.message) == (None, None)
        assert [epoch.num_examples for epoch in result.epochs] == [1000, 1000]
        assert sum(window.num_examples for window in result.windows) == 2000
        assert sum(window.num_steps for window in result.windows) == 2 * 16
        assert result.num_parameters == 121_930


def test_strategies_train_the_same_examples_in_the_same_order(results: dict[Strategy, TrialResult]) -> None:
    assert len({result.order_checksum for result in results.values()}) == 1


def test_strategies_compute_the_same_training(results: dict[Strategy, TrialResult]) -> None:
    """The first epoch's loss, before rounding has been amplified, agrees to five digits."""
    losses = [result.epochs[0].train_loss for result in results.values()]
    assert losses == [pytest.approx(losses[0], rel=1e-5)] * 3
    for result in results.values():
        assert result.epochs[1].test_accuracy is not None
        assert result.epochs[1].test_accuracy > 0.75


def test_processes_are_bound_to_their_slices(results: dict[Strategy, TrialResult]) -> None:
    for result in results.values():
        assert result.is_pinned is hasattr(os, "sched_setaffinity")


def test_the_ledger_explains_the_wall_time(results: dict[Strategy, TrialResult]) -> None:
    for result in results.values():
        assert sum(result.phase_seconds.values()) == pytest.approx(result.wall_seconds, rel=0.01)
        assert set(result.phase_seconds) == {
            "process_start", "import", "runtime", "data", "model", "compile", "warmup", "training", "evaluation",
            "teardown",
        }  # fmt: skip


def test_a_loss_that_explodes_ends_the_trial_at_its_window(data_directory: Path) -> None:
    trial = make_trial(strategy=Strategy.ONE_DEVICE, replicas_per_worker=1, learning_rate=1e38, num_epochs=3)
    outcome = run_trial(trial, devices=find_devices(), data_directory=data_directory)
    assert isinstance(outcome, TrialResult), outcome
    assert outcome.invalid_reason is InvalidReason.LOSS_NOT_FINITE
    assert outcome.message == "the training loss is inf in epoch 1, steps 1 to 4"


def test_missing_data_are_a_failure_that_names_the_phase(tmp_path: Path) -> None:
    trial = make_trial(strategy=Strategy.ONE_DEVICE, replicas_per_worker=1)
    outcome = run_trial(trial, devices=find_devices(), data_directory=tmp_path)
    assert isinstance(outcome, TrialFailure)
    assert (outcome.reason, outcome.phase) == (FailureReason.WORKER_ERROR, "data")
    assert "train.parquet" in outcome.message
