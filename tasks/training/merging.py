"""From the workers' outcomes to what came of one trial."""

import dataclasses
from collections.abc import Iterable, Sequence

from tasks.domain.model import BANDS, Model
from tasks.domain.outcome import Epoch, FailureReason, InvalidReason, Phase, TrialFailure, TrialResult
from tasks.domain.trial import Trial
from tasks.training.order import example_order, order_checksum
from tasks.training.part import Loss, Part
from tasks.training.request import WorkerOutcome

MAX_GAP = 0.01
"""Share of the wall time that may belong to no phase."""

CAUSES = (
    FailureReason.HOST_LOST,
    FailureReason.RUN_LOST,
    FailureReason.DATA_MISMATCH,
    FailureReason.DEVICES_MISSING,
    FailureReason.WORKER_STOPPED,
    FailureReason.WORKER_KILLED,
    FailureReason.WORKER_ERROR,
    FailureReason.TIMEOUT,
    FailureReason.CANCELLED,
)
"""Ways in which the ranks of a machine are lost: where several were, an earlier one of these caused the later ones."""


def merge_parts(trial: Trial, parts: Sequence[Part]) -> TrialResult | TrialFailure:
    """What came of the trial whose ranks ran on one or several machines, the chief's (rank 0) first."""
    chief = parts[0]
    lost = [(part.loss, part.hostname) for part in parts if part.loss]
    if not lost:
        outcomes = [outcome for part in parts for outcome in part.outcomes]
        return merge_outcomes(trial, outcomes, chief.wall_seconds, chief.ended_at)
    loss, hostname = min(lost, key=lambda each: _blame(each[0]))
    return TrialFailure(
        trial=trial,
        reason=loss.reason,
        message=loss.message if len(parts) == 1 else f"{hostname}: {loss.message}",
        phase=loss.phase,
        wall_seconds=chief.wall_seconds,
    )


def _blame(loss: Loss) -> tuple[float, ...]:
    """The least is to blame: by its cause; of ranks that did not end the furthest behind; of others the first one."""
    if loss.reason in (FailureReason.TIMEOUT, FailureReason.CANCELLED) and loss.phase:
        return CAUSES.index(loss.reason), list(Phase).index(Phase(loss.phase))
    return CAUSES.index(loss.reason), loss.lost_at


def merge_outcomes(
    trial: Trial, outcomes: Sequence[WorkerOutcome], wall_seconds: float, ended_at: float
) -> TrialResult:
    """The trial's result: times of the slowest worker, examples of all, the ledger of the chief (rank 0)."""
    chief = outcomes[0]
    epochs = tuple(_merge_epoch(parts) for parts in zip(*(o.epochs for o in outcomes), strict=False))
    checksum = sum(outcome.order_checksum for outcome in outcomes) % 2**64
    digests = [digest for outcome in outcomes for digest in outcome.weights_digests]
    ledger = dict(chief.phase_seconds)
    ledger[Phase.TEARDOWN] = ledger.get(Phase.TEARDOWN, 0.0) + ended_at - chief.finished_at
    reason, message = (
        _first_broken_check(trial, outcomes, epochs, checksum, digests)
        or _find_gap(wall_seconds, sum(ledger.values()))
        or (None, None)
    )
    devices = [o.peak_device_memory_bytes for o in outcomes if o.peak_device_memory_bytes is not None]
    return TrialResult(
        trial=trial,
        invalid_reason=reason,
        message=message,
        epochs=epochs,
        windows=tuple(max(each, key=lambda w: w.seconds) for each in zip(*(o.windows for o in outcomes), strict=False)),
        gradients=chief.gradients,
        phase_seconds=ledger,
        wall_seconds=wall_seconds,
        is_pinned=all(outcome.is_pinned for outcome in outcomes),
        num_parameters=chief.num_parameters,
        order_checksum=checksum,
        weights_digest=digests[0],
        max_resident_bytes=sum(outcome.max_resident_bytes for outcome in outcomes),
        peak_device_memory_bytes=max(devices, default=None),
        reduction_seconds=max((o.reduction_seconds for o in outcomes if o.reduction_seconds), default=None),
        slowdown=chief.slowdown,
        versions=chief.versions,
    )


