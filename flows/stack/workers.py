"""Process workers: they take runs from a work pool and start them."""

import sys
import time
from collections.abc import Sequence
from datetime import datetime

import psutil
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import Worker, WorkerStatus

from flows import hosts
from flows.stack import processes
from flows.stack.pools import TYPE, Spec
from flows.stack.server import Server
from flows.stack.state import State
from flows.stack.terminal import say
from tasks.domain.refusal import Refusal

ONLINE_SECONDS = 60.0


def start(client: SyncPrefectClient, server: Server, specs: Sequence[Spec], address: str) -> None:
    """Start those workers; return when the server heard each anew. Raises Refusal where one ended or stayed silent.

    They inherit this command's CUDA_VISIBLE_DEVICES, and their runs do. Other hosts reach their runs under `address`.
    """
    say(f"Starting {' and '.join(f'the {spec.part}' for spec in specs)} (2 to 8 s)")
    earlier = [_heartbeat(client, spec) for spec in specs]
    started = [launch(server, spec, address) for spec in specs]
    deadline = time.monotonic() + ONLINE_SECONDS
    for spec, process, before in zip(specs, started, earlier, strict=True):
        while _heartbeat(client, spec) == before:
            if not processes.is_alive(process) or time.monotonic() > deadline:
                end = f"is not online after {ONLINE_SECONDS:.0f} s" if processes.is_alive(process) else "ended"
                raise Refusal(f"The {spec.part} {end}; see {processes.log_path(spec.part)}")
            time.sleep(0.2)


def launch(server: Server, spec: Spec, address: str, *, is_logged: bool = True) -> psutil.Process:
    """Start that worker and return at once; its output goes to its log, or else to this command's."""
    command = [sys.executable, "-m", processes.LASTING, "worker", "start", "--pool", spec.pool, "--name", spec.worker]
    command += ["--type", TYPE, "--install-policy", "never"]  # offline: nothing is looked up or installed
    command += [word for queue in spec.queues for word in ("--work-queue", queue)]
    environment = {**server.environment, hosts.NAME: spec.host, hosts.ADDRESS: address}
    return processes.start(spec.part, command, environment, server.folder, is_logged=is_logged)


def fault(client: SyncPrefectClient, found: State, spec: Spec, is_alive: bool) -> str | None:
    """Why that worker takes no runs, and the way out; None where it is online: the server heard it lately."""
    if not is_alive:
        return f"NOT RUNNING; `stratbench {'worker' if found.is_host_only else 'up'}` starts it"
    known = _read(client, spec)
    if known is not None and known.status == WorkerStatus.ONLINE:
        return None
    return f"NOT ONLINE; see {'what `stratbench worker` says' if found.is_host_only else processes.log_path(spec.part)}"


def _heartbeat(client: SyncPrefectClient, spec: Spec) -> datetime | None:
    known = _read(client, spec)
    return known.last_heartbeat_time if known else None


def _read(client: SyncPrefectClient, spec: Spec) -> Worker | None:
    return next((each for each in client.read_workers_for_work_pool(spec.pool) if each.name == spec.worker), None)
