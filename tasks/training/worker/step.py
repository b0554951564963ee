"""The step loop: one compiled call a step over a distributed pipeline, as in TensorFlow's tutorial."""

from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow as tf
from numpy.typing import NDArray

from tasks.domain.trial import Trial
from tasks.training.worker.engine import Evaluation, OnWindow, SeenExamples, cross_entropy_sum, num_correct
from tasks.training.worker.examples import Examples, Order, Pipeline, steps_of
from tasks.training.worker.models import Network
from tasks.training.worker.optimizer import Gradient, local_vectors, make_adam, probing, reduce_moments


class StepEngine:
    """Keras's model and optimizer in a loop of one's own (TensorFlow's tutorial "Custom training").

    Unlike there, the loss is divided by the true number of examples of a step, the last partial one among them.
    """

    def __init__(
        self, trial: Trial, strategy: tf.distribute.Strategy, network: Network, pipeline: Pipeline, test: Examples
    ) -> None:
        """`network` must have been built in the strategy's scope."""
        self._trial, self._strategy, self._network, self._pipeline = trial, strategy, network, pipeline
        with strategy.scope():
            self._optimizer = make_adam(trial.learning_rate)
            self._optimizer.build(network.layers.trainable_variables)
        self._seen = SeenExamples(strategy, trial.num_train_examples)
        self._gradients = tf.function(self._compute_gradients, autograph=False, jit_compile=trial.is_xla_enabled)
        self._run_step = tf.function(self._step, autograph=False, reduce_retracing=True)
        self.evaluate = Evaluation(strategy, network, test, network.flat_weights)
        self.take_seen = self._seen.take

    def probe(self, order: Order, steps: Sequence[int]) -> Iterator[tuple[float, Gradient]]:
        """See `Engine.probe`."""
        with probing(self._optimizer, self._strategy) as take_gradient:
            for loss_sum, _ in self._train(steps_of(order, steps, self._trial.global_batch_size)):
                yield loss_sum, take_gradient()

    def train_epoch(self, order: Order, on_window: OnWindow) -> None:
        """See `Engine.train_epoch`."""
        for loss_sum, correct in self._train(order):
            on_window(1, loss_sum, correct)

    def reduce(self) -> tf.Tensor:
        """See `Engine.reduce`."""
        return reduce_moments(self._optimizer, self._strategy)

    def local_weights(self) -> list[NDArray[Any]]:
        """See `Engine.local_weights`."""
        return local_vectors(self._network.layers.trainable_variables, self._strategy)

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
        self._seen.add(step, ids)
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
