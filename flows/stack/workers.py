"""Process workers: they take runs from a work pool and start them."""

import hashlib
import platform
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import Worker, WorkerStatus

from flows import locations
from flows.stack import processes, state
from flows.stack.error import StackError
from flows.stack.pools import TYPE, Pools
from flows.stack.state import Part

ONLINE_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True, slots=True)
class WantedWorker:
    """A worker as it has to be."""

    part_name: str
    pool: str
    limit: int | None
    """Runs at a time; None: as many as there are."""

    @property
    def name(self) -> str:
        """Its name on the server: the same after a restart, another one in another folder or on another machine."""
        folder = hashlib.sha256(str(locations.root()).encode()).hexdigest()[:6]
        return f"{self.pool} on {platform.node()} ({folder})"


def wanted(pools: Pools) -> tuple[WantedWorker, WantedWorker]:
    """One worker for each pool; trials one at a time."""
    return (
        WantedWorker(part_name="worker of benchmark", pool=pools.benchmark, limit=None),
        WantedWorker(part_name="worker of trial", pool=pools.trial, limit=1),
    )


def start(worker: WantedWorker, environment: Mapping[str, str], folder: Path, start_id: str) -> Part:
    """Start that worker; it inherits this command's CUDA_VISIBLE_DEVICES, and its runs do."""
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", worker.pool, "--name", worker.name]
    command += ["--type", TYPE, "--install-policy", "never"]  # offline: nothing is looked up or installed
    if worker.limit is not None:
        command += ["--limit", str(worker.limit)]
    return processes.start(worker.part_name, command, environment, folder, start_id)


def last_heartbeat(client: SyncPrefectClient, worker: WantedWorker) -> datetime | None:
    """When the server last heard that worker."""
    found = _read(client, worker)
    return found.last_heartbeat_time if found else None


def is_online(client: SyncPrefectClient, worker: WantedWorker) -> bool:
    """Whether the server counts that worker as online."""
    found = _read(client, worker)
    return found is not None and found.status == WorkerStatus.ONLINE


def wait_online(
    client: SyncPrefectClient, worker: WantedWorker, part: Part, earlier_heartbeat: datetime | None
) -> None:
    """Return when the server heard that worker anew; raises StackError where it ended or stayed silent."""
    deadline = time.monotonic() + ONLINE_SECONDS
    while last_heartbeat(client, worker) == earlier_heartbeat:
        if processes.find(part) is None:
            raise StackError(f"The {part.name} ended while it started; see {state.log_path(part.name)}")
        if time.monotonic() > deadline:
            raise StackError(
                f"The {part.name} is not online after {ONLINE_SECONDS:.0f} s; see {state.log_path(part.name)}"
            )
        time.sleep(0.2)


def _read(client: SyncPrefectClient, worker: WantedWorker) -> Worker | None:
    found = client.read_workers_for_work_pool(worker.pool)
    return next((each for each in found if each.name == worker.name), None)
