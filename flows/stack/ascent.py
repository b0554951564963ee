"""One bringing-up of the stack: starts what is missing, and can undo exactly that."""

import dataclasses
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient

from flows import locations
from flows.stack import deployments, limits, pools, processes, runs, server, settings_file, state, workers
from flows.stack.choice import NamedServer
from flows.stack.deployments import Declaration
from flows.stack.error import StackError
from flows.stack.pools import Pools
from flows.stack.ports import PortRange
from flows.stack.state import Part, State
from flows.stack.target import Target

BUSY_SECONDS = 30.0
"""How long our own server may be too busy to answer before that is an error."""


@dataclass(kw_only=True, slots=True)
class Ascent:
    """What one call of `up` wants, found and did."""

    ports: PortRange
    pool_names: Pools
    declaration: Declaration
    say: Callable[[str], None]
    start_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    earlier: State | None = field(default_factory=state.read)
    started: list[str] = field(default_factory=list)
    """The parts that this call started."""

    def climb(self, named: NamedServer | None) -> Target:
        """Bring up everything for that server of the user's, or for our own; returns the server. Raises StackError."""
        named = self._refuse_other(named)
        if named is None:
            settings_file.refuse_foreign()
            target = self._our_server()
            settings_file.write(target.api_url)
        else:
            server.refuse_silent(named.api_url, named.named_by)
            settings_file.remove()  # left over from our own server, it would win over the user's profile
            target = Target(api_url=named.api_url, is_ours=False)
            self._record(target)
        with target.connected() as client:
            known = deployments.find(client, self.declaration)
            pools.ensure(client, self.pool_names, self.say)
            limits.ensure(client, self.say)
            known = self._deploy(client, target, known)
            self._workers(client, target, tuple(known.values()))
        return target

    def undo(self) -> None:
        """End what this call started, and restore what was recorded before."""
        processes.stop(processes.marked(self.start_id))
        processes.sweep(self.start_id)
        if self.is_running:
            assert self.earlier is not None
            state.write(self.earlier)
        else:
            state.remove()
            settings_file.remove()

    @property
    def is_running(self) -> bool:
        """Whether any part that an earlier call started is alive."""
        return self.earlier is not None and any(processes.find(part) for part in self.earlier.parts)

    def _refuse_other(self, named: NamedServer | None) -> NamedServer | None:
        """The server to use; raises StackError where the stack runs already, but for another one or in other pools."""
        earlier = self.earlier
        if earlier is None or not self.is_running:
            return named
        if earlier.is_server_ours and named is not None and named.api_url == earlier.api_url:
            named = None  # the user names our own server
        wanted = None if named is None else named.api_url
        if wanted != (None if earlier.is_server_ours else earlier.api_url):
            whom = "a server of its own" if named is None else f"{named.api_url} ({named.named_by})"
            raise StackError(
                f"The stack of {locations.root()} runs for {earlier.api_url}, and now {whom} is asked for; "
                "stop it first: `stratbench down`"
            )
        if earlier.pools != self.pool_names:
            raise StackError(
                f"The stack of {locations.root()} runs with the work pools {earlier.pools}; "
                "stop it first: `stratbench down`"
            )
        return named

    def _alive(self, name: str) -> Part | None:
        part = self.earlier.part(name) if self.earlier else None
        return part if part is not None and processes.find(part) else None

    def _our_server(self) -> Target:
        earlier = self.earlier
        if earlier is not None and self._alive(server.NAME):
            target = Target(api_url=earlier.api_url, is_ours=True)
            self._wait_healthy(target)
            return target
        port = earlier.port if earlier else None
        if port is not None and not (self.is_running or self.ports.first <= port <= self.ports.last):
            port = None
        part, found = server.start(self.ports, port, self.start_id, self.say)
        if earlier is not None and found != earlier.port:  # workers that live on know the old address only
            old = (processes.find(part) for part in earlier.parts)
            processes.stop([process for process in old if process])
        self.started.append(server.NAME)
        target = Target(api_url=server.api_url(found), is_ours=True)
        self._record(target, part)
        return target

    def _wait_healthy(self, target: Target) -> None:
        deadline = time.monotonic() + BUSY_SECONDS
        while not target.is_healthy():
            if time.monotonic() > deadline:
                raise StackError(
                    f"The local Prefect server {target.api_url} runs, but has not answered for {BUSY_SECONDS:.0f} s; "
                    f"see {state.log_path(server.NAME)}, or start afresh: `stratbench down`"
                )
            time.sleep(0.5)

    def _record(self, target: Target, part: Part | None = None, *, deployed: str | None = None) -> None:
        """Keep on disk what is running, at every step: a killed command leaves nothing unknown behind."""
        found = state.read()
        if found is None or found.api_url != target.api_url:
            found = State(api_url=target.api_url, is_server_ours=target.is_ours, pools=self.pool_names)
        found = dataclasses.replace(found, deployed=deployed or found.deployed)
        state.write(found if part is None else found.with_part(part))

    def _deploy(self, client: SyncPrefectClient, target: Target, known: dict[str, UUID]) -> dict[str, UUID]:
        recorded = state.read()
        digest = self.declaration.digest
        if recorded and recorded.deployed == digest and known.keys() == set(self.declaration.names):
            return known
        deployments.deploy(self.declaration, target.environment, target.folder, self.say)
        self._record(target, deployed=digest)
        return deployments.find(client, self.declaration)

    def _workers(self, client: SyncPrefectClient, target: Target, deployed: tuple[UUID, ...]) -> None:
        wanted = workers.wanted(self.pool_names)
        missing = [each for each in wanted if not self._alive(each.part_name)]
        if not missing:
            return
        if target.is_ours and len(missing) == len(wanted) and (num_lost := runs.settle_lost(client, deployed)):
            self.say(f"Marked {num_lost} flow runs as crashed: the stack ended while they went on")
        if num_late := runs.cancel_late(client, deployed):
            self.say(f"Cancelled {num_late} scheduled runs that are over an hour late")
        self.say(f"Starting {' and '.join(f'the {each.part_name}' for each in missing)} (2 to 8 s)")
        heartbeats = [workers.last_heartbeat(client, each) for each in missing]
        parts = []
        for each in missing:
            part = workers.start(each, target.environment, target.folder, self.start_id)
            self.started.append(part.name)
            self._record(target, part)
            parts.append(part)
        for each, part, heartbeat in zip(missing, parts, heartbeats, strict=True):
            workers.wait_online(client, each, part, heartbeat)
