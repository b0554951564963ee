"""What the local stack is doing now."""

from collections.abc import Iterator
from datetime import datetime

from prefect.client.orchestration import SyncPrefectClient
from prefect.exceptions import ObjectNotFound

from flows import hosts, locations
from flows.stack import deployments, notifications, processes, queues, runs, server, state, workers
from flows.stack.pools import Pools
from flows.stack.server import API_ERRORS
from flows.stack.state import State
from flows.stack.terminal import say

NUM_LATEST = 5


def status() -> bool:
    """Say what runs and what comes next; whether the stack is healthy: the server answers, all workers are online."""
    found, alive = state.read(), processes.parts()
    if found is None:
        rest = ", but processes are left over; `stratbench down` ends them" if processes.marked() else ""
        say(f"Nothing is running in {locations.root()}{rest}; `stratbench up` starts the stack")
        return False
    is_ours, is_healthy = found.server.is_ours, found.server.failure() is None
    word = "healthy" if is_healthy else "DOES NOT ANSWER"
    say(f"server     {found.server.api_url} ({'local' if is_ours else 'yours'}): {word}")
    if not is_healthy:
        if is_ours and server.NAME not in alive:
            log = processes.log_path(server.NAME)
            say(f"           its process ended; see {log}, or start it again: `stratbench up`")
        return False
    say(f"pages      {found.server.ui_url()}")
    try:
        with found.server.connected() as client:
            for spec in found.specs:
                fault = workers.fault(client, found, spec, spec.part in alive)
                is_healthy &= fault is None
                say(f"worker     {spec.worker}: {fault or 'online'}")
            for line in (*_pool_lines(client, found), *_run_lines(client, found.pools)):
                say(line)
            to = notifications.receiver(client)
            say(f"alerts     {f'to {to}' if to else notifications.NOBODY}")
    except API_ERRORS as error:
        say(f"server     fails: {type(error).__name__}: {error}")
        return False
    return is_healthy


def _pool_lines(client: SyncPrefectClient, found: State) -> Iterator[str]:
    for spec in found.specs:
        try:
            pool = client.read_work_pool(spec.pool)
        except ObjectNotFound:
            yield f"pool       {spec.pool}: MISSING; `stratbench up` creates it"
            continue
        limit = "one run at a time in each queue" if spec.queues else "any number of runs"
        yield f"pool       {spec.pool}: {limit}{', PAUSED' if pool.is_paused else ''}"
        if spec.queues:
            yield from _host_lines(client, spec.pool)


def _host_lines(client: SyncPrefectClient, pool: str) -> Iterator[str]:
    beating = client.read_workers_for_work_pool(pool)
    for queue, entry in hosts.known(queues.read_all(client, pool)):
        host = entry.host
        if hosts.is_online(queue, entry, beating):
            presence = f"online{', PAUSED' if queue.is_paused else ''}"
        elif entry.left_at:
            presence = f"left {_local(entry.left_at)}"
        else:
            presence = f"NOT ONLINE since {_local(hosts.seen_at(queue, entry, beating))}"
        offer = ", ".join((f"{len(host.devices.cores)} CPU cores", *host.devices.gpus))
        yield f"host       {host.name} at {host.address} ({offer}): {presence}"


def _run_lines(client: SyncPrefectClient, pools: Pools) -> Iterator[str]:
    declaration = deployments.load(pools)
    known = deployments.find(client, declaration)
    for name, deployment in declaration.by_name.items():
        if deployment.get("schedules") and name in known:
            run = runs.next_scheduled(client, known[name])
            yield f"next       {name}: {_local(run.next_scheduled_start_time) if run else 'none is scheduled'}"
    benchmarks = {identity: name for name, identity in known.items() if name.startswith("benchmark/")}
    for run in runs.latest(client, benchmarks, NUM_LATEST):
        began = _local(run.start_time or run.expected_start_time)
        yield f"run        {run.name} ({run.deployment_id and benchmarks[run.deployment_id]}) {run.state_name}, {began}"


def _local(time: datetime | None) -> str:
    return "?" if time is None else f"{time.astimezone():%Y-%m-%d %H:%M %Z}"
