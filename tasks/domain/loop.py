"""Training loops: how steps are driven."""

from enum import StrEnum


class Loop(StrEnum):
    """One way to drive the training steps, the same for every strategy."""

    FUSED = "fused"
    """Many steps a call: data resident on the device, one packed reduction a step, one fused optimizer update."""


class Precision(StrEnum):
    """The type in which the model computes."""

    FLOAT32 = "float32"
