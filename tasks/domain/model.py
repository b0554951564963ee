"""Models: what is trained."""

from enum import StrEnum


class Model(StrEnum):
    """A model that the product can build; the layers are in `tasks/training/worker/models.py`."""

    REFERENCE_CNN = "reference_cnn"
    """Conv 32 3x3 relu, max-pool, Conv 64 3x3 relu, max-pool, Flatten, Dense 64 relu, Dense classes."""

    @property
    def label(self) -> str:
        """The name in prose."""
        return {Model.REFERENCE_CNN: "reference CNN"}[self]


BANDS = {1: (0.962, 0.991), 5: (0.982, 0.995)}
"""Smallest and largest final test accuracy, as shares, of an honest training of the reference workload by its number of
epochs: what was seen over seeds, and half as much again on both sides."""
