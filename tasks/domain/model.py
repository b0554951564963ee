"""Models: what is trained."""

from dataclasses import dataclass
from enum import StrEnum


class Model(StrEnum):
    """A model that the product can build; the layers are in `tasks/training/worker/models.py`."""

    REFERENCE_CNN = "reference_cnn"
    """Conv 32 3x3 relu, max-pool, Conv 64 3x3 relu, max-pool, Flatten, Dense 64 relu, Dense classes."""

    @property
    def label(self) -> str:
        """The name in prose."""
        return {Model.REFERENCE_CNN: "reference CNN"}[self]


@dataclass(frozen=True, kw_only=True, slots=True)
class Band:
    """Final test accuracies that an honest training of one workload reaches, measured over seeds."""

    dataset: str
    model: Model
    num_train_examples: int
    num_epochs: int
    learning_rate: float
    batches: tuple[int, int]
    """Smallest and largest global batch size that it was measured at."""
    accuracies: tuple[float, float]
    """Smallest and largest allowed, as shares: what was seen, and half as much again on both sides."""


BANDS = tuple(
    Band(
        dataset="mnist",
        model=Model.REFERENCE_CNN,
        num_train_examples=60_000,
        num_epochs=num_epochs,
        learning_rate=1e-3,
        batches=(64, 256),
        accuracies=accuracies,
    )
    for num_epochs, accuracies in ((1, (0.962, 0.991)), (5, (0.982, 0.995)))
)
"""The reference bands that are known; another workload has none."""
