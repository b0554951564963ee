"""One worker's part of a trial, from an empty runtime to its outcome."""

import hashlib
import math
import platform
import resource
import sys
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from tasks.data.reading import Split, read_split
from tasks.domain.outcome import Epoch, InvalidReason, Phase
from tasks.domain.trial import Trial
from tasks.training.ledger import PhaseLedger
from tasks.training.order import example_order
from tasks.training.request import WorkerOutcome, WorkerRequest
from tasks.training.step_timer import StepTimer
from tasks.training.worker.engine import FusedEngine, place_examples
from tasks.training.worker.models import build_model
from tasks.training.worker.strategies import configure_runtime, make_strategy, peak_device_memory_bytes

NUM_WARMUP_STEPS = 8
"""Steps before the clock starts; their effect is undone."""


class BrokenCheckError(Exception):
    """A check broke during training."""

    def __init__(self, reason: InvalidReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def run_worker(
    request: WorkerRequest, ledger: PhaseLedger, is_pinned: bool, say: Callable[[str], None]
) -> WorkerOutcome:
    """Train, evaluate after every epoch, and describe what was found."""
    trial = request.trial
    ledger.enter(Phase.RUNTIME)
    configure_runtime(trial)
    strategy = make_strategy(trial)

    ledger.enter(Phase.DATA)
    directory = Path(request.data_directory)
    train_images, train_labels = read_split(directory, Split.TRAIN, trial.num_train_examples)
    test_images, test_labels = read_split(directory, Split.TEST)
    train = place_examples(strategy, train_images, train_labels)
    test = place_examples(strategy, test_images, test_labels)

    ledger.enter(Phase.MODEL)
    num_classes = int(max(train_labels.max(), test_labels.max())) + 1
    model = build_model(trial.model, train_images.shape[1:], num_classes, trial.seed)
    engine = FusedEngine(trial, strategy, model, train, test)

    ledger.enter(Phase.COMPILE)
    engine.compile()

    ledger.enter(Phase.WARMUP)
    _warm_up(engine, trial)

    timer, epochs, checksum = StepTimer(), list[Epoch](), 0
    reason, message = None, None
    try:
        for number in range(1, trial.num_epochs + 1):
            epoch, epoch_checksum = _run_epoch(engine, trial, number, timer, ledger)
            epochs.append(epoch)
            checksum = (checksum + epoch_checksum) % 2**64
            say(_describe(epoch, trial.num_epochs))
    except BrokenCheckError as stopped:
        reason, message = stopped.reason, str(stopped)
        say(message)

    ledger.enter(Phase.TEARDOWN)
    return WorkerOutcome(
        rank=request.rank,
        num_replicas_in_sync=strategy.num_replicas_in_sync,
        invalid_reason=reason,
        message=message,
        epochs=tuple(epochs),
        windows=tuple(timer.windows),
        phase_seconds=ledger.seconds,
        finished_at=ledger.enter(Phase.TEARDOWN),
        is_pinned=is_pinned,
        num_parameters=model.num_parameters,
        order_checksum=checksum,
        weights_digests=tuple(hashlib.sha256(weights.tobytes()).hexdigest() for weights in engine.local_weights()),
        max_resident_bytes=_max_resident_bytes(),
        peak_device_memory_bytes=peak_device_memory_bytes(trial),
        versions={
            "python": platform.python_version(),
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
            "numpy": np.__version__,
        },
    )


def _warm_up(engine: FusedEngine, trial: Trial) -> None:
    """Train the first steps and the last, perhaps partial, one; then undo them."""
    order = tf.constant(example_order(trial.seed, 1, trial.num_train_examples))
    engine.train_steps(order, 0, min(NUM_WARMUP_STEPS, trial.steps_per_epoch))
    engine.train_steps(order, trial.steps_per_epoch - 1, trial.steps_per_epoch)
    engine.reset()


def _run_epoch(
    engine: FusedEngine, trial: Trial, number: int, timer: StepTimer, ledger: PhaseLedger
) -> tuple[Epoch, int]:
    """One epoch and the evaluation after it, with the checksum of the ids that were trained here."""
    ledger.enter(Phase.TRAINING)
    timer.begin_epoch(number)
    order = tf.constant(example_order(trial.seed, number, trial.num_train_examples))
    loss_sum = num_correct = 0.0
    for start in range(0, trial.steps_per_epoch, trial.steps_per_call):
        stop = min(start + trial.steps_per_call, trial.steps_per_epoch)
        num_examples = min(stop * trial.global_batch_size, trial.num_train_examples) - start * trial.global_batch_size
        window_loss, window_correct = engine.train_steps(order, start, stop)
        timer.record(first_step=start + 1, num_steps=stop - start, num_examples=num_examples)
        if not math.isfinite(window_loss):
            raise BrokenCheckError(
                InvalidReason.LOSS_NOT_FINITE,
                f"the training loss is {window_loss} in epoch {number}, steps {start + 1} to {stop}",
            )
        loss_sum, num_correct = loss_sum + window_loss, num_correct + window_correct

    began = ledger.enter(Phase.EVALUATION)
    test_loss, test_accuracy = engine.evaluate()
    ended = ledger.enter(Phase.TEARDOWN)
    num_seen, checksum = engine.take_seen()
    epoch = Epoch(
        epoch=number,
        training_seconds=timer.epoch_seconds,
        evaluation_seconds=ended - began,
        num_examples=num_seen,
        train_loss=loss_sum / trial.num_train_examples,
        train_accuracy=num_correct / trial.num_train_examples,
        test_loss=test_loss if math.isfinite(test_loss) else None,
        test_accuracy=test_accuracy if math.isfinite(test_accuracy) else None,
    )
    return epoch, checksum


def _describe(epoch: Epoch, num_epochs: int) -> str:
    accuracy = "not known" if epoch.test_accuracy is None else f"{epoch.test_accuracy:.2%}"
    return (
        f"epoch {epoch.epoch} of {num_epochs}: {epoch.training_seconds:.2f} s training, "
        f"loss {epoch.train_loss:.4f}, test accuracy {accuracy}"
    )


def _max_resident_bytes() -> int:
    """Peak resident memory of this process; the kernel counts KiB on Linux and bytes on macOS."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
