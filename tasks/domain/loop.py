"""Loops: how the training steps are driven."""

from enum import StrEnum


class Loop(StrEnum):
    """One way to drive the training steps, the same for every strategy that can run it."""

    FUSED = "fused"
    """Many steps a call: data resident on the device, one packed reduction a step, one fused optimizer update."""
    STEP = "step"
    """One compiled call a step over a distributed tf.data pipeline, as in TensorFlow's tutorial on custom training."""
    KERAS_FIT = "keras_fit"
    """Keras's own `fit`: the reference of what people run."""

    @property
    def label(self) -> str:
        """The loop in prose."""
        return {Loop.FUSED: "the fused loop", Loop.STEP: "the step loop", Loop.KERAS_FIT: "Keras fit"}[self]

    @property
    def default_steps_per_call(self) -> int:
        """Steps in one call: enough that reading the clock costs nothing, few enough for percentiles."""
        return {Loop.FUSED: 32, Loop.STEP: 1, Loop.KERAS_FIT: 1}[self]
