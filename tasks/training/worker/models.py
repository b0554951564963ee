"""Models: as Keras has them, and as pure functions of one flat vector of weights."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

import keras
import tensorflow as tf

from tasks.domain.model import Model
from tasks.domain.precision import Precision


@dataclass(frozen=True, slots=True)
class Network:
    """A model in one precision."""

    model: Model
    layers: keras.Model
    """Its definition, for the loops that run Keras; outputs logits."""
    precision: Precision

    def flat_weights(self) -> tf.Tensor:
        """The present weights [num_parameters] in their own type; of the replica, where one asks."""
        return tf.concat([tf.reshape(weight.value, [-1]) for weight in self.layers.trainable_variables], 0)

    def logits(self, weights: tf.Tensor, images: tf.Tensor) -> tf.Tensor:
        """Logits [rows, classes] in the weights' type, for flat `weights` and uint8 `images`.

        The same function as `layers`, and the same gradient, written so that nothing is computed in vain.
        """
        shapes = [weight.shape for weight in self.layers.trainable_variables]
        parts = tf.split(weights, [math.prod(shape) for shape in shapes])
        shaped = [tf.reshape(part, shape) for part, shape in zip(parts, shapes, strict=True)]
        match self.model:
            case Model.REFERENCE_CNN:
                return _reference_cnn_logits(shaped, images, tf.as_dtype(self.precision.compute_type))
            case _:
                assert_never(self.model)


def build_network(
    model: Model, image_shape: tuple[int, ...], num_classes: int, precision: Precision, seed: int
) -> Network:
    """The model with initial weights drawn from `seed`."""
    keras.utils.set_random_seed(seed)
    keras.config.set_floatx(precision.weight_type)
    keras.config.set_dtype_policy(precision.value)
    match model:
        case Model.REFERENCE_CNN:
            return Network(model, _reference_cnn(image_shape, num_classes, precision), precision)
        case _:
            assert_never(model)


def _reference_cnn(image_shape: tuple[int, ...], num_classes: int, precision: Precision) -> keras.Model:
    """The original report's network."""
    return keras.Sequential(
        [
            keras.Input(image_shape),
            keras.layers.Conv2D(32, 3, activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Conv2D(64, 3, activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Flatten(),
            keras.layers.Dense(64, activation="relu"),
            keras.layers.Dense(num_classes, dtype=precision.weight_type),
        ]
    )


def _reference_cnn_logits(weights: Sequence[tf.Tensor], images: tf.Tensor, compute_type: tf.DType) -> tf.Tensor:
    """The reference CNN without what its pooling throws away.

    A pooling over 2 x 2 drops an odd last row and column: what only they depend on, down to the image's own margin,
    is cut off before it is computed (28 x 28 pixels become 26 x 26, a sixth of the work). Bias and relu are monotone
    and the same for a whole channel, so they change places with the pooling and work on a quarter of the numbers.
    """
    *hidden, kernel_4, bias_4 = weights
    kernel_1, bias_1, kernel_2, bias_2, kernel_3, bias_3 = (tf.cast(weight, compute_type) for weight in hidden)
    height, width = (_used_pixels(size) for size in images.shape[1:3])
    x = tf.cast(images[:, :height, :width], compute_type) * tf.constant(1 / 255, compute_type)
    for kernel, bias in ((kernel_1, bias_1), (kernel_2, bias_2)):
        x = tf.nn.max_pool2d(tf.nn.conv2d(x, kernel, 1, "VALID"), 2, 2, "VALID")
        x = tf.nn.relu(tf.nn.bias_add(x, bias))
    x = tf.nn.relu(tf.nn.bias_add(tf.reshape(x, [-1, kernel_3.shape[0]]) @ kernel_3, bias_3))
    return tf.nn.bias_add(tf.cast(x, kernel_4.dtype) @ kernel_4, bias_4)


def _used_pixels(size: int) -> int:
    """Rows (or columns) of a picture of `size` that reach the reference CNN's second pooling."""
    pooled = ((size - 2) // 2 - 2) // 2
    return (2 * pooled + 2) * 2 + 2
