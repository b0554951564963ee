"""A sweep: the whole configuration of a run."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import product
from typing import TypeVar

from tasks.domain.cell import Arm, Cell, Setting
from tasks.domain.dataset import PreparedDataset, check_dataset
from tasks.domain.device import Devices, DeviceType
from tasks.domain.loop import Loop
from tasks.domain.model import Model
from tasks.domain.precision import Precision
from tasks.domain.reduction import Reduction
from tasks.domain.refusal import Refusal
from tasks.domain.strategy import Strategy
from tasks.domain.trial import Role, check_batch

Choice = TypeVar("Choice", bound=StrEnum)

RANGES = {
    "num_epochs": (1, 10_000),
    "min_blocks": (1, 1000),
    "max_blocks": (1, 1000),
    "short_epochs": (1, 10_000),
    "num_replicas": (1, 1024),
    "num_hosts": (1, 1024),
    "cores_per_replica": (1, 1024),
    "seed": (0, 2**31),
}
"""The least and the largest value of each whole number."""

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

STOPPING = ("min_blocks", "max_blocks", "half_width", "num_whole_blocks", "budget_minutes")
"""The fields that say when a run ends: it may be continued under others."""

SHARES = {"half_width": "; use .05 for 5 %", "learning_rate": "", "target_accuracy": "; use .985 for 98.5 %"}
"""Fields between 0 and 1, with what to say to who forgets it."""
WEEK = {"trial_timeout_seconds": 7 * 24 * 3600.0, "budget_minutes": 7 * 24 * 60.0}
"""The longest of each duration, in its own unit."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sweep:
    """The requested grid. Raises Refusal on nonsense, before anything starts."""

    strategies: tuple[Strategy, ...] = (Strategy.ONE_DEVICE, Strategy.MIRRORED, Strategy.MULTI_WORKER_MIRRORED)
    global_batch_sizes: tuple[int, ...] = (64, 128, 256)
    """Examples per optimizer step over all replicas."""
    num_epochs: int = 5
    """Passes over the training data in a whole block."""
    min_blocks: int = 6
    """Complete passes over the grid that are run in any case; block b trains every point with seed `seed + b - 1`."""
    max_blocks: int = 20
    """Blocks are added up to so many, until the widest declared pair is as narrow as `half_width`."""
    half_width: float = 0.05
    """Wanted half-width of the widest declared pair's 95 % interval, as a share."""
    num_whole_blocks: int | None = 3
    """So many blocks, the first ones, train `num_epochs`, the others `short_epochs`; null: all blocks are whole."""
    short_epochs: int = 1
    """Passes over the training data in a short block, and of baseline and reference trials in every block."""
    budget_minutes: float | None = None
    """No block is begun that would not end in time, the first one excepted; null: no limit."""
    versus: str | None = None
    """Python interpreter of another environment, which trains every point in every block as well; null: none."""
    num_replicas: int = 2
    """Devices that the distributed strategies train on."""
    num_hosts: int = 1
    """Machines over which `multi_worker_mirrored` spreads its devices; the other strategies train on one."""
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
        self._check_ranges()
        check_dataset(self.dataset)
        self._check_combinations()

    def _check_ranges(self) -> None:
        """Refuse single values that make no sense."""
        for name, (least, largest) in RANGES.items():
            if not least <= getattr(self, name) <= largest:
                raise Refusal(f"{name}={getattr(self, name)} must be a whole number from {least} to {largest}")
        for name, everything in (("max_train_examples", "all"), ("num_whole_blocks", "all blocks")):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise Refusal(f"{name}={getattr(self, name)} must be at least 1, or null for {everything}")
        if self.max_blocks < self.min_blocks:
            raise Refusal(
                f"max_blocks={self.max_blocks} is less than min_blocks={self.min_blocks}; raise it, or lower min_blocks"
            )
        for name, example in SHARES.items():
            if not 0 < getattr(self, name) < 1:
                raise Refusal(f"{name}={getattr(self, name)} must lie between 0 and 1{example}")
        for name, week in WEEK.items():
            if getattr(self, name) is not None and not 0 < getattr(self, name) <= week:
                raise Refusal(f"{name}={getattr(self, name)} must be greater than 0 and at most a week, {week:.0f}")

    def _check_combinations(self) -> None:
        """Refuse what cannot work, and what would leave nothing of a named choice."""
        if self.num_hosts > 1 and Strategy.MULTI_WORKER_MIRRORED not in self.strategies:
            raise Refusal(
                f"num_hosts={self.num_hosts} needs {Strategy.MULTI_WORKER_MIRRORED}, the strategy that spans machines; "
                "add it to the strategies, or use num_hosts=1"
            )
        if self.num_hosts > 1 and self.versus is not None:
            raise Refusal(f"num_hosts={self.num_hosts} and versus exclude each other; use num_hosts=1 with versus")
        if self.num_replicas % self.num_hosts:
            raise Refusal(
                f"num_replicas={self.num_replicas} does not divide over num_hosts={self.num_hosts}; "
                f"use a multiple of {self.num_hosts}"
            )
        for cell in self._grid():
            if cell.obstacle and not self.skip_unsupported:
                raise Refusal(
                    f"{cell.label} cannot work: {cell.obstacle}; leave it out of the grid, or set "
                    "skip_unsupported (--skip-unsupported) to leave out only such combinations"
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

    @property
    def setting(self) -> Setting:
        """The setting that answers are for: the first one that can be trained."""
        return self.cells[0].setting

    def members(self, device: DeviceType) -> tuple[tuple[Role, Cell], ...]:
        """What one block trains: the grid, then the one-device points that others are set against.

        A baseline has the global or the per-replica batch size of a distributed point (strong and weak scaling) where
        the grid has none. A reference is one device as wide as all the slices of a distributed trial: the same
        hardware without splitting it; a GPU cannot be widened, and no device spans machines.
        """
        if self.versus is not None:
            return tuple((Role.MEASURED, cell) for cell in self.cells)
        split = [cell for cell in self.cells if self.replicas_of(cell.strategy) > 1]
        wide = [c for c in split if self.hosts_of(c.strategy) == 1] if device is DeviceType.CPU_SLICE else []
        same_batch = [_single(cell, cell.global_batch_size) for cell in split]
        same_share = [_single(cell, cell.global_batch_size // self.num_replicas) for cell in split]
        members = (
            *((Role.MEASURED, cell) for cell in self.cells),
            *((Role.REFERENCE, _single(cell, cell.global_batch_size)) for cell in wide),
            *((Role.BASELINE, cell) for cell in (*same_batch, *same_share) if cell not in self.cells),
        )
        return tuple(dict.fromkeys(members))

    def epochs_of(self, role: Role, is_whole: bool) -> int:
        """Epochs of one trial in a whole or a short block."""
        is_long = is_whole and role is Role.MEASURED
        return self.num_epochs if is_long else min(self.short_epochs, self.num_epochs)

    def cores_of(self, role: Role) -> int:
        """Width in physical cores of one replica of such a trial, where it trains on CPU slices."""
        return self.cores_per_replica * (self.num_replicas if role is Role.REFERENCE else 1)

    def _grid(self) -> tuple[Cell, ...]:
        return tuple(
            Cell(strategy=strategy, reduction=reduction, global_batch_size=batch, setting=setting, arm=arm)
            for setting, batch, strategy in product(self.settings, self.global_batch_sizes, self.strategies)
            for reduction in self.reductions_of(strategy)
            for arm in ((Arm.HERE,) if self.versus is None else Arm)
        )

    def reductions_of(self, strategy: Strategy) -> tuple[Reduction | None, ...]:
        """The reductions that `strategy` is measured with."""
        if strategy is Strategy.ONE_DEVICE:
            return (None,)
        return tuple(reduction for reduction in self.reductions if strategy in reduction.strategies)

    def replicas_of(self, strategy: Strategy) -> int:
        """Devices that one trial of `strategy` trains on."""
        return 1 if strategy is Strategy.ONE_DEVICE else self.num_replicas

    def hosts_of(self, strategy: Strategy) -> int:
        """Machines that one trial of `strategy` trains on."""
        return self.num_hosts if strategy is Strategy.MULTI_WORKER_MIRRORED else 1

    def check(self, devices: Devices, data: PreparedDataset) -> None:
        """Raise Refusal where a machine with these devices or this data cannot serve the sweep."""
        replicas = max(self.replicas_of(strategy) // self.hosts_of(strategy) for strategy in self.strategies)
        device = self.device or devices.preferred
        devices.check(device, replicas, self.cores_per_replica)
        if self.max_train_examples is not None and self.max_train_examples > data.num_train_examples:
            raise Refusal(
                f"max_train_examples={self.max_train_examples} is more than the {data.num_train_examples} training "
                "examples; leave it out to train on all of them"
            )
        num_examples = self.examples_of(data)
        for cell in self.cells:
            check_batch(cell.global_batch_size, self.replicas_of(cell.strategy), num_examples)
            devices.check_execution(device, cell.setting.precision, cell.reduction)
            is_idle = cell.strategy is Strategy.MIRRORED and cell.reduction not in (None, Reduction.AUTO)
            if is_idle and cell.setting.loop is Loop.FUSED and device is not DeviceType.GPU:
                raise Refusal(
                    f"reduction={cell.reduction} changes nothing for {cell.strategy} on CPU slices under the fused "
                    "loop, where TensorFlow always reduces on one device; use loop=step, or leave it out"
                )
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


def _single(cell: Cell, global_batch_size: int) -> Cell:
    """The one-device point of that batch size in the cell's setting."""
    return replace(cell, strategy=Strategy.ONE_DEVICE, reduction=None, global_batch_size=global_batch_size)


def _check_axis(name: str, values: Sequence[object] | None) -> None:
    """Refuse an empty axis and a value that is named twice."""
    if values is None:
        return
    if not values:
        raise Refusal(f"{name} is empty; name at least one of {AXES[name]}")
    seen: set[object] = set()
    for value in values:
        if value in seen:
            raise Refusal(f"{name} names {value} twice; name each value once (repeats are blocks)")
        if isinstance(value, int) and value is not False and value < 1:
            raise Refusal(f"{name.removesuffix('s')}={value} must be at least 1")
        seen.add(value)
