"""What the local stack is doing now."""

from collections.abc import Iterator
from datetime import datetime
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import ObjectNotFound, PrefectException

from flows import locations
from flows.stack import deployments, processes, runs, server, state, workers
from flows.stack.local import Say, speak
from flows.stack.pools import specs
from flows.stack.state import State
from flows.stack.target import Target

NUM_LATEST = 5


def status(*, say: Say = speak) -> bool:
    """Say what runs and what comes next; whether the stack is healthy: the server answers, all workers are online."""
    found = state.read()
    if found is None:
        orphans = processes.marked()
        rest = f", but {len(orphans)} processes are left over; `stratbench down` ends them" if orphans else ""
        say(f"Nothing is running in {locations.root()}{rest}; `stratbench up` starts the stack")
        return False
    target = Target(api_url=found.api_url, is_ours=found.is_server_ours)
    is_healthy = target.is_healthy()
    whose = "local" if target.is_ours else "yours"
    say(f"server     {target.api_url} ({whose}): {'healthy' if is_healthy else 'DOES NOT ANSWER'}")
    if not is_healthy:
        part = found.part(server.NAME)
        if part is not None and processes.find(part) is None:
            say(f"           its process ended; see {state.log_path(server.NAME)}, or start it again: `stratbench up`")
        return False
    say(f"pages      {target.ui_url()}")
    try:
        with target.connected() as client:
            are_online = [_say_worker(client, found, worker, say) for worker in workers.wanted(found.pools)]
            for line in (*_pool_lines(client, found), *_run_lines(client, found)):
                say(line)
    except (httpx.HTTPError, PrefectException) as error:
        say(f"server     fails: {type(error).__name__}: {error}")
        return False
    return all(are_online)


def _say_worker(client: SyncPrefectClient, found: State, worker: workers.WantedWorker, say: Say) -> bool:
    part = found.part(worker.part_name)
    is_alive = part is not None and processes.find(part) is not None
    is_online = is_alive and workers.is_online(client, worker)
    word = "online" if is_online else "NOT ONLINE" if is_alive else "NOT RUNNING; `stratbench up` starts it"
    say(f"worker     {worker.name}: {word}")
    return is_online


def _pool_lines(client: SyncPrefectClient, found: State) -> Iterator[str]:
    for spec in specs(found.pools):
        try:
            pool = client.read_work_pool(spec.name)
        except ObjectNotFound:
            yield f"pool       {spec.name}: MISSING; `stratbench up` creates it"
            continue
        limit = "any number of runs" if pool.concurrency_limit is None else f"{pool.concurrency_limit} run at a time"
        yield f"pool       {spec.name}: {limit}{', PAUSED' if pool.is_paused else ''}"


def _run_lines(client: SyncPrefectClient, found: State) -> Iterator[str]:
    declaration = deployments.load(deployments.default_file(), found.pools)
    known = deployments.find(client, declaration)
    for name in declaration.scheduled_names:
        run = runs.next_scheduled(client, known[name]) if name in known else None
        when = _local(run.next_scheduled_start_time) if run else "none is scheduled"
        yield f"next       {name}: {when}"
    benchmarks = [known[name] for name in known if name.startswith("benchmark/")]
    latest: list[FlowRun] = runs.latest(client, benchmarks, NUM_LATEST) if benchmarks else []
    names: dict[UUID, str] = {identity: name for name, identity in known.items()}
    for run in latest:
        began = _local(run.start_time or run.expected_start_time)
        deployment = names.get(run.deployment_id, "") if run.deployment_id else ""
        yield f"run        {run.name} ({deployment}) {run.state_name}, {began}"


def _local(time: datetime | None) -> str:
    return "?" if time is None else f"{time.astimezone():%Y-%m-%d %H:%M %Z}"
