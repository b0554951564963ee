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
        for name in ("num_epochs", "num_blocks", "num_replicas", "cores_per_replica"):
            if getattr(self, name) < 1:
                raise Refusal(f"{name}={getattr(self, name)} must be at least 1")
        if self.max_train_examples is not None and self.max_train_examples < 1:
            raise Refusal(f"max_train_examples={self.max_train_examples} must be at least 1, or null for all")
        if not 0 < self.learning_rate < 1:
            raise Refusal(f"learning_rate={self.learning_rate} must lie between 0 and 1")
        if not 0 < self.target_accuracy < 1:
            raise Refusal(f"target_accuracy={self.target_accuracy} must lie between 0 and 1; use .985 for 98.5 %")
        if self.seed < 0:
            raise Refusal(f"seed={self.seed} must not be negative")
        if not self.trial_timeout_seconds > 0:
            raise Refusal(f"trial_timeout_seconds={self.trial_timeout_seconds} must be greater than 0")
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
        for batch in self.global_batch_sizes:
            for strategy in self.strategies:
                check_batch(batch, self.replicas_of(strategy), self.examples_of(data))

    def examples_of(self, data: PreparedDataset) -> int:
        """Training examples of one epoch."""
        return min(self.max_train_examples or data.num_train_examples, data.num_train_examples)


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
