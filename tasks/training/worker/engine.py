"""What every loop offers, and the parts that all of them share."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from tasks.domain.trial import Trial
from tasks.training.order import id_hashes
from tasks.training.worker.examples import Examples, Order
from tasks.training.worker.models import Network

EVALUATION_BATCH_SIZE = 1000
"""Test examples that all replicas evaluate at a time."""

NUM_REDUCTIONS = 64
"""Reductions whose mean time is taken after the training."""

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-7
"""Adam's constants as Keras sets them."""

Gradient = NDArray[np.floating[Any]]
"""The reduced gradient of one step's mean loss, [num_parameters]."""

OnWindow = Callable[[int, float, float], None]
"""Called when steps have been read back: how many since the last call, their sums of loss and of correct answers."""


class SeenExamples:
    """Counts what each replica of this process really trained, inside its step."""

    def __init__(self, strategy: tf.distribute.Strategy, num_examples: int) -> None:
        self._strategy = strategy
        with strategy.scope():
            self._seen = tf.Variable(
                tf.zeros(2, tf.int64),
                name="seen",
                trainable=False,
                synchronization=tf.VariableSynchronization.ON_READ,
                aggregation=tf.VariableAggregation.SUM,
            )
        self._id_hashes = tf.constant(id_hashes(num_examples))

    def add(self, step: tf.Tensor, ids: tf.Tensor) -> None:
        """Count the ids that this replica trains in step `step` (from 1); to be called in the replica's context."""
        checksum = tf.cast(step, tf.int64) * tf.reduce_sum(tf.gather(self._id_hashes, ids))
        self._seen.assign_add(tf.stack([tf.size(ids, tf.int64), checksum]))

    def take(self) -> tuple[int, int]:
        """Examples and order checksum (modulo 2^64) since the last call."""
        count, checksum = 0, 0
        for local in self._strategy.experimental_local_results(self._seen):
            value = local.numpy()
            count, checksum = count + int(value[0]), (checksum + int(value[1])) % 2**64
            local.assign(tf.zeros_like(local))
        return count, checksum


class Engine(ABC):
    """A loop with its weights and optimizer, under one strategy."""

    def __init__(self, trial: Trial, strategy: tf.distribute.Strategy, network: Network, test: Examples) -> None:
        """`network` must have been built in the strategy's scope."""
        self._trial, self._strategy, self._network, self._test = trial, strategy, network, test
        self._evaluate = tf.function(self._evaluation_sums, autograph=False)
        self.seen = SeenExamples(strategy, trial.num_train_examples)

    @abstractmethod
    def probe(self, order: Order, steps: Sequence[int]) -> Iterator[tuple[float, Gradient]]:
        """Loss sum and reduced gradient of these steps (from 1, ascending) of an epoch, at the initial weights.

        The loop's own training step runs with a learning rate of zero and Adam's moments at zero, after which the
        first moment is (1 - BETA_1) x gradient: what is probed is what trains. Nothing of it remains.
        """

    @abstractmethod
    def train_epoch(self, order: Order, on_window: OnWindow) -> None:
        """Train one epoch in this order of example ids."""

    @abstractmethod
    def reduce(self) -> tf.Tensor:
        """One reduction as the training step makes it, of vectors as large as the gradients; a scalar of its result."""

    @abstractmethod
    def local_weights(self) -> list[NDArray[Any]]:
        """The weight vector of each replica of this process."""

    def flat_weights(self) -> tf.Tensor:
        """The present weights [num_parameters] of the replica that asks."""
        return self._network.flat_weights()

    def evaluate(self) -> tuple[float, float]:
        """Mean cross-entropy and accuracy on all test examples, which the replicas share."""
        sums = self._evaluate(self._test.images, self._test.labels).numpy()
        return float(sums[0]) / self._test.num_examples, float(sums[1]) / self._test.num_examples

    def _evaluation_sums(self, images: Any, labels: Any) -> tf.Tensor:
        num_examples = self._test.num_examples

        def replica(at: tf.Tensor, images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
            first, last = share(tf.minimum(EVALUATION_BATCH_SIZE, num_examples - at), self._strategy)
            logits = self._network.logits(self.flat_weights(), images[at + first : at + last])
            answers = labels[at + first : at + last]
            return tf.stack([cross_entropy_sum(logits, answers), num_correct(logits, answers)])

        def batch(at: tf.Tensor, sums: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            part = self._strategy.run(replica, args=(at, images, labels))
            return at + EVALUATION_BATCH_SIZE, sums + self._strategy.reduce("SUM", part, axis=None)

        start = (tf.constant(0), tf.zeros(2, self._network.precision.weight_type))
        return tf.while_loop(lambda at, _: at < num_examples, batch, start, parallel_iterations=1)[1]


def time_reduction(reduce: Callable[[], tf.Tensor]) -> float:
    """Mean seconds of one of `NUM_REDUCTIONS` reductions, one after another with nothing between them."""

    def repeat(count: tf.Tensor) -> tf.Tensor:
        def once(i: tf.Tensor, total: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            return i + 1, total + tf.cast(reduce(), tf.float64)

        start = (tf.constant(0), tf.constant(0.0, tf.float64))
        return tf.while_loop(lambda i, _: i < count, once, start, parallel_iterations=1)[1]

    run = tf.function(repeat, autograph=False)
    run(tf.constant(1)).numpy()  # traces and compiles, and lets the replicas meet
    began = time.perf_counter()
    run(tf.constant(NUM_REDUCTIONS)).numpy()
    return (time.perf_counter() - began) / NUM_REDUCTIONS


def share(num_examples: tf.Tensor, strategy: tf.distribute.Strategy) -> tuple[tf.Tensor, tf.Tensor]:
    """First and last (exclusive) row of this replica's contiguous share, which may be empty in a small batch."""
    replica = tf.distribute.get_replica_context().replica_id_in_sync_group
    size = (num_examples + strategy.num_replicas_in_sync - 1) // strategy.num_replicas_in_sync
    first = tf.minimum(replica * size, num_examples)
    return first, tf.minimum(first + size, num_examples)


def cross_entropy_sum(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Sum over the rows of `logits` [rows, classes], in their type."""
    return tf.reduce_sum(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits))


def num_correct(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Rows whose largest logit is that of the label, in the type of `logits`."""
    return tf.reduce_sum(tf.cast(tf.equal(tf.argmax(logits, 1, tf.int32), labels), logits.dtype))
