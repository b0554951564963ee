"""The reference CNN's arithmetic."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Shapes:
    """The reference CNN's layers for one size of picture, [height = width, channels]."""

    pixels: int
    pooled: tuple[int, int]
    """Height after each pooling."""

    def flops(self) -> float:
        """Floating point operations per example, forward and backward: 2 x multiply-adds.

        Forward, gradient by weights and, but for the first layer, gradient by inputs cost the same each.
        """
        first = 2 * (self.pixels - 2) ** 2 * 9 * 32
        second = 2 * (self.pooled[0] - 2) ** 2 * 9 * 32 * 64
        dense = 2 * (self.pooled[1] ** 2 * 64 * 64 + 64 * 10)
        return 2 * first + 3 * (second + dense)


AS_COMPUTED = Shapes(26, (12, 5))
"""Without the rows and columns that the poolings throw away, as the fused loop computes it."""
AS_WRITTEN = Shapes(28, (13, 5))
"""As the layers are declared."""
