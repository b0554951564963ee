"""One worker's part of a trial, from an empty runtime to its outcome."""

import hashlib
import math
import os
import platform
import resource
import sys
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from tasks.data.reading import Split, read_split
from tasks.domain.loop import Loop
from tasks.domain.outcome import Epoch, GradientProbe, InvalidReason, Phase
from tasks.domain.trial import Trial
from tasks.training.clocks import PhaseLedger, StepTimer
from tasks.training.order import example_order
from tasks.training.request import WorkerOutcome, WorkerRequest
from tasks.training.worker.engine import Engine, time_reduction
from tasks.training.worker.examples import Images, Labels, Pipeline, place_examples
from tasks.training.worker.fused import FusedEngine
from tasks.training.worker.keras_loops import KerasFitEngine, StepEngine
from tasks.training.worker.models import build_network
from tasks.training.worker.strategies import configure_runtime, make_strategy, peak_device_memory_bytes

NUM_PROBED_STEPS = 32
"""Steps whose gradients are compared with the block's one-device trial: the first ones of epoch 1 and its last."""

NUM_PROJECTIONS, PROJECTION_SEED = 4, 20261122
"""Random vectors that stand for a gradient in a record; the seed is the same in every trial."""


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
    train = read_split(directory, Split.TRAIN, trial.num_train_examples)
    test = read_split(directory, Split.TEST)

    ledger.enter(Phase.MODEL)
    engine = make_engine(trial, strategy, train, test)

    ledger.enter(Phase.COMPILE)
    gradients: tuple[GradientProbe, ...] = ()
    timer, epochs, checksum = StepTimer(), list[Epoch](), 0
    reason, message = None, None
    try:
        gradients = tuple(_probe(engine, trial, lambda: ledger.enter(Phase.WARMUP)))
        engine.seen.take()
        ledger.leave()
        for number in range(1, trial.num_epochs + 1):
            epoch, epoch_checksum = _run_epoch(engine, trial, number, timer, ledger)
            epochs.append(epoch)
            checksum = (checksum + epoch_checksum) % 2**64
            say(_describe(epoch, trial.num_epochs))
    except BrokenCheckError as stopped:
        reason, message = stopped.reason, str(stopped)
        say(message)

    ledger.enter(Phase.TEARDOWN)
    weights = engine.local_weights()
    digests = tuple(hashlib.sha256(replica.tobytes()).hexdigest() for replica in weights)
    reduction_seconds = None if reason or trial.num_replicas == 1 else time_reduction(engine.reduce)
    return WorkerOutcome(
        rank=request.rank,
        num_replicas_in_sync=strategy.num_replicas_in_sync,
        invalid_reason=reason,
        message=message,
        epochs=tuple(epochs),
        windows=tuple(timer.windows),
        gradients=gradients,
        phase_seconds=ledger.seconds,
        finished_at=ledger.enter(Phase.TEARDOWN),
        is_pinned=is_pinned,
        num_parameters=weights[0].size,
        order_checksum=checksum,
        weights_digests=digests,
        max_resident_bytes=_max_resident_bytes(),
        peak_device_memory_bytes=peak_device_memory_bytes(trial),
        reduction_seconds=reduction_seconds,
        slowdown=slowdown() or None,
        versions={
            "stratbench": metadata.version("stratbench"),
            "python": platform.python_version(),
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
            "numpy": np.__version__,
        },
    )


def make_engine(
    trial: Trial, strategy: tf.distribute.Strategy, train: tuple[Images, Labels], test: tuple[Images, Labels]
) -> Engine:
    """The trial's model with its initial weights, its data and its loop."""
    num_classes = int(max(train[1].max(), test[1].max())) + 1
    with strategy.scope():
        network = build_network(trial.model, train[0].shape[1:], num_classes, trial.precision, trial.seed)
    placed = place_examples(strategy, *test)
    if trial.loop is Loop.FUSED:
        return FusedEngine(trial, strategy, network, place_examples(strategy, *train), placed)
    pipeline = Pipeline(*train, trial.global_batch_size, trial.precision.weight_type)
    loop = StepEngine if trial.loop is Loop.STEP else KerasFitEngine
    return loop(trial, strategy, network, pipeline, placed)


