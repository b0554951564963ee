"""The fused loop: many optimizer steps in one call, the same for every strategy."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from tasks.domain.trial import Trial
from tasks.training.order import id_hashes
from tasks.training.worker.models import FlatModel

Images = NDArray[np.uint8]
Labels = NDArray[np.int32]

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-7
"""Adam's constants as Keras sets them."""

EVALUATION_BATCH_SIZE = 1000
"""Test examples that all replicas evaluate at a time."""


@dataclass(frozen=True, slots=True)
class Examples:
    """One split, resident on every device of this process."""

    images: Any
    """Per replica: uint8 [num_examples, height, width, channels]."""
    labels: Any
    """Per replica: int32 [num_examples]."""
    num_examples: int


def place_examples(strategy: tf.distribute.Strategy, images: Images, labels: Labels) -> Examples:
    """Copy a split onto each of this process's devices, once."""

    def on_each_device(array: NDArray[Any]) -> Any:
        devices = iter(strategy.extended.worker_devices)

        def place(_: tf.distribute.experimental.ValueContext) -> tf.Tensor:
            with tf.device(next(devices)):
                return tf.constant(array)

        return strategy.experimental_distribute_values_from_function(place)

    return Examples(on_each_device(images), on_each_device(labels), len(labels))


class FusedEngine:
    """Weights, optimizer and the two compiled functions of one trial.

    In one step every replica takes a contiguous share of the global batch, sums gradients over it in micro-batches and
    scales them by the true number of examples in the step; one reduction adds up [gradient | loss sum | correct]; one
    fused Adam update is applied to all weights. The last partial batch is shared in the same way.
    """

    def __init__(
        self, trial: Trial, strategy: tf.distribute.Strategy, model: FlatModel, train: Examples, test: Examples
    ) -> None:
        self._trial, self._strategy, self._model, self._train, self._test = trial, strategy, model, train, test
        self._num_replicas = strategy.num_replicas_in_sync
        zeros = np.zeros_like(model.initial_weights)
        with strategy.scope():
            self._weights = tf.Variable(model.initial_weights, name="weights")
            self._first_moment = tf.Variable(zeros, name="first_moment", trainable=False)
            self._second_moment = tf.Variable(zeros, name="second_moment", trainable=False)
            self._step = tf.Variable(0, dtype=tf.int64, name="step", trainable=False)
            self._seen = tf.Variable(
                tf.zeros(2, tf.int64),
                name="seen",
                trainable=False,
                synchronization=tf.VariableSynchronization.ON_READ,
                aggregation=tf.VariableAggregation.SUM,
            )
        self._id_hashes = tf.constant(id_hashes(train.num_examples))
        self._run_steps = tf.function(self._steps, autograph=False)
        self._run_evaluation = tf.function(self._evaluation, autograph=False)

    def compile(self) -> None:
        """Trace and compile both functions."""
        order = tf.TensorSpec([self._train.num_examples], tf.int32)
        number = tf.TensorSpec([], tf.int32)
        train, test = self._train, self._test
        self._run_steps.get_concrete_function(order, number, number, train.images, train.labels)
        self._run_evaluation.get_concrete_function(test.images, test.labels)

    def train_steps(self, order: tf.Tensor, start: int, stop: int) -> tuple[float, float]:
        """Train steps `start` to `stop` - 1 of an epoch (from 0); sums of loss and of correct answers, read back."""
        sums = self._run_steps(
            order, tf.constant(start), tf.constant(stop), self._train.images, self._train.labels
        ).numpy()
        return float(sums[0]), float(sums[1])

    def evaluate(self) -> tuple[float, float]:
        """Mean cross-entropy and accuracy on all test examples."""
        sums = self._run_evaluation(self._test.images, self._test.labels).numpy()
        return float(sums[0]) / self._test.num_examples, float(sums[1]) / self._test.num_examples

    def reset(self) -> None:
        """Back to the initial weights, as if no step had been trained."""
        self._weights.assign(self._model.initial_weights)
        for variable in (self._first_moment, self._second_moment, self._step):
            variable.assign(tf.zeros_like(variable))
        self.take_seen()

    def take_seen(self) -> tuple[int, int]:
        """Examples and order checksum (modulo 2^64) of this process's replicas since the last call."""
        count, checksum = 0, 0
        for local in self._strategy.experimental_local_results(self._seen):
            value = local.numpy()
            count, checksum = count + int(value[0]), (checksum + int(value[1])) % 2**64
            local.assign(tf.zeros_like(local))
        return count, checksum

    def local_weights(self) -> list[NDArray[np.float32]]:
        """The weight vector of each replica of this process."""
        return [local.numpy() for local in self._strategy.experimental_local_results(self._weights)]

    def _steps(self, order: tf.Tensor, start: tf.Tensor, stop: tf.Tensor, images: Any, labels: Any) -> tf.Tensor:
        batch, num_examples = self._trial.global_batch_size, self._train.num_examples

        def step(i: tf.Tensor, sums: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            ids = order[i * batch : tf.minimum((i + 1) * batch, num_examples)]
            packed = self._strategy.run(self._replica_step, args=(i, ids, images, labels))
            reduced = self._strategy.extended.reduce_to(tf.distribute.ReduceOp.SUM, packed, self._weights)
            self._strategy.extended.update(
                self._weights,
                self._apply_adam,
                args=(reduced, self._first_moment, self._second_moment, self._step),
                group=True,
            )
            self._step.assign_add(1)
            one = self._strategy.experimental_local_results(reduced)[0]
            return i + 1, sums + one[self._model.num_parameters :]

        return tf.while_loop(lambda i, _: i < stop, step, (start, tf.zeros(2)), parallel_iterations=1)[1]

    def _replica_step(self, i: tf.Tensor, ids: tf.Tensor, images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        """[gradient of the step's mean loss | loss sum | correct] over this replica's share of `ids`."""
        num_examples = tf.shape(ids)[0]
        mine = ids[slice(*self._share(num_examples))]
        checksum = tf.cast(i + 1, tf.int64) * tf.reduce_sum(tf.gather(self._id_hashes, mine))
        self._seen.assign_add(tf.stack([tf.size(mine, tf.int64), checksum]))
        weights = tf.convert_to_tensor(self._weights)
        scale = 1.0 / tf.cast(num_examples, tf.float32)
        rows = self._trial.micro_batch_size
        if rows is None or rows >= self._trial.per_replica_batch_size:
            return self._gradient(weights, mine, scale, images, labels)
        return tf.while_loop(
            lambda at, _: at < tf.size(mine),
            lambda at, total: (
                at + rows,
                total + self._gradient(weights, mine[at : at + rows], scale, images, labels),
            ),
            (tf.constant(0), tf.zeros(self._model.num_parameters + 2)),
            parallel_iterations=1,
        )[1]

    def _gradient(
        self, weights: tf.Tensor, ids: tf.Tensor, scale: tf.Tensor, images: tf.Tensor, labels: tf.Tensor
    ) -> tf.Tensor:
        answers = tf.gather(labels, ids)
        with tf.GradientTape() as tape:
            tape.watch(weights)
            logits = self._model.logits(weights, tf.gather(images, ids), training=True)
            loss_sum = _cross_entropy_sum(logits, answers)
            loss = loss_sum * scale
        return tf.concat([tape.gradient(loss, weights), [loss_sum, _num_correct(logits, answers)]], 0)

    def _apply_adam(
        self, weights: Any, packed: tf.Tensor, first_moment: Any, second_moment: Any, step: tf.Tensor
    ) -> None:
        """Adam (Kingma and Ba 2015, algorithm 1, with epsilon as in section 2), one fused kernel for all weights."""
        t = tf.cast(step + 1, tf.float32)
        tf.raw_ops.ResourceApplyAdam(
            var=weights.handle,
            m=first_moment.handle,
            v=second_moment.handle,
            beta1_power=tf.pow(BETA_1, t),
            beta2_power=tf.pow(BETA_2, t),
            lr=self._trial.learning_rate,
            beta1=BETA_1,
            beta2=BETA_2,
            epsilon=EPSILON,
            grad=packed[: self._model.num_parameters],
        )

    def _evaluation(self, images: Any, labels: Any) -> tf.Tensor:
        num_examples = self._test.num_examples

        def replica(at: tf.Tensor, images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
            first, last = self._share(tf.minimum(EVALUATION_BATCH_SIZE, num_examples - at))
            logits = self._model.logits(tf.convert_to_tensor(self._weights), images[at + first : at + last], False)
            answers = labels[at + first : at + last]
            return tf.stack([_cross_entropy_sum(logits, answers), _num_correct(logits, answers)])

        def batch(at: tf.Tensor, sums: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            part = self._strategy.run(replica, args=(at, images, labels))
            return at + EVALUATION_BATCH_SIZE, sums + self._strategy.reduce("SUM", part, axis=None)

        start = (tf.constant(0), tf.zeros(2))
        return tf.while_loop(lambda at, _: at < num_examples, batch, start, parallel_iterations=1)[1]

    def _share(self, num_examples: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """First and last (exclusive) row of this replica's contiguous share, which may be empty in a small batch."""
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        size = (num_examples + self._num_replicas - 1) // self._num_replicas
        first = tf.minimum(replica * size, num_examples)
        return first, tf.minimum(first + size, num_examples)


def _cross_entropy_sum(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits))


def _num_correct(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(tf.cast(tf.equal(tf.argmax(logits, 1, tf.int32), labels), tf.float32))
