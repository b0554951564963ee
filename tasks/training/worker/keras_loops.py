"""The loops over Keras's model and Adam: step by step as in TensorFlow's tutorial, and `keras.Model.fit`."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
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
    SeenExamples,
    cross_entropy_sum,
    num_correct,
)
from tasks.training.worker.examples import Examples, Order, Pipeline, steps_of
from tasks.training.worker.models import Network


class KerasEngine(Engine):
    """What the two have in common."""

    def __init__(
        self, trial: Trial, strategy: tf.distribute.Strategy, network: Network, pipeline: Pipeline, test: Examples
    ) -> None:
        super().__init__(trial, strategy, network, test)
        self._pipeline = pipeline
        adam = keras.optimizers.Adam
        with strategy.scope():
            self._optimizer = self._prepare(adam(trial.learning_rate, beta_1=BETA_1, beta_2=BETA_2, epsilon=EPSILON))
            self._optimizer.build(network.layers.trainable_variables)
        self._adam = getattr(self._optimizer, "inner_optimizer", self._optimizer)

    def _prepare(self, adam: keras.optimizers.Adam) -> keras.optimizers.Optimizer:
        """The optimizer as the loop uses it, in the strategy's scope; `compile` may wrap Adam to scale the loss."""
        return adam

    @contextmanager
    def _probing(self) -> Iterator[Callable[[], Gradient]]:
        """Keep the weights where they are; what is given tells the gradient of the step since its last call.

        With a learning rate of zero Adam changes no weight, and from moments of zero one step makes the first moment
        (1 - BETA_1) x gradient.
        """
        adam = self._adam
        rate = float(adam.learning_rate.numpy())
        adam.learning_rate = 0.0

        def take() -> Gradient:
            moment: Gradient = self._local_vectors(adam._momentums)[0] / (1 - BETA_1)
            for variable in (adam.iterations, *adam._momentums, *adam._velocities):
                variable.assign(tf.zeros_like(variable.value))
            return moment

        try:
            yield take
        finally:
            adam.learning_rate = rate

    def reduce(self) -> tf.Tensor:
        moments = [moment.value for moment in self._adam._momentums]
        vectors = self._strategy.run(lambda: [tf.convert_to_tensor(moment) for moment in moments])
        pairs = list(zip(vectors, moments, strict=True))
        summed = self._strategy.extended.batch_reduce_to(tf.distribute.ReduceOp.SUM, pairs)
        local = self._strategy.experimental_local_results
        return tf.add_n([tf.reshape(local(vector)[0], [-1])[0] for vector in summed])

    def local_weights(self) -> list[NDArray[Any]]:
        return self._local_vectors(self._network.layers.trainable_variables)

    def _local_vectors(self, variables: list[keras.Variable]) -> list[NDArray[Any]]:
        """The variables of each replica of this process as one vector."""
        parts = [self._strategy.experimental_local_results(variable.value) for variable in variables]
        return [np.concatenate([np.ravel(part.numpy()) for part in parts]) for parts in zip(*parts, strict=True)]


