import dataclasses

import pytest

from tasks.domain.outcome import FailureReason, InvalidReason, TrialFailure, TrialResult
from tasks.domain.strategy import Strategy
from tasks.domain.trial import Trial
from tasks.training.merging import CAUSES, find_band, merge_outcomes, merge_parts
from tasks.training.part import Loss, Part
from tasks.training.request import WorkerOutcome
from tests.examples import make_trial
from tests.training.outcomes import make_outcome, planned_checksum

TRIAL = make_trial(strategy=Strategy.MULTI_WORKER_MIRRORED, num_workers=2, replicas_per_worker=1, num_epochs=1)


def outcome(rank: int, **changes: object) -> WorkerOutcome:
    """Half of an honest trial."""
    return make_outcome(TRIAL, rank, **changes)


def merged(*outcomes: WorkerOutcome, trial: Trial = TRIAL, wall_seconds: float = 5.8) -> TrialResult:
    """With 5.75 s in phases, .5 s of them between the last word of the chief and the end of all processes."""
    return merge_outcomes(trial, outcomes, wall_seconds=wall_seconds, ended_at=100.5)


def with_epoch(rank: int, **changes: object) -> WorkerOutcome:
    honest = outcome(rank)
    return dataclasses.replace(honest, epochs=(dataclasses.replace(honest.epochs[0], **changes),))  # type: ignore[arg-type]


def test_honest_halves_make_one_valid_trial() -> None:
    result = merged(outcome(0, slowdown=0.1), outcome(1, slowdown=0.1))
    assert (result.invalid_reason, result.message) == (None, None)
    assert result.epochs[0].training_seconds == 2.0
    assert result.epochs[0].num_examples == 1000
    assert [window.seconds for window in result.windows] == [0.3, 0.2]
    assert result.order_checksum == planned_checksum(TRIAL)
    assert result.gradients == outcome(0).gradients, "the chief's"
    assert result.phase_seconds == {"training": 5.0, "teardown": 0.75}, "until all processes have ended"
    assert result.slowdown == 0.1


@pytest.mark.parametrize("field", ["reduction_seconds", "peak_device_memory_bytes"])
def test_slowest_reduction_and_fullest_gpu_stand_for_all(field: str) -> None:
    assert getattr(merged(outcome(0), outcome(1)), field) is None
    assert getattr(merged(outcome(0, **{field: 2}), outcome(1, **{field: 3})), field) == 3
    assert getattr(merged(outcome(0, **{field: 3}), outcome(1)), field) == 3


@pytest.mark.parametrize("wall_seconds", [5.75 * 1.01, 5.75 / 1.009])
def test_one_percent_of_the_wall_time_may_belong_to_no_phase(wall_seconds: float) -> None:
    assert merged(outcome(0), outcome(1), wall_seconds=wall_seconds).invalid_reason is None


@pytest.mark.parametrize(("wall_seconds", "gap"), [(6.0, "0.25 s of 6.00 s"), (5.6, "-0.15 s of 5.60 s")])
def test_wall_time_without_a_phase_is_invalid_unless_another_check_broke(wall_seconds: float, gap: str) -> None:
    result = merged(outcome(0), outcome(1), wall_seconds=wall_seconds)
    assert (result.invalid_reason, result.message) == (
        InvalidReason.LEDGER_GAP,
        f"{gap} wall time belong to no phase (limit 1 %)",
    )
    broken = merged(outcome(0), outcome(1, weights_digests=("x",)), wall_seconds=wall_seconds)
    assert broken.invalid_reason is InvalidReason.WEIGHTS_DISAGREE


FULL = {"num_train_examples": 60_000, "num_epochs": 5}


@pytest.mark.parametrize(
    ("changes", "band"),
    [
        (FULL, (0.982, 0.995)),
        (FULL | {"global_batch_size": 256}, (0.982, 0.995)),
        (FULL | {"num_epochs": 1}, (0.962, 0.991)),
        (FULL | {"num_epochs": 2}, None),
        (FULL | {"num_train_examples": 59_999}, None),
        (FULL | {"global_batch_size": 32}, None),
        (FULL | {"learning_rate": 0.01}, None),
        (FULL | {"dataset": "fashion_mnist"}, None),
    ],
)
def test_band_is_of_the_same_workload_only(changes: dict[str, object], band: tuple[float, float] | None) -> None:
    assert find_band(make_trial(**changes)) == band


