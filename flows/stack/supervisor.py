"""`stratbench worker`: this host at the disposal of a Prefect server, until a signal ends it."""

import os
import signal
import sys
import time
from contextlib import ExitStack
from typing import NoReturn

from prefect.client.orchestration import SyncPrefectClient
from prefect.exceptions import ObjectNotFound

from flows import hosts, locations
from flows.hosts import Host
from flows.names import TAG, TRIAL_POOL
from flows.stack import processes, queues, settings, signals, state, workers
from flows.stack.local import settle
from flows.stack.pools import Pools, Spec, ensure_limits
from flows.stack.server import API_ERRORS, Server
from flows.stack.state import State
from flows.stack.terminal import say
from tasks.domain.refusal import Refusal
from tasks.results.environment import hostname

DEPLOYMENTS = ("trial/gpu", "rank/gpu")
"""What a host trains; submitted by the flows `benchmark` and `trial`."""
MAX_PAUSE_SECONDS = 30.0
STEADY_SECONDS = 60.0
"""A Prefect worker that lived so long counts as sound: the next pause is the shortest again."""


def serve(pool: str = TRIAL_POOL) -> NoReturn:
    """Join this host to the server that the Prefect settings name, and keep a Prefect worker alive for it.

    Ends by KeyboardInterrupt, which names the signal, when the host has left and no process of it lives any more.
    Raises Refusal where the host cannot join; then nothing was started.
    """
    with signals.interruptible(), ExitStack() as stack:
        joined = None
        try:
            with state.locked():
                stack.enter_context(state.reserved())
                joined, host = _join(pool)
            say(f"Host {host.name} at {host.address} trains for {joined.server.api_url}; Ctrl-C ends it")
            _keep(joined, host)
        except KeyboardInterrupt as interrupt:
            if "SIGHUP" in interrupt.args:  # its terminal is gone: what is said from here on must not fail
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise
        finally:
            if joined is not None:
                with signals.uninterrupted(), state.locked():
                    _leave(joined)


def _join(pool: str) -> tuple[State, Host]:
    """Check what has to be there and create what is this host's own; raises Refusal before anything is altered."""
    earlier, name = state.read(), hosts.check_name(hostname())
    if earlier is not None and not earlier.is_host_only and processes.parts():
        raise Refusal(
            f"The stack of {locations.root()} is up and trains on this host itself; stop it first, `stratbench down`, "
            "or name another folder in STRATBENCH_ROOT"
        )
    server = settings.named_server()
    if server is None:
        raise Refusal(
            "no Prefect server is named here; run `stratbench up` on the machine that keeps the server, or name its "
            "server: PREFECT_API_URL"
        )
    server.refuse_silent()
    processes.sweep()  # left by a worker that was killed
    joined = State(server=server, pools=Pools(trial=pool), host=name, is_host_only=True)
    (trial,) = joined.specs
    try:
        with server.connected() as client:
            _check(client, trial, server)
            host = hosts.here()
            queues.ensure(client, pool, host, trial.worker)
            ensure_limits(client, name)
    except API_ERRORS as error:
        raise Refusal(f"Prefect's API failed ({type(error).__name__}: {error}); try again") from error
    state.write(joined)
    return joined, host


def _check(client: SyncPrefectClient, trial: Spec, server: Server) -> None:
    """Raise Refusal unless the pool and our deployments in it are on the server."""
    way_out = "run `stratbench up` of this release on the machine that keeps the benchmark"
    try:
        trial.refuse(client.read_work_pool(trial.pool))
    except ObjectNotFound as error:
        raise Refusal(f"The work pool {trial.pool!r} does not exist on {server.api_url}; {way_out}") from error
    for name in DEPLOYMENTS:
        try:
            deployment = client.read_deployment_by_name(name)
        except ObjectNotFound as error:
            raise Refusal(f"The deployment {name!r} does not exist on {server.api_url}; {way_out}") from error
        if TAG not in deployment.tags or deployment.work_pool_name != trial.pool:
            raise Refusal(
                f"The deployment {name!r} is not ours or not in the work pool {trial.pool!r} (it has the tags "
                f"{deployment.tags} and the pool {deployment.work_pool_name!r}); name its pool by `--gpu-pool`, or "
                f"{way_out}"
            )


def _keep(joined: State, host: Host) -> NoReturn:
    """Run the Prefect worker, and run it again where it ends."""
    (trial,) = joined.specs
    num_lost = 0
    while True:
        began = time.monotonic()
        code = workers.launch(joined.server, trial, host.address, is_logged=False).wait()
        num_lost = 1 if time.monotonic() - began > STEADY_SECONDS else num_lost + 1
        pause = min(MAX_PAUSE_SECONDS, 2.0 ** (num_lost - 1))
        end = f"was ended by {signal.Signals(-code).name}" if code and code < 0 else f"ended with {code}"
        say(f"The Prefect worker {end}; it starts again in {pause:.0f} s")
        time.sleep(pause)


def _leave(joined: State) -> None:
    """Take the host's leave of the server, and end every process of it."""
    say(f"Host {joined.host} leaves {joined.server.api_url}")
    settle(joined)
    processes.stop(processes.parts().values())
    processes.sweep()
    state.remove()
    say(f"Host {joined.host} has left")
