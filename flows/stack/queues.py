"""Work queues of a host in the pool of the trials: one for its trials, one for its ranks, one run at a time in each."""

import shlex
from collections.abc import Iterator
from datetime import UTC, datetime

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import WorkQueue
from prefect.exceptions import ObjectNotFound

from flows import hosts
from flows.hosts import Entry, Host, rank_queue
from flows.stack.pools import MARK
from flows.stack.terminal import say
from tasks.domain.refusal import Refusal

LIMIT = 1
"""Runs at a time in each queue."""


def ensure(client: SyncPrefectClient, pool: str, host: Host, holder: str) -> None:
    """Create the host's queues where they are not there, renew those of ours, for the Prefect worker `holder`.

    Raises Refusal, and alters nothing, where a queue of that name is not ours or the host is held by another worker.
    """
    purpose = f"What {host.name} trains for trials that span several hosts. {MARK}"
    wanted = {host.name: hosts.encode(host, holder), rank_queue(host.name): purpose}
    found = {name: _read(client, pool, name) for name in wanted}
    for name, queue in found.items():
        if queue is not None:
            _refuse(client, pool, host, holder, name, queue)
    for name, description in wanted.items():
        queue = found[name]
        if queue is None:
            client.create_work_queue(name, description=description, concurrency_limit=LIMIT, work_pool_name=pool)
            say(f"Created the work queue {name!r} in the pool {pool!r}")
        elif (queue.description, queue.concurrency_limit, queue.is_paused) != (description, LIMIT, False):
            client.update_work_queue(queue.id, description=description, concurrency_limit=LIMIT, is_paused=False)
            say(f"Renewed the work queue {name!r} in the pool {pool!r}")


def pause(client: SyncPrefectClient, pool: str, name: str, holder: str) -> None:
    """Let nothing begin on that host any more: it takes its leave. A host that another worker holds is left alone."""
    queue, ranks = _read(client, pool, name), _read(client, pool, rank_queue(name))
    entry = hosts.read_entry(queue.description) if queue else None
    if queue is None or entry is None or entry.holder != holder:
        return
    farewell = hosts.encode(entry.host, holder, left_at=datetime.now(UTC))
    client.update_work_queue(queue.id, description=farewell, is_paused=True)
    if ranks:
        client.update_work_queue(ranks.id, is_paused=True)


def read_all(client: SyncPrefectClient, pool: str) -> list[WorkQueue]:
    """Every queue of that pool."""
    found: list[WorkQueue] = []
    while page := client.read_work_queues(pool, limit=hosts.PAGE_SIZE, offset=len(found)):
        found += page
    return found


def faults(pool: str, entry: Entry, queues: dict[str, WorkQueue]) -> Iterator[str]:
    """Of each queue of a host that has not left, what is not as it should be, and the way out."""
    host = entry.host
    for name in (host.name, rank_queue(host.name)):
        quoted, in_pool = shlex.quote(name), f"--pool {shlex.quote(pool)}"
        if (queue := queues.get(name)) is None:
            yield f"the work queue {name!r} is missing; start the worker of {host.name} again"
            continue
        if queue.concurrency_limit != LIMIT:
            command = f"prefect work-queue set-concurrency-limit {quoted} {LIMIT} {in_pool}"
            yield f"the work queue {name!r} admits {queue.concurrency_limit} runs, not {LIMIT}; change it: `{command}`"
        if queue.is_paused:
            yield f"the work queue {name!r} is paused; resume it: `prefect work-queue resume {quoted} {in_pool}`"


def _refuse(client: SyncPrefectClient, pool: str, host: Host, holder: str, name: str, queue: WorkQueue) -> None:
    entry = hosts.read_entry(queue.description)
    is_ours = entry is not None if name == host.name else MARK in (queue.description or "")
    if not is_ours:
        raise Refusal(
            f"The work queue {name!r} of the pool {pool!r} exists and is not ours, so it is left alone; "
            f"give this host another name: `--host NAME` or {hosts.NAME}"
        )
    if entry is None or (entry.holder, entry.host.address) == (holder, host.address):
        return
    if hosts.is_online(queue, entry, client.read_workers_for_work_pool(pool)):
        raise Refusal(
            f"host={host.name} is held by the worker {entry.holder!r} at {entry.host.address}, which is online; "
            f"stop that one, or give this host another name: `--host NAME` or {hosts.NAME}"
        )


def _read(client: SyncPrefectClient, pool: str, name: str) -> WorkQueue | None:
    try:
        return client.read_work_queue_by_name(name, pool)
    except ObjectNotFound:
        return None
