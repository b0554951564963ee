"""Examples where a loop needs them: resident on the devices, or as a pipeline of batches."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

Images = NDArray[np.uint8]
Labels = NDArray[np.int32]
Order = NDArray[np.int32]


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


class Pipeline:
    """A tf.data pipeline over the examples in a given order: one element is the global batch of one step."""

    def __init__(self, images: Images, labels: Labels, global_batch_size: int, pixel_type: str) -> None:
        with tf.device("CPU:0"):
            self._images, self._labels = tf.constant(images), tf.constant(labels)
        self._global_batch_size, self._pixel_type = global_batch_size, tf.as_dtype(pixel_type)

    def batches(self, order: Order) -> tf.data.Dataset:
        """Elements (images [rows, height, width, channels] from 0 to 1, labels [rows], ids [rows])."""
        ids = tf.data.Dataset.from_tensor_slices(order).batch(self._global_batch_size)
        return ids.map(self._gather, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)

    def _gather(self, ids: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        images = tf.cast(tf.gather(self._images, ids), self._pixel_type) / 255
        return images, tf.gather(self._labels, ids), ids


def steps_of(order: Order, steps: Sequence[int], global_batch_size: int) -> Order:
    """The ids of these steps (from 1, in ascending order) of an epoch, one step after another."""
    return np.concatenate([order[(step - 1) * global_batch_size : step * global_batch_size] for step in steps])
