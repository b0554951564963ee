"""A trial: one training run of one point of the sweep, in fresh processes."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from enum import StrEnum

from tasks.domain.cell import Arm, Cell, Setting
from tasks.domain.device import DeviceType
from tasks.domain.loop import Loop
from tasks.domain.model import Model
from tasks.domain.precision import Precision
from tasks.domain.reduction import Reduction
from tasks.domain.refusal import Refusal
from tasks.domain.strategy import Strategy


class Role(StrEnum):
    """Why a trial is run."""

    MEASURED = "measured"
    """A point that the sweep asks for."""
    BASELINE = "baseline"
    """A one-replica point that only serves as the denominator of others."""
    REFERENCE = "reference"
    """One device as wide as all slices of a distributed trial: the same hardware, not split."""
    AGAIN = "again"
    """A point of a night that was far out, measured at once again; tells the night's verdict, not the run's report."""
    DISCARDED = "discarded"
    """Run before a block so that its first trial finds the machine as the others do; enters no number."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """The whole configuration of one training run; equal trials have equal keys.

    Raises Refusal where the numbers cannot describe a training.
    """

    strategy: Strategy
    global_batch_size: int
    """Examples per optimizer step over all replicas."""
    num_hosts: int = 1
    """Machines over which the workers are spread, the same number on each."""
    num_workers: int
    """TensorFlow processes."""
    replicas_per_worker: int
    """Copies of the model in each process."""
    device: DeviceType
    """What one replica trains on."""
    cores_per_replica: int | None
    """Width of a CPU slice in physical cores; null on a GPU."""
    dataset: str
    """A known name or a path."""
    dataset_digest: str
    """SHA-256 of the decoded arrays, so that another content is another trial."""
    num_train_examples: int
    """Training examples of one epoch."""
    model: Model = Model.REFERENCE_CNN
    num_epochs: int
    learning_rate: float
    """Adam's step size."""
    seed: int
    """Seed of the initial weights and of the order of examples."""
    block: int
    """The pass over the grid that this trial belongs to, from 1."""
    role: Role = Role.MEASURED
    arm: Arm = Arm.HERE
    """The environment that trains."""
    loop: Loop = Loop.FUSED
    precision: Precision = Precision.FLOAT32
    is_tf32_enabled: bool = False
    """TensorFloat-32 in float32 products; affects GPUs only."""
    is_xla_enabled: bool = False
    """Whether XLA compiles each replica's computation."""
    reduction: Reduction | None
    """How replicas add up their gradients; null where there is one device."""
    steps_per_call: int
    """Optimizer steps in one call of the compiled loop; one row of the steps table."""
    micro_batch_size: int | None
    """Rows that a replica works through at a time (same sum, better use of a CPU's caches); null: all at once."""
    timeout_seconds: float
    """Deadline of the whole trial, from launch to exit."""

    def __post_init__(self) -> None:
        for name in ("num_hosts", "num_workers", "replicas_per_worker", "num_epochs", "steps_per_call"):
            if getattr(self, name) < 1:
                raise Refusal(f"{name}={getattr(self, name)} must be at least 1")
        if self.num_workers % self.num_hosts:
            raise Refusal(f"num_workers={self.num_workers} does not divide over num_hosts={self.num_hosts}")
        check_batch(self.global_batch_size, self.num_replicas, self.num_train_examples)

    @property
    def num_replicas(self) -> int:
        """Copies of the model over all workers."""
        return self.num_workers * self.replicas_per_worker

    @property
    def workers_per_host(self) -> int:
        """TensorFlow processes on each machine."""
        return self.num_workers // self.num_hosts

    @property
    def per_replica_batch_size(self) -> int:
        """Examples per optimizer step on each replica."""
        return self.global_batch_size // self.num_replicas

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in one epoch; the last one may be partial."""
        return -(-self.num_train_examples // self.global_batch_size)

    def examples_of(self, step: int) -> int:
        """Examples of step `step` (from 1) of an epoch over all replicas."""
        return min(self.global_batch_size, self.num_train_examples - (step - 1) * self.global_batch_size)

    @property
    def key(self) -> str:
        """First 16 hexadecimal digits of the SHA-256 of this configuration's canonical JSON.

        `num_hosts` is left out where it is 1, so that the keys of releases that did not know it stay the same.
        """
        content = {name: value for name, value in dataclasses.asdict(self).items() if (name, value) != ("num_hosts", 1)}
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def label(self) -> str:
        """The trial's name for people, for example `mirrored, batch 128, block 1`."""
        role = "" if self.role is Role.MEASURED else f" ({self.role})"
        hosts = "" if self.num_hosts == 1 else f", {self.num_hosts} hosts"
        return f"{self.cell.label}{hosts}{role}, block {self.block}"

    @property
    def cell(self) -> Cell:
        """The point of the grid that this trial measures."""
        return Cell(
            strategy=self.strategy,
            reduction=self.reduction,
            global_batch_size=self.global_batch_size,
            arm=self.arm,
            setting=Setting(
                loop=self.loop,
                precision=self.precision,
                is_xla_enabled=self.is_xla_enabled,
                steps_per_call=self.steps_per_call,
            ),
        )


def check_batch(global_batch_size: int, num_replicas: int, num_train_examples: int) -> None:
    """Raise Refusal unless the batch divides over the replicas and is not larger than the data."""
    if global_batch_size < 1:
        raise Refusal(f"global_batch_size={global_batch_size} must be at least 1")
    if global_batch_size % num_replicas:
        raise Refusal(
            f"global_batch_size={global_batch_size} does not divide over num_replicas={num_replicas}; "
            f"use a multiple of {num_replicas}"
        )
    if global_batch_size > num_train_examples:
        raise Refusal(
            f"global_batch_size={global_batch_size} is larger than the {num_train_examples} training examples; "
            "use a smaller batch or more data"
        )
