"""A sweep: the whole configuration of a run."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from tasks.domain.dataset import PreparedDataset, check_dataset
from tasks.domain.device import Devices, DeviceType
from tasks.domain.loop import Loop, Precision
from tasks.domain.model import Model
from tasks.domain.refusal import Refusal
from tasks.domain.strategy import Strategy
from tasks.domain.trial import check_batch

Choice = TypeVar("Choice", bound=StrEnum)

COUNTS = {"num_epochs": 10_000, "num_blocks": 1000, "num_replicas": 1024, "cores_per_replica": 1024}
"""The largest value of each; the least is 1."""

LARGEST_SEED = 2**31
LONGEST_TRIAL_SECONDS = 7 * 24 * 3600.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Sweep:
    """The requested grid. Raises Refusal on nonsense, before anything starts."""

    strategies: tuple[Strategy, ...] = (Strategy.ONE_DEVICE, Strategy.MIRRORED, Strategy.MULTI_WORKER_MIRRORED)
    global_batch_sizes: tuple[int, ...] = (64, 128, 256)
    """Examples per optimizer step over all replicas."""
    num_epochs: int = 5
    num_blocks: int = 1
    """Complete passes over the grid; block b trains every point with seed `seed + b - 1`."""
    num_replicas: int = 2
    """Devices that the distributed strategies train on."""
    device: DeviceType | None = None
    """What one replica trains on; null: GPUs where there are some, otherwise slices of cores."""
    cores_per_replica: int = 1
    """Width of a CPU slice in physical cores; unused on GPUs."""
    dataset: str = "mnist"
    """A known name, or a path to a folder of IDX files or to an `.npz` file."""
    max_train_examples: int | None = None
    """Train on the first so many examples only; null: all of them."""
    model: Model = Model.REFERENCE_CNN
    loop: Loop = Loop.FUSED
    precision: Precision = Precision.FLOAT32
    is_tf32_enabled: bool = False
    """TensorFloat-32 in float32 products; affects GPUs only."""
    learning_rate: float = 1e-3
    """Adam's step size."""
    target_accuracy: float = 0.985
    """Test accuracy whose first reaching is the time to accuracy."""
    seed: int = 1
    """Seed of block 1; also shuffles the order of trials in every block."""
    trial_timeout_seconds: float = 1800.0
    """Deadline of one trial, from launch to exit."""

    def __post_init__(self) -> None:
        if not self.strategies:
            raise Refusal(f"strategies is empty; name at least one of {', '.join(Strategy)}")
        if not self.global_batch_sizes:
            raise Refusal("global_batch_sizes is empty; name at least one batch size, for example 64")
        _refuse_duplicates("strategies", self.strategies)
        _refuse_duplicates("global_batch_sizes", self.global_batch_sizes)
        for name, largest in COUNTS.items():
            if not 1 <= getattr(self, name) <= largest:
                raise Refusal(f"{name}={getattr(self, name)} must be a whole number from 1 to {largest}")
        if self.max_train_examples is not None and self.max_train_examples < 1:
            raise Refusal(f"max_train_examples={self.max_train_examples} must be at least 1, or null for all")
        if not 0 < self.learning_rate < 1:
            raise Refusal(f"learning_rate={self.learning_rate} must lie between 0 and 1")
        if not 0 < self.target_accuracy < 1:
            raise Refusal(f"target_accuracy={self.target_accuracy} must lie between 0 and 1; use .985 for 98.5 %")
        if not 0 <= self.seed <= LARGEST_SEED:
            raise Refusal(f"seed={self.seed} must be a whole number from 0 to {LARGEST_SEED}")
        if not 0 < self.trial_timeout_seconds <= LONGEST_TRIAL_SECONDS:
            raise Refusal(
                f"trial_timeout_seconds={self.trial_timeout_seconds} must be greater than 0 and at most a week, "
                f"{LONGEST_TRIAL_SECONDS:.0f}"
            )
        check_dataset(self.dataset)
        for batch in self.global_batch_sizes:
            if batch < 1:
                raise Refusal(f"global_batch_size={batch} must be at least 1")

    def replicas_of(self, strategy: Strategy) -> int:
        """Devices that one trial of `strategy` trains on."""
        return 1 if strategy is Strategy.ONE_DEVICE else self.num_replicas

    def check(self, devices: Devices, data: PreparedDataset) -> None:
        """Raise Refusal where this machine or this data cannot serve the sweep."""
        replicas = max(self.replicas_of(strategy) for strategy in self.strategies)
        devices.check(self.device or devices.preferred, replicas, self.cores_per_replica)
        if self.max_train_examples is not None and self.max_train_examples > data.num_train_examples:
            raise Refusal(
                f"max_train_examples={self.max_train_examples} is more than the {data.num_train_examples} training "
                "examples; leave it out to train on all of them"
            )
        for batch in self.global_batch_sizes:
            for strategy in self.strategies:
                check_batch(batch, self.replicas_of(strategy), self.examples_of(data))

    def examples_of(self, data: PreparedDataset) -> int:
        """Training examples of one epoch."""
        return self.max_train_examples or data.num_train_examples


def parse_choice(kind: type[Choice], text: str, name: str) -> Choice:
    """The member of `kind` that `text` names; raises Refusal that lists the known ones."""
    try:
        return kind(text)
    except ValueError:
        raise Refusal(f"{name}={text!r} is not known; use one of {', '.join(kind)}") from None


def _refuse_duplicates(name: str, values: Iterable[object]) -> None:
    seen: set[object] = set()
    for value in values:
        if value in seen:
            raise Refusal(f"{name} names {value} twice; name each value once (repeats are num_blocks)")
        seen.add(value)
