"""Models as pure functions of one flat vector of weights."""

from dataclasses import dataclass
from typing import assert_never

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from tasks.domain.model import Model


@dataclass(frozen=True, slots=True)
class FlatModel:
    """A Keras model whose trainable weights live in one vector, so that one reduction and one update serve them all.

    Keras is used statelessly; nothing here depends on its own support for strategies.
    """

    layers: keras.Model
    initial_weights: NDArray[np.float32]
    """[num_parameters], the same for the same seed."""

    @property
    def num_parameters(self) -> int:
        """Length of the weight vector."""
        return len(self.initial_weights)

    def logits(self, weights: tf.Tensor, images: tf.Tensor, training: bool) -> tf.Tensor:
        """Float32 [rows, classes] for uint8 `images` [rows, height, width, channels]."""
        shapes = [weight.shape for weight in self.layers.trainable_variables]
        parts = tf.split(weights, [int(np.prod(shape)) for shape in shapes])
        shaped = [tf.reshape(part, shape) for part, shape in zip(parts, shapes, strict=True)]
        pixels = tf.cast(images, tf.float32) * (1.0 / 255.0)
        return self.layers.stateless_call(shaped, [], pixels, training=training)[0]


def build_model(model: Model, image_shape: tuple[int, ...], num_classes: int, seed: int) -> FlatModel:
    """The model with initial weights drawn from `seed`."""
    keras.utils.set_random_seed(seed)
    match model:
        case Model.REFERENCE_CNN:
            layers = _reference_cnn(image_shape, num_classes)
        case _:
            assert_never(model)
    flat = np.concatenate([np.ravel(weight.numpy()) for weight in layers.trainable_variables])
    return FlatModel(layers, flat.astype(np.float32))


def _reference_cnn(image_shape: tuple[int, ...], num_classes: int) -> keras.Model:
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
            keras.layers.Dense(num_classes),
        ]
    )