class StepEngine(KerasEngine):
    """Keras's model and optimizer in a loop of one's own (TensorFlow's tutorial "Custom training").

    Unlike there, the loss is divided by the true number of examples of a step, the last partial one among them.
    """

    def __init__(
        self, trial: Trial, strategy: tf.distribute.Strategy, network: Network, pipeline: Pipeline, test: Examples
    ) -> None:
        super().__init__(trial, strategy, network, pipeline, test)
        self._gradients = tf.function(self._compute_gradients, autograph=False, jit_compile=trial.is_xla_enabled)
        self._run_step = tf.function(self._step, autograph=False, reduce_retracing=True)

    def probe(self, order: Order, steps: Sequence[int]) -> Iterator[tuple[float, Gradient]]:
        with self._probing() as take_gradient:
            for loss_sum, _ in self._train(steps_of(order, steps, self._trial.global_batch_size)):
                yield loss_sum, take_gradient()

    def train_epoch(self, order: Order, on_window: OnWindow) -> None:
        for loss_sum, correct in self._train(order):
            on_window(1, loss_sum, correct)

    def _train(self, order: Order) -> Iterator[tuple[float, float]]:
        """Train these ids step by step; sums of loss and of correct answers, read back."""
        batch = self._trial.global_batch_size
        batches = self._strategy.experimental_distribute_dataset(self._pipeline.batches(order))
        for i, examples in enumerate(batches):
            num_examples = min(batch, len(order) - i * batch)
            sums = self._run_step(tf.constant(i + 1), tf.constant(num_examples), examples).numpy()
            yield float(sums[0]), float(sums[1])

    def _step(self, step: tf.Tensor, num_examples: tf.Tensor, examples: Any) -> tf.Tensor:
        sums = self._strategy.run(self._replica_step, args=(step, num_examples, *examples))
        return self._strategy.reduce(tf.distribute.ReduceOp.SUM, sums, axis=None)

    def _replica_step(
        self, step: tf.Tensor, num_examples: tf.Tensor, images: tf.Tensor, labels: tf.Tensor, ids: tf.Tensor
    ) -> tf.Tensor:
        self.seen.add(step, ids)
        gradients, sums = self._gradients(images, labels)
        scaled = [gradient / tf.cast(num_examples, gradient.dtype) for gradient in gradients]
        self._optimizer.apply_gradients(zip(scaled, self._network.layers.trainable_variables, strict=True))
        return sums

    def _compute_gradients(self, images: tf.Tensor, labels: tf.Tensor) -> tuple[list[tf.Tensor], tf.Tensor]:
        """Gradients of the loss sum, and [loss sum | correct]."""
        layers = self._network.layers
        with tf.GradientTape() as tape:
            logits = layers(images, training=True)
            loss_sum = cross_entropy_sum(logits, labels)
        gradients = tape.gradient(loss_sum, layers.trainable_variables)
        return gradients, tf.stack([loss_sum, num_correct(logits, labels)])


class KerasFitEngine(KerasEngine):
    """`compile` and `fit` with Keras's defaults; only the examples that were trained are counted beside."""

    def _prepare(self, adam: keras.optimizers.Adam) -> keras.optimizers.Optimizer:
        self._model = _CountingModel(self._network.layers, self.seen, self._trial.steps_per_epoch)
        self._model.compile(
            optimizer=adam,
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
            steps_per_execution=self._trial.steps_per_call,
            jit_compile=self._trial.is_xla_enabled,
        )
        return self._model.optimizer

    def probe(self, order: Order, steps: Sequence[int]) -> Iterator[tuple[float, Gradient]]:
        model, batch = self._model, self._trial.global_batch_size
        with self._probing() as take_gradient:
            found: list[tuple[float, Gradient]] = []

            def on_step_end(_: int, logs: dict[str, float]) -> None:
                found.append((float(logs["loss"]) * self._trial.examples_of(steps[len(found)]), take_gradient()))
                model.reset_metrics()

            model.steps_per_execution = 1
            self._fit(steps_of(order, steps, batch), keras.callbacks.LambdaCallback(on_train_batch_end=on_step_end))
            if self._trial.steps_per_call > 1:
                model.steps_per_execution = self._trial.steps_per_call
                model.make_train_function(force=True)
                self._fit(steps_of(order, steps, batch))
                take_gradient()
        yield from found

    def train_epoch(self, order: Order, on_window: OnWindow) -> None:
        """The whole epoch is one window, because `fit` reads nothing back before."""
        on_window(self._trial.steps_per_epoch, *self._fit(order))

    def _fit(self, order: Order, *callbacks: keras.callbacks.Callback) -> tuple[float, float]:
        """`fit` over these ids; sums of loss and of correct answers."""
        batches = self._pipeline.batches(order)
        history = self._model.fit(batches, shuffle=False, verbose=0, callbacks=[*callbacks]).history
        return history["loss"][0] * len(order), history["accuracy"][0] * len(order)


class _CountingModel(keras.Model):  # type: ignore[misc]
    """Keras's training step, which counts the ids that it trains."""

    def __init__(self, layers: keras.Model, seen: SeenExamples, steps_per_epoch: int) -> None:
        super().__init__(inputs=layers.inputs, outputs=layers.outputs, name=layers.name)
        self._count, self._steps_per_epoch = seen.add, steps_per_epoch

    def train_step(self, data: Any) -> Any:
        """Train one batch of (images, labels, ids)."""
        images, labels, ids = data
        self._count(self.optimizer.iterations % self._steps_per_epoch + 1, ids)
        return super().train_step((images, labels))
