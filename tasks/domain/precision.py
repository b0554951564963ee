"""Precision: the types in which a model computes."""

from enum import StrEnum


class Precision(StrEnum):
    """Types of weights and of products, under the names of Keras's dtype policies."""

    FLOAT32 = "float32"
    MIXED_BFLOAT16 = "mixed_bfloat16"
    """Products in bfloat16, weights and updates in float32."""
    MIXED_FLOAT16 = "mixed_float16"
    """Products in float16, weights and updates in float32."""
    FLOAT64 = "float64"
    """For checks: slow, and exact enough to compare free trainings."""

    @property
    def compute_type(self) -> str:
        """The type of products and activations."""
        return self.removeprefix("mixed_")

    @property
    def weight_type(self) -> str:
        """The type of weights, gradients and the optimizer's state."""
        return "float64" if self is Precision.FLOAT64 else "float32"


ALWAYS = (Precision.FLOAT32, Precision.FLOAT64)
"""What every device computes."""
