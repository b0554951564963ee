"""The engine of a trial's loop."""

from typing import assert_never

import tensorflow as tf

from tasks.domain.loop import Loop
from tasks.domain.trial import Trial
from tasks.training.worker.engine import Engine
from tasks.training.worker.examples import Images, Labels, Pipeline, place_examples
from tasks.training.worker.fused import FusedEngine
from tasks.training.worker.keras_fit import KerasFitEngine
from tasks.training.worker.models import build_network
from tasks.training.worker.step import StepEngine


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
    match trial.loop:
        case Loop.STEP:
            return StepEngine(trial, strategy, network, pipeline, placed)
        case Loop.KERAS_FIT:
            return KerasFitEngine(trial, strategy, network, pipeline, placed)
        case _:
            assert_never(trial.loop)
