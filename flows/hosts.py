"""Hosts: the machines that train, each with two work queues in the pool of the trials."""

import ipaddress
import os
import re
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import WorkQueue
from prefect.settings import get_current_settings
from pydantic import TypeAdapter, ValidationError

from tasks.domain.device import Devices
from tasks.domain.refusal import Refusal
from tasks.results.environment import Environment, describe_environment, find_devices, hostname
from tasks.results.run import NAME_RULE

NAME = "STRATBENCH_HOST"
"""Environment variable: this host's name."""
ADDRESS = "STRATBENCH_ADDRESS"
"""Environment variable: under which other hosts reach the training processes of this one."""
RANKS = ".ranks"
"""Ending of the queue for ranks of trials that span several hosts: they never wait behind a trial."""
POLLED_SECONDS = 60.0
"""A host whose queue was not polled for so long is not online; its worker polls every second."""
PAGE_SIZE = 200
"""Queues that the server tells of at once."""

_HOST_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")


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
    environment = describe_environment()
    return Host(
        name=check_name(hostname()),
        address=own_address(),
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


def decode(text: str | None) -> Host | None:
    """The host that a queue's description tells of; None where it is not one of ours."""
    entry = read_entry(text)
    return None if entry is None else entry.host


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


def is_online(queue: WorkQueue, entry: Entry) -> bool:
    """Whether the host has not taken its leave, and its queue was polled lately."""
    if entry.left_at is not None or queue.last_polled is None:
        return False
    return datetime.now(UTC) - queue.last_polled <= timedelta(seconds=POLLED_SECONDS)


async def online(client: PrefectClient, pool: str) -> tuple[Host, ...]:
    """The hosts of that pool whose queues are being polled, by name; Prefect's ObjectNotFound where it has no pool."""
    return tuple(entry.host for queue, entry in known(await _queues(client, pool)) if is_online(queue, entry))


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

    Raises Refusal where it is unfit or cannot be told.
    """
    api_url = get_current_settings().api.url
    if given := os.environ.get(ADDRESS):
        if not (_is_ip(given) or _HOST_NAME.fullmatch(given)):
            raise Refusal(f"address={given!r} is neither an IP address nor a host name; name one without a port")
        return given
    url = urlsplit(api_url or "http://127.0.0.1")
    try:
        family, kind, protocol, _, target = socket.getaddrinfo(
            url.hostname, url.port or (443 if url.scheme == "https" else 80), type=socket.SOCK_DGRAM
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.connect(target)  # a datagram socket: it chooses the route and sends nothing
            return str(probe.getsockname()[0])
    except OSError as error:
        raise Refusal(
            f"the address from which this host reaches {api_url} cannot be told ({error}); name it in {ADDRESS}"
        ) from error


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