def _merge_epoch(parts: Sequence[Epoch]) -> Epoch:
    return dataclasses.replace(
        parts[0],
        training_seconds=max(part.training_seconds for part in parts),
        evaluation_seconds=max(part.evaluation_seconds for part in parts),
        num_examples=sum(part.num_examples for part in parts),
    )


def _first_broken_check(
    trial: Trial, outcomes: Sequence[WorkerOutcome], epochs: Sequence[Epoch], checksum: int, digests: Iterable[str]
) -> tuple[InvalidReason, str] | None:
    """The first check that does not hold, and what it found."""
    for outcome in outcomes:
        if outcome.invalid_reason:
            return outcome.invalid_reason, outcome.message or outcome.invalid_reason
        if outcome.num_replicas_in_sync != trial.num_replicas:
            return InvalidReason.REPLICAS_NOT_AS_ASKED, (
                f"rank {outcome.rank} trained with {outcome.num_replicas_in_sync} replicas in sync, "
                f"{trial.num_replicas} were asked for"
            )
    for epoch in epochs:
        if epoch.num_examples != trial.num_train_examples:
            return InvalidReason.EXAMPLES_NOT_CONSERVED, (
                f"the replicas saw {epoch.num_examples} examples in epoch {epoch.epoch}, "
                f"the data hold {trial.num_train_examples}"
            )
    planned = _planned_checksum(trial)
    if checksum != planned:
        return InvalidReason.ORDER_NOT_AS_PLANNED, (
            f"the trained ids have checksum {checksum:016x}, the order of seed {trial.seed} has {planned:016x}"
        )
    if len(set(digests)) > 1:
        return InvalidReason.WEIGHTS_DISAGREE, "the replicas ended with different weights"
    if len(epochs) < trial.num_epochs or any(epoch.test_accuracy is None for epoch in epochs):
        return InvalidReason.ACCURACY_MISSING, (
            f"{sum(epoch.test_accuracy is not None for epoch in epochs)} of {trial.num_epochs} epochs "
            "have a finite test accuracy"
        )
    band = find_band(trial)
    accuracy = epochs[-1].test_accuracy or 0.0
    if band and not band[0] <= accuracy <= band[1]:
        return InvalidReason.ACCURACY_OUTSIDE_BAND, (
            f"the final test accuracy is {accuracy:.2%}, the reference band of this workload is "
            f"{band[0]:.1%} to {band[1]:.1%}"
        )
    return None


def find_band(trial: Trial) -> tuple[float, float] | None:
    """The reference band of the trial's workload, measured at batches of 64 to 256; None where it is not known."""
    workload = trial.dataset, trial.model, trial.num_train_examples, trial.learning_rate
    is_known = workload == ("mnist", Model.REFERENCE_CNN, 60_000, 1e-3) and 64 <= trial.global_batch_size <= 256
    return BANDS.get(trial.num_epochs) if is_known else None


def _find_gap(wall_seconds: float, explained_seconds: float) -> tuple[InvalidReason, str] | None:
    gap = wall_seconds - explained_seconds
    if abs(gap) <= MAX_GAP * wall_seconds:
        return None
    return InvalidReason.LEDGER_GAP, f"{gap:.2f} s of {wall_seconds:.2f} s wall time belong to no phase (limit 1 %)"


def _planned_checksum(trial: Trial) -> int:
    orders = (example_order(trial.seed, epoch, trial.num_train_examples) for epoch in range(1, trial.num_epochs + 1))
    return sum(order_checksum(order, trial.global_batch_size) for order in orders) % 2**64
