"""The processes of one trial: their cores, their GPUs and their addresses."""

import json
import os
import socket
from contextlib import ExitStack
from dataclasses import dataclass

from tasks.domain.device import Devices, DeviceType
from tasks.domain.trial import Trial
from tasks.training.part import Ranks

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerPlace:
    """Where one worker runs."""

    rank: int
    cpus: tuple[int, ...]
    """Logical CPUs to bind to; empty: not bound."""
    environment: dict[str, str]
    """Variables that the process needs beside its parent's."""


def local_ranks(trial: Trial) -> Ranks:
    """All ranks of the trial, on this machine."""
    addresses = free_addresses(LOOPBACK, trial.num_workers) if trial.num_workers > 1 else ()
    return Ranks(numbers=range(trial.num_workers), addresses=addresses)


def place_workers(trial: Trial, devices: Devices, ranks: Ranks) -> tuple[WorkerPlace, ...]:
    """A place on this machine for each of these ranks; raises Refusal where it lacks the devices.

    A CPU slice is `cores_per_replica` distinct physical cores. The replicas of one process share its thread pool, so
    a mirrored trial is bound to the set of its slices.
    """
    devices.check(trial.device, trial.replicas_per_worker * len(ranks.numbers), trial.cores_per_replica or 1)
    return tuple(_place(trial, devices, rank, ranks) for rank in ranks.numbers)


def _place(trial: Trial, devices: Devices, rank: int, ranks: Ranks) -> WorkerPlace:
    cpus: tuple[int, ...] = ()
    first = (rank - ranks.numbers[0]) * trial.replicas_per_worker
    if trial.device is DeviceType.GPU:
        ids = visible_gpu_ids(len(devices.gpus))[first : first + trial.replicas_per_worker]
        environment = {"CUDA_VISIBLE_DEVICES": ",".join(ids)}
    else:
        width = trial.cores_per_replica or 1
        if hasattr(os, "sched_setaffinity"):
            cpus = devices.cores[first * width : (first + trial.replicas_per_worker) * width]
        environment = {"CUDA_VISIBLE_DEVICES": ""}
    if ranks.addresses:
        environment["TF_CONFIG"] = json.dumps(
            {"cluster": {"worker": list(ranks.addresses)}, "task": {"type": "worker", "index": rank}}
        )
    return WorkerPlace(rank=rank, cpus=cpus, environment=environment)


def visible_gpu_ids(num_gpus: int) -> tuple[str, ...]:
    """Names by which the parent's CUDA_VISIBLE_DEVICES, or the driver's order, calls the GPUs."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return tuple(str(i) for i in range(num_gpus))
    return tuple(name.strip() for name in visible.split(",") if name.strip())


def free_addresses(host: str, count: int) -> tuple[str, ...]:
    """`host:port` of ports of this machine that were free a moment ago, all different."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind((host, 0))
        return tuple(f"{host}:{one.getsockname()[1]}" for one in sockets)