def _probe(engine: Engine, trial: Trial, on_compiled: Callable[[], object]) -> Iterator[GradientProbe]:
    """The gradients of `NUM_PROBED_STEPS` steps at the initial weights; `on_compiled` is called after the first."""
    order = example_order(trial.seed, 1, trial.num_train_examples)
    steps = [*range(1, min(NUM_PROBED_STEPS, trial.steps_per_epoch)), trial.steps_per_epoch]
    vectors = None
    for number, (loss_sum, gradient) in enumerate(engine.probe(order, steps)):
        if number == len(steps):
            raise BrokenCheckError(
                InvalidReason.EXAMPLES_NOT_CONSERVED,
                f"before training, the loop makes more than the {len(steps)} steps that it is given",
            )
        step = steps[number]
        if vectors is None:
            on_compiled()
            vectors = np.random.default_rng(PROJECTION_SEED).standard_normal((NUM_PROJECTIONS, len(gradient)))
        exact = gradient.astype(np.float64)
        if not math.isfinite(loss_sum) or not np.isfinite(exact).all():
            raise BrokenCheckError(
                InvalidReason.LOSS_NOT_FINITE, f"before training, step {step} of epoch 1 has a loss or gradient of NaN"
            )
        yield GradientProbe(
            step=step,
            num_examples=trial.examples_of(step),
            loss_sum=loss_sum,
            gradient_norm=float(np.linalg.norm(exact)),
            projections=tuple(float(product) for product in vectors @ exact),
        )


def _run_epoch(engine: Engine, trial: Trial, number: int, timer: StepTimer, ledger: PhaseLedger) -> tuple[Epoch, int]:
    """One epoch and the evaluation after it, with the checksum of the ids that were trained here."""
    ledger.enter(Phase.TRAINING)
    timer.begin_epoch(number)
    sums, done = np.zeros(2), 0

    def on_window(num_steps: int, *window_sums: float) -> None:
        nonlocal sums, done
        steps = range(done + 1, done + num_steps + 1)
        if share := slowdown():
            time.sleep(share * timer.window_seconds)
        timer.record(
            first_step=steps[0], num_steps=num_steps, num_examples=sum(trial.examples_of(step) for step in steps)
        )
        if not math.isfinite(window_sums[0]):
            raise BrokenCheckError(
                InvalidReason.LOSS_NOT_FINITE,
                f"the training loss is {window_sums[0]} in epoch {number}, steps {steps[0]} to {steps[-1]}",
            )
        sums, done = sums + window_sums, steps[-1]

    engine.train_epoch(example_order(trial.seed, number, trial.num_train_examples), on_window)
    ledger.leave()
    train_loss, train_accuracy = sums / trial.num_train_examples

    began = ledger.enter(Phase.EVALUATION)
    test_loss, test_accuracy = engine.evaluate()
    ended = ledger.leave()
    num_seen, checksum = engine.seen.take()
    epoch = Epoch(
        epoch=number,
        training_seconds=timer.epoch_seconds,
        evaluation_seconds=ended - began,
        num_examples=num_seen,
        train_loss=float(train_loss),
        train_accuracy=float(train_accuracy),
        test_loss=test_loss if math.isfinite(test_loss) else None,
        test_accuracy=test_accuracy if math.isfinite(test_accuracy) else None,
    )
    return epoch, checksum


def slowdown() -> float:
    """Share by which every window is slowed on purpose: `STRATBENCH_SLOWDOWN`, for tests of the whole product."""
    return float(os.environ.get("STRATBENCH_SLOWDOWN", "0"))


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
