"""The loop of `keras.Model.fit`: the reference of what people run."""

from collections.abc import Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf
from numpy.typing import NDArray

from tasks.domain.trial import Trial
from tasks.training.worker.engine import Evaluation, OnWindow, SeenExamples
from tasks.training.worker.examples import Examples, Order, Pipeline, steps_of
from tasks.training.worker.models import Network
from tasks.training.worker.optimizer import Gradient, local_vectors, make_adam, probing, reduce_moments


class KerasFitEngine:
    """`compile` and `fit` with Keras's defaults; only the examples that were trained are counted beside."""

    def __init__(
        self, trial: Trial, strategy: tf.distribute.Strategy, network: Network, pipeline: Pipeline, test: Examples
    ) -> None:
        """`network` must have been built in the strategy's scope."""
        self._trial, self._strategy, self._network, self._pipeline = trial, strategy, network, pipeline
        self._seen = SeenExamples(strategy, trial.num_train_examples)
        with strategy.scope():
            self._model = _CountingModel(network.layers, self._seen, trial.steps_per_epoch)
            self._model.compile(
                optimizer=make_adam(trial.learning_rate),
                loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
                metrics=["accuracy"],
                steps_per_execution=trial.steps_per_call,
                jit_compile=trial.is_xla_enabled,
            )
            self._model.optimizer.build(network.layers.trainable_variables)
        self.evaluate = Evaluation(strategy, network, test, network.flat_weights)
        self.take_seen = self._seen.take

    def probe(self, order: Order, steps: Sequence[int]) -> Iterator[tuple[float, Gradient]]:
        """See `Engine.probe`."""
        model, batch = self._model, self._trial.global_batch_size
        with probing(model.optimizer, self._strategy) as take_gradient:
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
        """See `Engine.train_epoch`; the whole epoch is one window, because `fit` reads nothing back before."""
        on_window(self._trial.steps_per_epoch, *self._fit(order))

    def reduce(self) -> tf.Tensor:
        """See `Engine.reduce`."""
        return reduce_moments(self._model.optimizer, self._strategy)

    def local_weights(self) -> list[NDArray[Any]]:
        """See `Engine.local_weights`."""
        return local_vectors(self._network.layers.trainable_variables, self._strategy)

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
