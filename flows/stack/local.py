"""The local stack: brought up and taken down, as often as wanted."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from uuid import UUID

import psutil
from prefect.client.orchestration import SyncPrefectClient

from flows import hosts, locations
from flows.stack import automations, deployments, processes, queues, runs, settings, signals, state, workers
from flows.stack import server as servers
from flows.stack.deployments import Declaration
from flows.stack.pools import Pools, ensure, ensure_limits, specs
from flows.stack.server import API_ERRORS, DEFAULT_PORTS, PATIENCE_SECONDS, Server
from flows.stack.state import State
from flows.stack.terminal import say
from tasks.domain.refusal import Refusal
from tasks.results.environment import hostname

DEFAULT_POOLS = Pools()


@dataclass(frozen=True, kw_only=True, slots=True)
class Stack:
    """The stack as `up` leaves it."""

    server: Server
    was_running: bool
    """Whether any part of it ran before the call."""
    started: tuple[str, ...]
    """The parts that the call started; none where everything was up already."""


def up(*, ports: str = DEFAULT_PORTS, pools: Pools = DEFAULT_POOLS) -> Stack:
    """Bring up what is not up: server, work pools, this host's queues, limits, automations, deployments, workers.

    Raises Refusal, and KeyboardInterrupt on a signal; then everything that this call started has ended again.
    """
    wanted_ports, declaration = servers.parse_ports(ports), deployments.load(pools)
    host = hosts.check_name(hostname())
    with state.locked(), state.reserved(), signals.interruptible():
        earlier, before = state.read(), processes.parts()
        if earlier is None or not before:  # what is left has lost its stack
            processes.sweep()
            before = {}
        ascent = _Ascent(
            ports=wanted_ports, pools=pools, host=host, declaration=declaration, earlier=earlier, before=before
        )
        try:
            server = ascent.climb()
        except BaseException as error:
            with signals.uninterrupted():
                ascent.undo()
            if isinstance(error, API_ERRORS):
                raise Refusal(f"Prefect's API failed ({type(error).__name__}: {error}); try again") from error
            raise
        started = tuple(sorted(ascent.started))
    say(f"{'The stack is up' if started else 'The stack is up already'}: {server.ui_url()}")
    return Stack(server=server, was_running=bool(before), started=started)


def down() -> bool:
    """Stop what `up` started, and everything below it; whether anything ran. A user's server is never stopped."""
    with state.locked(), state.reserved(), signals.uninterrupted():
        is_running = bool(processes.marked())
        if is_running:
            if found := state.read():
                settle(found)
            workers_left = processes.parts()
            server = workers_left.pop(servers.NAME, None)
            say("Stopping the workers")  # first: they say good-bye to the server
            processes.stop(workers_left.values())
            if server:
                say("Stopping the server")
                processes.stop([server])
            processes.sweep()
        say("The stack is down" if is_running else "Nothing is running")
        state.remove()
        settings.remove()
        return is_running


def settle(found: State) -> None:
    """Close the host's queues and cancel the flow runs of this root's processes; a server that is away is left alone.

    Says what could not be done: the processes end all the same.
    """
    if found.server.failure(PATIENCE_SECONDS) is not None:
        return
    ids, trial = processes.flow_runs(), found.specs[-1]
    try:
        with found.server.connected() as client:
            queues.pause(client, trial.pool, found.host, trial.worker)
            if ids:
                say(f"Cancelling {len(ids)} running flow runs (3 to 20 s)")
                runs.cancel(client, ids)
    except API_ERRORS as error:
        say(f"Not all of them could be cancelled ({type(error).__name__}: {error}); their processes end all the same")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Ascent:
    """One bringing-up of the stack: starts what is missing, and can undo exactly that."""

    ports: range
    pools: Pools
    host: str
    declaration: Declaration
    earlier: State | None
    """What an earlier call recorded."""
    before: dict[str, psutil.Process]
    """The parts that an earlier call started and that are alive."""

    @property
    def started(self) -> dict[str, psutil.Process]:
        """The living parts that this call started."""
        return {name: process for name, process in processes.parts().items() if self.before.get(name) != process}

    def climb(self) -> Server:
        """Bring up everything that is missing; the server. Raises Refusal."""
        server = self._server()
        with server.connected() as client:
            known, wanted, here = deployments.find(client, self.declaration), specs(self.pools, self.host), hosts.here()
            ensure(client, wanted)
            queues.ensure(client, self.pools.trial, here, wanted[-1].worker)
            ensure_limits(client, self.host)
            automations.ensure(client, server.ui_url())
            reached = State(server=server, pools=self.pools, host=self.host)
            deployed = self.earlier.deployed if self.earlier and self.earlier.server == server else None
            if deployed != self.declaration.digest or known.keys() != self.declaration.by_name.keys():
                state.write(reached)
                deployments.deploy(self.declaration, server)
                known = deployments.find(client, self.declaration)
            state.write(replace(reached, deployed=self.declaration.digest))
            alive = processes.parts()
            if missing := [spec for spec in wanted if spec.part not in alive]:
                _tidy(client, server, known.values(), none_alive=len(missing) == len(wanted))
                workers.start(client, server, missing, here.address)
        return server

    def undo(self) -> None:
        """End what this call started, and restore what was recorded before."""
        processes.stop(self.started.values())
        if self.earlier and self.before:
            state.write(self.earlier)
        else:
            processes.sweep()
            state.remove()
            settings.remove()

    def _server(self) -> Server:
        """The server to use, alive; raises Refusal where the stack runs already, but for another one or otherwise."""
        named = settings.named_server()
        if self.earlier and self.before:
            running = self.earlier.server
            is_same = running.is_ours if named is None else running.api_url == named.api_url
            if not is_same or (self.earlier.pools, self.earlier.host) != (self.pools, self.host):
                whom = "a server of its own" if named is None else named.api_url
                raise Refusal(
                    f"The stack of {locations.root()} runs for {running.api_url} with the work pools "
                    f"{self.earlier.pools} as host {self.earlier.host}, and now {whom} with {self.pools} as host "
                    f"{self.host} is asked for; stop it first: `stratbench down`"
                )
            named = None if running.is_ours else running
        if named is None:
            return self._our_server()
        named.refuse_silent()
        settings.remove()  # left over from our own server, it would win over the user's profile
        return named

    def _our_server(self) -> Server:
        settings.refuse_foreign()
        earlier = self.earlier.server if self.earlier and self.earlier.server.is_ours else None
        process = self.before.get(servers.NAME)
        if earlier and process and earlier.answers(process):
            return earlier
        preferred = [earlier.port] if earlier and (self.before or earlier.port in self.ports) else []
        automations.grant_time()
        server = servers.start(self.ports, preferred)
        if server != earlier:  # workers that live on know the old address only
            processes.stop(self.before.values())
        settings.write(server.api_url)
        return server


def _tidy(client: SyncPrefectClient, server: Server, deployed: Iterable[UUID], *, none_alive: bool) -> None:
    """End the runs of our deployments that nobody goes on with; `none_alive` of our workers is."""
    if server.is_ours and none_alive and (num_lost := runs.settle_lost(client, deployed)):
        say(f"Marked {num_lost} flow runs as crashed: the stack ended while they went on")
    if num_orphans := runs.cancel_orphans(client, deployed):
        say(f"Cancelled {num_orphans} waiting trials of benchmarks that have ended")
    if late := runs.cancel_late(client, deployed):
        say(f"Cancelled {len(late)} scheduled runs that are over an hour late")
        runs.announce_missed(client, late, server.ui_url())