@pytest.mark.parametrize(
    ("accuracy", "message"),
    [
        (0.962, None),
        (0.991, None),
        (0.9619, "the final test accuracy is 96.19%, the reference band of this workload is 96.2% to 99.1%"),
        (0.9911, "the final test accuracy is 99.11%, the reference band of this workload is 96.2% to 99.1%"),
        (0.0, "the final test accuracy is 0.00%, the reference band of this workload is 96.2% to 99.1%"),
    ],
)
def test_accuracy_outside_the_band_of_honest_trainings_is_invalid(accuracy: float, message: str | None) -> None:
    trial = make_trial(num_train_examples=60_000, num_epochs=1)
    whole = make_outcome(trial, 0)
    epoch = dataclasses.replace(whole.epochs[0], test_accuracy=accuracy)
    result = merged(dataclasses.replace(whole, epochs=(epoch,)), trial=trial)
    assert result.message == message
    assert result.invalid_reason is (InvalidReason.ACCURACY_OUTSIDE_BAND if message else None)


@pytest.mark.parametrize(
    ("parts", "reason", "words"),
    [
        ((outcome(0, num_replicas_in_sync=1), outcome(1)), InvalidReason.REPLICAS_NOT_AS_ASKED, "1 replicas in sync"),
        ((outcome(0), with_epoch(1, num_examples=484)), InvalidReason.EXAMPLES_NOT_CONSERVED, "saw 984 examples"),
        ((outcome(0), outcome(1, order_checksum=6)), InvalidReason.ORDER_NOT_AS_PLANNED, "the order of seed 1"),
        ((outcome(0), outcome(1, weights_digests=("x",))), InvalidReason.WEIGHTS_DISAGREE, "different weights"),
        ((outcome(0), with_epoch(1, num_examples=1000)), InvalidReason.EXAMPLES_NOT_CONSERVED, "saw 1500 examples"),
        ((with_epoch(0, test_accuracy=None), outcome(1)), InvalidReason.ACCURACY_MISSING, "0 of 1 epochs"),
        ((outcome(0, epochs=()), outcome(1, epochs=())), InvalidReason.ACCURACY_MISSING, "0 of 1 epochs"),
        (
            (outcome(0, invalid_reason=InvalidReason.LOSS_NOT_FINITE, message="the training loss is nan"), outcome(1)),
            InvalidReason.LOSS_NOT_FINITE,
            "the training loss is nan",
        ),
    ],
)
def test_each_fault_is_invalid_under_its_own_name(
    parts: tuple[WorkerOutcome, WorkerOutcome], reason: InvalidReason, words: str
) -> None:
    result = merged(*parts)
    assert result.invalid_reason is reason
    assert result.message is not None
    assert words in result.message


def part(hostname: str, *outcomes: WorkerOutcome, loss: Loss | None = None) -> Part:
    return Part(hostname=hostname, outcomes=outcomes, loss=loss, wall_seconds=5.8, ended_at=100.5, usage=None)


def lost(reason: FailureReason, phase: str | None = "training", at: float = 0.0) -> Loss:
    return Loss(reason=reason, message=f"rank x was lost by {reason}", phase=phase, lost_at=at)


def test_parts_of_two_machines_make_one_trial_on_the_chiefs_clock() -> None:
    slower = dataclasses.replace(part("h2", outcome(1)), wall_seconds=99.0)
    result = merge_parts(TRIAL, [part("h1", outcome(0)), slower])
    assert isinstance(result, TrialResult), result
    assert (result, result.wall_seconds) == (merged(outcome(0), outcome(1)), 5.8)


@pytest.mark.parametrize(
    ("losses", "blamed"),
    [
        ([lost(FailureReason.WORKER_ERROR), lost(FailureReason.WORKER_KILLED, at=9.0)], 1),
        ([lost(FailureReason.WORKER_ERROR), lost(FailureReason.HOST_LOST, phase=None, at=60.0)], 1),
        ([lost(FailureReason.WORKER_ERROR, at=2.0), lost(FailureReason.WORKER_ERROR, at=1.0)], 1),
        ([lost(FailureReason.WORKER_ERROR, at=1.0), lost(FailureReason.WORKER_ERROR, at=2.0)], 0),
        ([lost(FailureReason.TIMEOUT), lost(FailureReason.TIMEOUT, "process_start", at=1.0)], 1),
        ([lost(FailureReason.CANCELLED), lost(FailureReason.WORKER_STOPPED, at=50.0)], 1),
        ([None, lost(FailureReason.WORKER_ERROR)], 1),
    ],
    ids=["killed", "no word", "earlier error", "own error", "furthest behind", "stopped", "only one"],
)
def test_of_several_machines_the_one_that_was_lost_first_is_named(losses: list[Loss | None], blamed: int) -> None:
    parts = [part(f"h{place + 1}", outcome(place), loss=loss) for place, loss in enumerate(losses)]
    failure, loss = merge_parts(TRIAL, parts), losses[blamed]
    assert isinstance(failure, TrialFailure), failure
    assert loss
    assert (failure.reason, failure.phase) == (loss.reason, loss.phase)
    assert failure.message == f"h{blamed + 1}: {loss.message}"


def test_every_failure_has_its_place_among_the_causes() -> None:
    assert set(CAUSES) == set(FailureReason)
