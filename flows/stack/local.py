"""The local stack: brought up and taken down, as often as wanted."""

import itertools
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx
import psutil
from prefect.exceptions import PrefectException

from flows import locations
from flows.stack import deployments, processes, runs, server, settings_file, signals, state
from flows.stack.ascent import Ascent
from flows.stack.choice import named_server
from flows.stack.error import StackError
from flows.stack.pools import Pools
from flows.stack.ports import DEFAULT_PORTS, PortRange, parse_ports
from flows.stack.target import Target

Say = Callable[[str], None]
speak: Say = partial(print, flush=True)
DEFAULT_POOLS = Pools()


@dataclass(frozen=True, kw_only=True, slots=True)
class Stack:
    """The stack as `up` leaves it."""

    target: Target
    """Its server."""
    ui_url: str
    """Address below which the pages of Prefect's user interface are."""
    was_running: bool
    """Whether any part of it ran before the call."""
    started: tuple[str, ...]
    """The parts that the call started; none where everything was up already."""


def up(
    *,
    ports: PortRange | str = DEFAULT_PORTS,
    pools: Pools = DEFAULT_POOLS,
    prefect_file: Path | None = None,
    say: Say = speak,
) -> Stack:
    """Bring up what is not up: server, work pools, limits, deployments, workers.

    Raises StackError, and KeyboardInterrupt on a signal; then everything that this call started has ended again.
    """
    ports = parse_ports(ports) if isinstance(ports, str) else ports
    declaration = deployments.load(prefect_file or deployments.default_file(), pools)
    named = named_server(locations.root(), os.environ)
    with state.locked(), signals.interruptible():
        ascent = Ascent(ports=ports, pool_names=pools, declaration=declaration, say=say)
        was_running = ascent.is_running
        try:
            target = ascent.climb(named)
        except BaseException as error:
            with signals.uninterrupted():
                ascent.undo()
            if isinstance(error, httpx.HTTPError | PrefectException):
                raise StackError(f"Prefect's API failed ({type(error).__name__}: {error}); try again") from error
            raise
    ui_url = target.ui_url()
    say(f"{'The stack is up' if ascent.started else 'The stack is up already'}: {ui_url}")
    return Stack(target=target, ui_url=ui_url, was_running=was_running, started=tuple(ascent.started))


def down(*, say: Say = speak) -> bool:
    """Stop what `up` started, and everything below it; whether anything ran. A user's server is never touched."""
    with state.locked(), signals.uninterrupted():
        everything = _living()
        if everything:
            _cancel_runs(everything, say)
            by_part = processes.by_part(everything)
            servers = by_part.pop(server.NAME, [])
            if by_part:
                say("Stopping the workers")  # first: they say good-bye to the server
                processes.stop(itertools.chain.from_iterable(by_part.values()))
            if servers:
                say("Stopping the server")
                processes.stop(servers)
            processes.sweep()
        say("The stack is down" if everything else "Nothing is running")
        state.remove()
        settings_file.remove()
        return bool(everything)


def _living() -> set[psutil.Process]:
    """Every process of this root's stack: the recorded ones, and those that only their marks give away."""
    found = state.read()
    recorded = (processes.find(part) for part in found.parts) if found else ()
    return {*filter(None, recorded), *processes.marked()}


def _cancel_runs(everything: set[psutil.Process], say: Say) -> None:
    found = state.read()
    ids = processes.flow_runs(everything)
    if found is None or not ids:
        return
    target = Target(api_url=found.api_url, is_ours=found.is_server_ours)
    if not target.is_healthy():
        return
    say(f"Cancelling {len(ids)} running flow runs (3 to 20 s)")
    try:
        with target.connected() as client:
            runs.cancel(client, ids)
    except (httpx.HTTPError, PrefectException) as error:
        say(f"Not all of them could be cancelled ({type(error).__name__}: {error}); their processes end all the same")
