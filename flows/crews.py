"""Crews: the machines that train a block together. A block stays with its crew, blocks are spread over the crews."""

import asyncio
import time
from dataclasses import dataclass

from prefect.client.orchestration import get_client

from flows import hosts
from flows.hosts import Host
from flows.patience import Log, patiently
from tasks.domain.dataset import PreparedDataset
from tasks.domain.device import Devices
from tasks.domain.refusal import Refusal
from tasks.domain.sweep import Sweep
from tasks.results.environment import Environment, describe_environment, find_devices

TRIAL = "trial/gpu"
"""The deployment of the flow `trial`."""
WAIT_SECONDS = 180.0
"""Patience with machines that are away or paused: a worker may be starting again."""
POLL_SECONDS = 5.0
CHECK_SECONDS = 20.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Crew:
    """The machines of one block."""

    pool: str | None
    """Work pool whose queues are the machines; None: the pool's own queue, where containers train."""
    environment: Environment
    """Of the chief, the machine of rank 0, on which all trials but those of several machines train alone."""
    devices: Devices
    """Of the chief."""
    others: tuple[str, ...] = ()
    """Names of the further machines."""

    @property
    def queue(self) -> str | None:
        """Work queue of the trials."""
        return self.environment.hostname if self.pool else None

    @property
    def hosts(self) -> tuple[str, ...]:
        """Names of its machines, the chief's first."""
        return (self.environment.hostname, *self.others)


async def muster(sweep: Sweep, data: PreparedDataset, logger: Log) -> tuple[Crew, ...]:
    """The crews of the machines that are available and can serve the sweep; machines that are left over stay idle.

    Raises Refusal where there is none.
    """
    async with get_client() as client:
        pool = (await client.read_deployment_by_name(TRIAL)).work_pool_name or ""
        if not await hosts.has_any(client, pool):
            if sweep.num_hosts > 1:
                raise Refusal(
                    f"num_hosts={sweep.num_hosts} needs hosts, and the work pool {pool!r} has none; join them by "
                    "`stratbench worker`"
                )
            devices = find_devices()
            sweep.check(devices, data)
            return (Crew(pool=None, environment=describe_environment(), devices=devices),)
    able, refusals = [], []
    for host in (found := await _wait(sweep.num_hosts, pool, logger)):
        try:
            sweep.check(host.devices, data)
            able.append(host)
        except Refusal as refusal:
            refusals.append(refusal)
            logger.warning(f"{host.name} is left out: {refusal}")
    if len(refusals) == len(found) == 1:
        raise refusals[0]
    if len(able) < sweep.num_hosts:
        raise Refusal(
            f"num_hosts={sweep.num_hosts} needs more than the {len(able)} machines of the work pool {pool!r} that are "
            f"online, not paused, and can serve the run{''.join(f'; {each}' for each in refusals[:1])}; join one by "
            "`stratbench worker`"
        )
    kinds = {host.devices.preferred: host.name for host in able}
    if sweep.device is None and len(kinds) > 1:
        both = " and ".join(f"{name} trains on {kind}" for kind, name in kinds.items())
        raise Refusal(f"{both}: say by device which of them is meant")
    groups = [able[first : first + sweep.num_hosts] for first in range(0, len(able), sweep.num_hosts)]
    return tuple(
        Crew(
            pool=pool, environment=chief.environment, devices=chief.devices, others=tuple(each.name for each in others)
        )
        for chief, *others in groups
        if len(others) == sweep.num_hosts - 1
    )


async def _wait(num_hosts: int, pool: str, logger: Log) -> tuple[Host, ...]:
    """The machines that are available, once there are enough, or after a while as many as there are."""
    deadline = time.monotonic() + WAIT_SECONDS
    while len(found := await patiently(lambda: _available(pool), logger)) < num_hosts and time.monotonic() < deadline:
        logger.info(f"waiting for {num_hosts} machines of the work pool {pool!r}; online and not paused: {len(found)}")
        await asyncio.sleep(POLL_SECONDS)
    return found


async def _available(pool: str) -> tuple[Host, ...]:
    async with get_client() as client:
        return await hosts.online(client, pool)


class Attendance:
    """Which machines of a crew are away or paused, and for how long."""

    def __init__(self, crew: Crew) -> None:
        self._crew = crew
        self._away_since: dict[str, float] = {}
        self._next = 0.0

    async def absent(self) -> frozenset[str]:
        """Those that have been away or paused for WAIT_SECONDS; the server is asked every CHECK_SECONDS at most."""
        now = time.monotonic()
        if self._crew.pool and now >= self._next:
            there = {host.name for host in await _available(self._crew.pool)}
            away = [name for name in self._crew.hosts if name not in there]
            self._away_since = {name: self._away_since.get(name, now) for name in away}
            self._next = now + CHECK_SECONDS
        return frozenset(name for name, since in self._away_since.items() if now - since >= WAIT_SECONDS)

    async def are_all_there(self, logger: Log) -> bool:
        """Whether all are there, after a while in which they may come back; an outage of the API is waited out."""
        while True:
            absent = await patiently(self.absent, logger)
            if not self._away_since or absent:
                return not absent
            await asyncio.sleep(CHECK_SECONDS)
