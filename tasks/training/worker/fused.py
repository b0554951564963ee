"""The fused loop: many optimizer steps in one call, the same for every strategy."""

from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow as tf
from numpy.typing import NDArray

from tasks.domain.trial import Trial
from tasks.training.worker.engine import (
    BETA_1,
    BETA_2,
    EPSILON,
    Engine,
    Gradient,
    OnWindow,
    cross_entropy_sum,
    num_correct,
    share,
)
from tasks.training.worker.examples import Examples, Order
from tasks.training.worker.models import Network


class FusedEngine(Engine):
    """All weights in one vector, so that one reduction and one update serve them all.

    In one step every replica takes a contiguous share of the global batch, sums gradients over it in micro-batches and
    divides them by the true number of examples in the step; one reduction adds up [gradient | loss sum | correct]; one
    fused Adam update is applied to all weights. The last partial batch is shared in the same way.
    """

    def __init__(
        self, trial: Trial, strategy: tf.distribute.Strategy, network: Network, train: Examples, test: Examples
    ) -> None:
        super().__init__(trial, strategy, network, test)
        self._train = train
        start = network.flat_weights().numpy()
        self._num_parameters = len(start)
        with strategy.scope():
            self._weights = tf.Variable(start, name="weights")
            self._first_moment = tf.Variable(tf.zeros_like(start), name="first_moment", trainable=False)
            self._second_moment = tf.Variable(tf.zeros_like(start), name="second_moment", trainable=False)
            self._step = tf.Variable(0, dtype=tf.int64, name="step", trainable=False)
        self._gradient = tf.function(self._compute_gradient, autograph=False, jit_compile=trial.is_xla_enabled)
        self._run_steps = tf.function(self._steps, autograph=False)

    def probe(self, order: Order, steps: Sequence[int]) -> Iterator[tuple[float, Gradient]]:
        ids = tf.constant(order)
        for step in steps:
            loss_sum, _ = self._call(ids, step - 1, step, learning_rate=0.0)
            moment = self._strategy.experimental_local_results(self._first_moment)[0].numpy()
            yield loss_sum, moment / (1 - BETA_1)
            for variable in (self._first_moment, self._second_moment, self._step):
                variable.assign(tf.zeros_like(variable))

    def train_epoch(self, order: Order, on_window: OnWindow) -> None:
        ids, length = tf.constant(order), self._trial.steps_per_call
        for start in range(0, self._trial.steps_per_epoch, length):
            stop = min(start + length, self._trial.steps_per_epoch)
            on_window(stop - start, *self._call(ids, start, stop, self._trial.learning_rate))

    def reduce(self) -> tf.Tensor:
        vectors = self._strategy.run(lambda: tf.convert_to_tensor(self._first_moment))
        reduced = self._strategy.extended.reduce_to(tf.distribute.ReduceOp.SUM, vectors, self._weights)
        return self._strategy.experimental_local_results(reduced)[0][0]

    def local_weights(self) -> list[NDArray[Any]]:
        return [local.numpy() for local in self._strategy.experimental_local_results(self._weights)]

    def flat_weights(self) -> tf.Tensor:
        return tf.convert_to_tensor(self._weights)

    def _call(self, ids: tf.Tensor, start: int, stop: int, learning_rate: float) -> tuple[float, float]:
        """Train steps `start` to `stop` - 1 of an epoch (from 0); sums of loss and of correct answers, read back."""
        rate = tf.constant(learning_rate, self._network.precision.weight_type)
        numbers = tf.constant(start), tf.constant(stop)
        sums = self._run_steps(ids, *numbers, rate, self._train.images, self._train.labels).numpy()
        return float(sums[0]), float(sums[1])

    def _steps(
        self, order: tf.Tensor, start: tf.Tensor, stop: tf.Tensor, learning_rate: tf.Tensor, images: Any, labels: Any
    ) -> tf.Tensor:
        batch, num_examples = self._trial.global_batch_size, self._train.num_examples

        def step(i: tf.Tensor, sums: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            ids = order[i * batch : tf.minimum((i + 1) * batch, num_examples)]
            packed = self._strategy.run(self._replica_step, args=(i, ids, images, labels))
            reduced = self._strategy.extended.reduce_to(tf.distribute.ReduceOp.SUM, packed, self._weights)
            self._strategy.extended.update(
                self._weights,
                self._apply_adam,
                args=(reduced, self._first_moment, self._second_moment, self._step, learning_rate),
                group=True,
            )
            self._step.assign_add(1)
            one = self._strategy.experimental_local_results(reduced)[0]
            return i + 1, sums + one[self._num_parameters :]

        zeros = tf.zeros(2, self._network.precision.weight_type)
        return tf.while_loop(lambda i, _: i < stop, step, (start, zeros), parallel_iterations=1)[1]

    def _replica_step(self, i: tf.Tensor, ids: tf.Tensor, images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        """[gradient of the step's mean loss | loss sum | correct] over this replica's share of `ids`."""
        num_examples = tf.shape(ids)[0]
        mine = ids[slice(*share(num_examples, self._strategy))]
        self.seen.add(i + 1, mine)
        weights = self.flat_weights()
        rows = self._trial.micro_batch_size
        if rows is None or rows >= self._trial.per_replica_batch_size:
            sums = self._gradient(weights, mine, images, labels)
        else:
            _, sums = tf.while_loop(
                lambda at, _: at < tf.size(mine),
                lambda at, sums: (at + rows, sums + self._gradient(weights, mine[at : at + rows], images, labels)),
                (tf.constant(0), tf.zeros(self._num_parameters + 2, weights.dtype)),
                parallel_iterations=1,
            )
        # Divided after the sum, so that float16 works on numbers that it can hold.
        gradient, metrics = tf.split(sums, [self._num_parameters, 2])
        return tf.concat([gradient / tf.cast(num_examples, weights.dtype), metrics], 0)

    def _compute_gradient(self, weights: tf.Tensor, ids: tf.Tensor, images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        """[gradient of the loss sum | loss sum | correct] over the examples `ids`."""
        answers = tf.gather(labels, ids)
        with tf.GradientTape() as tape:
            tape.watch(weights)
            logits = self._network.logits(weights, tf.gather(images, ids))
            loss_sum = cross_entropy_sum(logits, answers)
        return tf.concat([tape.gradient(loss_sum, weights), [loss_sum, num_correct(logits, answers)]], 0)

    def _apply_adam(
        self,
        weights: Any,
        packed: tf.Tensor,
        first_moment: Any,
        second_moment: Any,
        step: tf.Tensor,
        learning_rate: tf.Tensor,
    ) -> None:
        """Adam (Kingma and Ba 2015, algorithm 1, with epsilon as in section 2), one fused kernel for all weights."""
        kind = learning_rate.dtype
        t = tf.cast(step + 1, kind)
        tf.raw_ops.ResourceApplyAdam(
            var=weights.handle,
            m=first_moment.handle,
            v=second_moment.handle,
            beta1_power=tf.pow(tf.constant(BETA_1, kind), t),
            beta2_power=tf.pow(tf.constant(BETA_2, kind), t),
            lr=learning_rate,
            beta1=tf.constant(BETA_1, kind),
            beta2=tf.constant(BETA_2, kind),
            epsilon=tf.constant(EPSILON, kind),
            grad=packed[: self._num_parameters],
        )
