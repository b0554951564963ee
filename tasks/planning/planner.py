"""What to run next: a pure function of the sweep and of what has been recorded."""

import random
from collections.abc import Collection
from dataclasses import dataclass

from tasks.domain.cell import Cell
from tasks.domain.dataset import PreparedDataset
from tasks.domain.device import DeviceType
from tasks.domain.loop import Loop
from tasks.domain.strategy import Strategy
from tasks.domain.sweep import Sweep
from tasks.domain.trial import Trial

CPU_MICRO_BATCH_SIZE = 64
"""Rows at a time on a CPU slice under the fused loop, so that activations stay in the caches."""


@dataclass(frozen=True, slots=True)
class Finished:
    """Nothing is left to run."""

    reason: str
    """Why, in a few words for people."""


def next_trials(
    sweep: Sweep, device: DeviceType, data: PreparedDataset, recorded_keys: Collection[str]
) -> tuple[Trial, ...] | Finished:
    """The trials to run now, in order: what is missing of the first block that is not complete.

    Whatever has a record, valid or not, is not run again.
    """
    for block in range(1, sweep.num_blocks + 1):
        missing = tuple(t for t in plan_block(sweep, device, data, block) if t.key not in recorded_keys)
        if missing:
            return missing
    return Finished(f"all {sweep.num_blocks} blocks are recorded")


def plan_block(sweep: Sweep, device: DeviceType, data: PreparedDataset, block: int) -> tuple[Trial, ...]:
    """Every point of the sweep once, in an order shuffled by the sweep's seed and the block (randomised blocks)."""
    trials = [_trial(sweep, device, data, cell, block) for cell in sweep.cells]
    random.Random(f"{sweep.seed}:{block}").shuffle(trials)
    return tuple(trials)


def _trial(sweep: Sweep, device: DeviceType, data: PreparedDataset, cell: Cell, block: int) -> Trial:
    replicas, setting = sweep.replicas_of(cell.strategy), cell.setting
    num_workers = replicas if cell.strategy is Strategy.MULTI_WORKER_MIRRORED else 1
    on_cpu = device is DeviceType.CPU_SLICE
    return Trial(
        strategy=cell.strategy,
        global_batch_size=cell.global_batch_size,
        num_workers=num_workers,
        replicas_per_worker=replicas // num_workers,
        device=device,
        cores_per_replica=sweep.cores_per_replica if on_cpu else None,
        dataset=sweep.dataset,
        dataset_digest=data.digest,
        num_train_examples=sweep.examples_of(data),
        model=sweep.model,
        num_epochs=sweep.num_epochs,
        learning_rate=sweep.learning_rate,
        seed=sweep.seed + block - 1,
        block=block,
        loop=setting.loop,
        precision=setting.precision,
        is_tf32_enabled=sweep.is_tf32_enabled,
        is_xla_enabled=setting.is_xla_enabled,
        reduction=cell.reduction,
        steps_per_call=setting.steps_per_call,
        micro_batch_size=CPU_MICRO_BATCH_SIZE if on_cpu and setting.loop is Loop.FUSED else None,
        timeout_seconds=sweep.trial_timeout_seconds,
    )
