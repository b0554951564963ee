"""The training program with a fault, named by the variable FAULT; keeps its weights and facts in the folder KEEP."""

import dataclasses
import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tasks.domain.trial import Trial
from tasks.training.worker import __main__ as program

training = program.import_training()  # before anything else imports TensorFlow, as in the program itself
tf, eager = training.tf, importlib.import_module("tensorflow.python.eager.context")
examples, fused = (importlib.import_module(f"tasks.training.worker.{name}") for name in ("examples", "fused"))


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


def pause_between_epochs() -> None:
    honest = training._describe

    def slow(*arguments: Any) -> str:
        time.sleep(2)
        return str(honest(*arguments))

    training._describe = slow


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
    "pause": pause_between_epochs,
}


def keep(folder: Path) -> None:
    """On leaving, save first and last weights (weights.npy) and how they were trained (facts.json) in `folder`."""
    make, leave, kept = training.make_engine, program.leave, []
    reducers = watch_reductions()

    def made(*arguments: Any) -> Any:
        engine = make(*arguments)
        kept.extend([engine, engine.local_weights()[0]])
        return engine

    def left(directory: Path, num_workers: int) -> None:
        engine, start = kept
        np.save(folder / "weights.npy", np.stack([start, engine.local_weights()[0]]))
        facts = {
            "not_needed": [name for name in program.NOT_NEEDED if sys.modules.get(name)],
            "reducers": sorted(reducers),
            "steps_per_execution": getattr(getattr(engine, "_model", None), "steps_per_execution", None),
            **facts_of_graphs(),
        }
        (folder / "facts.json").write_text(json.dumps(facts))
        leave(directory, num_workers)

    training.make_engine, program.leave = made, left  # type: ignore[assignment]


def watch_reductions() -> set[str]:
    """Names of the classes that from now on add up Keras's gradients; the fused loop does not reduce by batches."""
    names: set[str] = set()
    honest = tf.distribute.CrossDeviceOps.batch_reduce

    def watched(self: Any, *arguments: Any, **options: Any) -> Any:
        names.add(type(self).__name__)
        return honest(self, *arguments, **options)

    tf.distribute.CrossDeviceOps.batch_reduce = watched
    return names


def facts_of_graphs() -> dict[str, object]:
    """What this process's graphs say: whether XLA compiles any of them, and how workers are asked to add up."""
    context = eager.context()
    graphs = [context.get_function_def(name) for name in context.list_function_names()]
    sums = [node for graph in graphs for node in graph.node_def if node.op == "CollectiveReduceV2"]
    return {
        "is_xla_compiled": any(graph.attr["_XlaMustCompile"].b for graph in graphs),
        "communication": sorted({node.attr["communication_hint"].s.decode() for node in sums}),
    }


if __name__ == "__main__":
    FAULTS[os.environ.get("FAULT", "none")]()
    if folder := os.environ.get("KEEP"):
        keep(Path(folder))
    sys.exit(program.main(sys.argv[1]))
