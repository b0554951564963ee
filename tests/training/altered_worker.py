"""The training program with a fault, named by the variable FAULT; keeps its weights where WEIGHTS says."""

import dataclasses
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tasks.domain.trial import Trial
from tasks.training.worker import __main__ as program
from tasks.training.worker import examples, fused, training


def scale_by_replica(divide_by: Callable[[Any], Any]) -> None:
    """Replace the divisor of the gradient: `divide_by` gets the engine."""
    honest = fused.FusedEngine._replica_step

    def wrong(engine: Any, i: Any, ids: Any, images: Any, labels: Any) -> Any:
        packed = honest(engine, i, ids, images, labels)
        gradient, sums = tf.split(packed, [engine._num_parameters, 2])
        true = tf.cast(tf.shape(ids)[0], gradient.dtype)
        return tf.concat([gradient * true / tf.cast(divide_by(engine), gradient.dtype), sums], 0)

    fused.FusedEngine._replica_step = wrong  # type: ignore[method-assign]


def drop_the_partial_batch() -> None:
    Trial.steps_per_epoch = property(lambda trial: trial.num_train_examples // trial.global_batch_size)  # type: ignore


def feed_every_worker_the_first_shard() -> None:
    fused.share = lambda number, strategy: (tf.constant(0), number // strategy.num_replicas_in_sync)


def do_not_shard_the_pipeline() -> None:
    honest = examples.Pipeline.batches

    def whole(pipeline: Any, order: Any) -> Any:
        options = tf.data.Options()
        options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
        return honest(pipeline, order).with_options(options)

    examples.Pipeline.batches = whole  # type: ignore[method-assign]


def do_not_reduce() -> None:
    honest = training.make_strategy

    def alone(trial: Trial) -> Any:
        strategy = honest(trial)
        strategy.extended.reduce_to = lambda how, value, destination: value
        return strategy

    training.make_strategy = alone


def take_another_order() -> None:
    honest = training.example_order
    training.example_order = lambda seed, epoch, count: honest(seed, epoch + 100, count)


def start_from_other_weights() -> None:
    honest = training.make_engine
    training.make_engine = lambda trial, *rest: honest(dataclasses.replace(trial, seed=trial.seed + 1), *rest)


FAULTS = {
    "none": lambda: None,
    "mean_of_each_replica": lambda: scale_by_replica(lambda engine: engine._trial.per_replica_batch_size),
    "partial_batch_scaled_as_full": lambda: scale_by_replica(lambda engine: engine._trial.global_batch_size),
    "partial_batch_dropped": drop_the_partial_batch,
    "same_shard": feed_every_worker_the_first_shard,
    "pipeline_not_sharded": do_not_shard_the_pipeline,
    "weights_not_synchronised": do_not_reduce,
    "another_order": take_another_order,
    "another_seed": start_from_other_weights,
}


def keep_weights(path: Path) -> None:
    """Save the chief's first and last weights to `path` when it leaves."""
    make, leave, kept = training.make_engine, program.leave, []

    def made(*arguments: Any) -> Any:
        engine = make(*arguments)
        kept.extend([engine, engine.local_weights()[0]])
        return engine

    def left(directory: Path, num_workers: int) -> None:
        if not path.exists():
            np.save(path, np.stack([kept[1], kept[0].local_weights()[0]]))
        leave(directory, num_workers)

    training.make_engine, program.leave = made, left


if __name__ == "__main__":
    FAULTS[os.environ.get("FAULT", "none")]()
    if weights := os.environ.get("WEIGHTS"):
        keep_weights(Path(weights))
    sys.exit(program.main(sys.argv[1]))
