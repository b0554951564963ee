"""Small values that many tests need."""

import pytest

from tasks.domain.dataset import PreparedDataset
from tasks.domain.device import DeviceType
from tasks.domain.reduction import Reduction
from tasks.domain.strategy import Strategy
from tasks.domain.trial import Trial
from tasks.results.environment import find_devices

needs_two_cores = pytest.mark.skipif(len(find_devices().cores) < 2, reason="two slices need two cores")
"""Of a test that trains on two CPU slices."""

DATA = PreparedDataset(
    source="mnist",
    digest="d" * 64,
    directory="/nowhere",
    num_train_examples=60_000,
    num_test_examples=10_000,
    image_shape=(28, 28, 1),
    num_classes=10,
)
"""MNIST, prepared nowhere."""


def make_trial(**changes: object) -> Trial:
    """A mirrored trial over two slices of one core; `changes` are fields of Trial."""
    fields: dict[str, object] = {
        "strategy": Strategy.MIRRORED,
        "global_batch_size": 64,
        "num_workers": 1,
        "replicas_per_worker": 2,
        "device": DeviceType.CPU_SLICE,
        "cores_per_replica": 1,
        "dataset": "mnist",
        "dataset_digest": "d" * 64,
        "num_train_examples": 1000,
        "num_epochs": 2,
        "learning_rate": 1e-3,
        "seed": 1,
        "block": 1,
        "reduction": Reduction.AUTO,
        "steps_per_call": 4,
        "micro_batch_size": 32,
        "timeout_seconds": 60.0,
    }
    return Trial(**(fields | changes))  # type: ignore[arg-type]
