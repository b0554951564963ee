"""Keras's Adam as the loops use it, and how a gradient is read out of it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

Gradient = NDArray[np.floating[Any]]
"""The reduced gradient of one step's mean loss, [num_parameters]."""

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-7
"""Adam's constants as Keras sets them."""


def make_adam(learning_rate: float) -> keras.optimizers.Adam:
    """Keras's Adam; to be made in the strategy's scope."""
    return keras.optimizers.Adam(learning_rate, beta_1=BETA_1, beta_2=BETA_2, epsilon=EPSILON)


@contextmanager
def probing(
    optimizer: keras.optimizers.Optimizer, strategy: tf.distribute.Strategy
) -> Iterator[Callable[[], Gradient]]:
    """Keep the weights where they are; the function that is given tells the gradient of the step since its last call.

    With a learning rate of zero Adam changes no weight, and from moments of zero one step makes the first moment
    (1 - BETA_1) x gradient.
    """
    adam = getattr(optimizer, "inner_optimizer", optimizer)
    rate = float(adam.learning_rate.numpy())
    adam.learning_rate = 0.0

    def take() -> Gradient:
        moment: Gradient = local_vectors(adam._momentums, strategy)[0] / (1 - BETA_1)
        for variable in (adam.iterations, *adam._momentums, *adam._velocities):
            variable.assign(tf.zeros_like(variable.value))
        return moment

    try:
        yield take
    finally:
        adam.learning_rate = rate


def reduce_moments(optimizer: keras.optimizers.Optimizer, strategy: tf.distribute.Strategy) -> tf.Tensor:
    """Add up Adam's first moments over the replicas, as Keras adds up gradients; a scalar of the result."""
    moments = [moment.value for moment in getattr(optimizer, "inner_optimizer", optimizer)._momentums]
    vectors = strategy.run(lambda: [tf.convert_to_tensor(moment) for moment in moments])
    summed = strategy.extended.batch_reduce_to(tf.distribute.ReduceOp.SUM, list(zip(vectors, moments, strict=True)))
    return tf.add_n([tf.reshape(strategy.experimental_local_results(vector)[0], [-1])[0] for vector in summed])


def local_vectors(variables: list[keras.Variable], strategy: tf.distribute.Strategy) -> list[NDArray[Any]]:
    """The variables of each replica of this process as one vector."""
    parts = [strategy.experimental_local_results(variable.value) for variable in variables]
    return [np.concatenate([np.ravel(part.numpy()) for part in parts]) for parts in zip(*parts, strict=True)]
