"""A sweep: the whole configuration of a run."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import product
from typing import TypeVar

from tasks.domain.cell import Cell, Setting
from tasks.domain.dataset import PreparedDataset, check_dataset
from tasks.domain.device import Devices, DeviceType
from tasks.domain.loop import Loop
from tasks.domain.model import Model
from tasks.domain.precision import Precision
from tasks.domain.reduction import Reduction
from tasks.domain.refusal import Refusal
from tasks.domain.strategy import Strategy
from tasks.domain.trial import check_batch

Choice = TypeVar("Choice", bound=StrEnum)

COUNTS = {"num_epochs": 10_000, "num_blocks": 1000, "num_replicas": 1024, "cores_per_replica": 1024}
"""The largest value of each; the least is 1."""

AXES = {
    "strategies": ", ".join(Strategy),
    "global_batch_sizes": "the positive whole numbers, for example 64",
    "loops": ", ".join(Loop),
    "precisions": ", ".join(Precision),
    "xla": "true and false",
    "reductions": ", ".join(Reduction),
    "steps_per_call": "the positive whole numbers, for example 32",
}
"""The fields that span the grid, with what they may name."""

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
    loops: tuple[Loop, ...] = (Loop.FUSED,)
    """How the training steps are driven."""
    precisions: tuple[Precision, ...] = (Precision.FLOAT32,)
    xla: tuple[bool, ...] = (False,)
    """Whether XLA compiles each replica's computation."""
    reductions: tuple[Reduction, ...] = (Reduction.AUTO,)
    """How replicas add up their gradients; each for the strategies that know it."""
    steps_per_call: tuple[int, ...] | None = None
    """Optimizer steps in one call of the compiled loop; null: 32 under the fused loop, 1 under the others."""
    skip_unsupported: bool = False
    """Leave out combinations that cannot work instead of refusing them."""
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
        for name in AXES:
            _check_axis(name, getattr(self, name))
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
        for steps in self.steps_per_call or ():
            if steps < 1:
                raise Refusal(f"steps_per_call={steps} must be at least 1")
        self._check_combinations()

    def _check_combinations(self) -> None:
        """Refuse what cannot work, and what would leave nothing of a named choice."""
        for cell in self._grid():
            if cell.obstacle and not self.skip_unsupported:
                raise Refusal(
                    f"{cell.label} cannot work: {cell.obstacle}; leave one of the two out, or "
                    "leave out only what cannot work by skip_unsupported (--skip-unsupported)"
                )
        for reduction in self.reductions:
            if not set(reduction.strategies) & set(self.strategies) and self.reductions != (Reduction.AUTO,):
                raise Refusal(
                    f"reduction={reduction} is known to {' and '.join(reduction.strategies)} only, "
                    "of which none is asked for; leave it out"
                )
        for strategy in self.strategies:
            if all(cell.strategy is not strategy for cell in self.cells):
                raise Refusal(
                    f"strategy={strategy} cannot work with any of the loops and reductions that are asked for; "
                    "leave it out or name more of them"
                )

    @property
    def settings(self) -> tuple[Setting, ...]:
        """How steps are executed, the first choices first."""
        return tuple(
            Setting(loop=loop, precision=precision, is_xla_enabled=is_xla_enabled, steps_per_call=steps)
            for loop, precision, is_xla_enabled in product(self.loops, self.precisions, self.xla)
            for steps in self.steps_per_call or (loop.default_steps_per_call,)
        )

    @property
    def cells(self) -> tuple[Cell, ...]:
        """The grid: by setting, then by batch size, then by strategy, each in the order in which it was asked for."""
        return tuple(cell for cell in self._grid() if not cell.obstacle)

    @property
    def skipped(self) -> tuple[Cell, ...]:
        """What the grid leaves out because it cannot work."""
        return tuple(cell for cell in self._grid() if cell.obstacle)

    def _grid(self) -> tuple[Cell, ...]:
        return tuple(
            Cell(strategy=strategy, reduction=reduction, global_batch_size=batch, setting=setting)
            for setting, batch, strategy in product(self.settings, self.global_batch_sizes, self.strategies)
            for reduction in self.reductions_of(strategy)
        )

    def reductions_of(self, strategy: Strategy) -> tuple[Reduction | None, ...]:
        """The reductions that `strategy` is measured with."""
        if strategy is Strategy.ONE_DEVICE:
            return (None,)
        return tuple(reduction for reduction in self.reductions if strategy in reduction.strategies)

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
        num_examples = self.examples_of(data)
        for cell in self.cells:
            check_batch(cell.global_batch_size, self.replicas_of(cell.strategy), num_examples)
            devices.check_execution(self.device or devices.preferred, cell.setting.precision, cell.reduction)
            steps_per_epoch = -(-num_examples // cell.global_batch_size)
            if self.steps_per_call and cell.setting.steps_per_call > steps_per_epoch:
                raise Refusal(
                    f"steps_per_call={cell.setting.steps_per_call} is more than the {steps_per_epoch} steps of an "
                    f"epoch at batch {cell.global_batch_size}; use at most {steps_per_epoch}, or leave it out"
                )

    def examples_of(self, data: PreparedDataset) -> int:
        """Training examples of one epoch."""
        return self.max_train_examples or data.num_train_examples


def parse_choice(kind: type[Choice], text: str, name: str) -> Choice:
    """The member of `kind` that `text` names; raises Refusal that lists the known ones."""
    try:
        return kind(text)
    except ValueError:
        raise Refusal(f"{name}={text!r} is not known; use one of {', '.join(kind)}") from None


def _check_axis(name: str, values: Sequence[object] | None) -> None:
    """Refuse an empty axis and a value that is named twice."""
    if values is None:
        return
    if not values:
        raise Refusal(f"{name} is empty; name at least one of {AXES[name]}")
    seen: set[object] = set()
    for value in values:
        if value in seen:
            raise Refusal(f"{name} names {value} twice; name each value once (repeats are num_blocks)")
        seen.add(value)
