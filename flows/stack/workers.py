"""Process workers: they take runs from a work pool and start them."""

import sys
import time
from collections.abc import Sequence

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import Worker

from flows.stack import processes
from flows.stack.pools import TYPE, Spec
from flows.stack.server import Server
from flows.stack.terminal import say
from tasks.domain.refusal import Refusal

ONLINE_SECONDS = 60.0


def start(client: SyncPrefectClient, server: Server, specs: Sequence[Spec]) -> None:
    """Start those workers; return when the server heard each anew. Raises Refusal where one ended or stayed silent.

    They inherit this command's CUDA_VISIBLE_DEVICES, and their runs do.
    """
    say(f"Starting {' and '.join(f'the {spec.part}' for spec in specs)} (2 to 8 s)")
    earlier = [read(client, spec) for spec in specs]
    started = []
    for spec in specs:
        command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", spec.pool, "--name", spec.worker]
        command += ["--type", TYPE, "--install-policy", "never"]  # offline: nothing is looked up or installed
        command += [] if spec.limit is None else ["--limit", str(spec.limit)]
        started.append(processes.start(spec.part, command, server.environment, server.folder))
    deadline = time.monotonic() + ONLINE_SECONDS
    for spec, process, before in zip(specs, started, earlier, strict=True):
        while _heartbeat(read(client, spec)) == _heartbeat(before):
            if not processes.is_alive(process) or time.monotonic() > deadline:
                fault = f"is not online after {ONLINE_SECONDS:.0f} s" if processes.is_alive(process) else "ended"
                raise Refusal(f"The {spec.part} {fault}; see {processes.log_path(spec.part)}")
            time.sleep(0.2)


def read(client: SyncPrefectClient, spec: Spec) -> Worker | None:
    """What the server knows about that worker."""
    return next((each for each in client.read_workers_for_work_pool(spec.pool) if each.name == spec.worker), None)


def _heartbeat(worker: Worker | None) -> object:
    return worker and worker.last_heartbeat_time
