"""Hosts: the machines that train, each with two work queues in the pool of the trials."""

import os
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import Worker, WorkQueue
from prefect.settings import get_current_settings
from pydantic import TypeAdapter, ValidationError

from tasks.domain.device import Devices
from tasks.domain.refusal import Refusal
from tasks.results.environment import Environment, describe_environment, find_devices, hostname
from tasks.results.run import NAME_RULE
from tasks.training.cluster import free_addresses

NAME = "STRATBENCH_HOST"
"""Environment variable: this host's name."""
ADDRESS = "STRATBENCH_ADDRESS"
"""Environment variable: under which other hosts reach the training processes of this one."""
RANKS = ".ranks"
"""Ending of the queue for ranks of trials that span several hosts: they never wait behind a trial."""
SEEN_SECONDS = 60.0
"""A host that was not heard of for so long is not online; its worker polls every second and beats every 30 s."""
PAGE_SIZE = 200
"""Queues that the server tells of at once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Host:
    """What a host offers. A field that is added later needs a default: hosts of other releases are read as well."""

    name: str
    address: str
    environment: Environment
    devices: Devices
    release: str
    """Version of stratbench."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """What the description of a host's queue says."""

    host: Host
    holder: str
    """Name of the Prefect worker that serves the host."""
    left_at: datetime | None = None
    """When the host took its leave; null while it is there, or where it was lost."""


_ENTRY = TypeAdapter(Entry)


def here() -> Host:
    """This host, for the Prefect API of the current settings; raises Refusal for a name or an address that is unfit."""
    environment, address = describe_environment(), own_address()
    try:
        free_addresses(address, 1)
    except OSError as error:
        raise Refusal(
            f"address={address!r} is neither an IPv4 address of this host nor the name of one, without a port "
            f"({error}); nothing that trains here could be reached; name one in {ADDRESS}"
        ) from error
    return Host(
        name=check_name(hostname()),
        address=address,
        environment=environment,
        devices=find_devices(),
        release=environment.stratbench_version,
    )


def check_name(name: str) -> str:
    """That name; raises Refusal unless it is fit to name a work queue."""
    if not NAME_RULE.fullmatch(name) or name.endswith(RANKS):
        raise Refusal(
            f"host={name!r} must be 1 to 100 letters, digits, dots, dashes and underscores, beginning with a letter or "
            f"digit and not ending in {RANKS!r}; name this host in {NAME}"
        )
    return name


def rank_queue(name: str) -> str:
    """Queue of the ranks that a host trains for trials that span several hosts."""
    return f"{name}{RANKS}"


def encode(host: Host, holder: str = "", left_at: datetime | None = None) -> str:
    """Description of the host's queue: one line of JSON."""
    return _ENTRY.dump_json(Entry(host=host, holder=holder, left_at=left_at)).decode()


def read_entry(text: str | None) -> Entry | None:
    """All that a queue's description says; None where it is not one of ours."""
    try:
        return _ENTRY.validate_json(text or "")
    except ValidationError:
        return None


def known(queues: Iterable[WorkQueue]) -> Iterator[tuple[WorkQueue, Entry]]:
    """The queues that are those of a host's trials, with what they say, by name."""
    for queue in sorted(queues, key=lambda queue: queue.name):
        entry = read_entry(queue.description)
        if entry is not None and entry.host.name == queue.name:
            yield queue, entry


def seen_at(queue: WorkQueue, entry: Entry, workers: Iterable[Worker]) -> datetime | None:
    """When the server last heard of the host, by a poll of its queue or by the heartbeat of its worker.

    Polls are noted by a task in the background, which Prefect 3 drops while another one of the pool goes on.
    """
    beats = [worker.last_heartbeat_time for worker in workers if worker.name == entry.holder]
    return max((time for time in (queue.last_polled, *beats) if time is not None), default=None)


def is_online(queue: WorkQueue, entry: Entry, workers: Iterable[Worker]) -> bool:
    """Whether the host has not taken its leave, and was heard of lately; `workers` are those of its pool."""
    seen = seen_at(queue, entry, workers)
    if entry.left_at is not None or seen is None:
        return False
    return datetime.now(UTC) - seen <= timedelta(seconds=SEEN_SECONDS)


def is_available(queue: WorkQueue, entry: Entry, workers: Iterable[Worker]) -> bool:
    """Whether the host is online and takes runs up: a paused queue is polled as well, but hands none out."""
    return is_online(queue, entry, workers) and not queue.is_paused


async def online(client: PrefectClient, pool: str) -> tuple[Host, ...]:
    """The available hosts of that pool, by name; raises Prefect's ObjectNotFound where it has no pool."""
    workers = await client.read_workers_for_work_pool(pool)
    found = known(await _queues(client, pool))
    return tuple(entry.host for queue, entry in found if is_available(queue, entry, workers))


async def has_any(client: PrefectClient, pool: str) -> bool:
    """Whether a host has ever joined that pool."""
    return any(known(await _queues(client, pool)))


async def _queues(client: PrefectClient, pool: str) -> list[WorkQueue]:
    queues: list[WorkQueue] = []
    while page := await client.read_work_queues(pool, limit=PAGE_SIZE, offset=len(queues)):
        queues += page
    return queues


def own_address() -> str:
    """`STRATBENCH_ADDRESS`, or the local address from which the API of the current settings is reached.

    Raises Refusal where it cannot be told.
    """
    api_url = get_current_settings().api.url
    if given := os.environ.get(ADDRESS):
        return given
    url = urlsplit(api_url or "http://127.0.0.1")
    try:
        port = url.port or (443 if url.scheme == "https" else 80)
        *_, target = socket.getaddrinfo(url.hostname, port, socket.AF_INET)[0]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect(target)  # a datagram socket: it chooses the route and sends nothing
            return str(probe.getsockname()[0])
    except OSError as error:
        raise Refusal(
            f"the address from which this host reaches {api_url} cannot be told ({error}); name it in {ADDRESS}"
        ) from error
