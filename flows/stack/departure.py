"""Departure of this host: nothing begins on it any more, and what goes on here is cancelled."""

import httpx
from prefect.exceptions import PrefectException

from flows.stack import processes, queues, runs
from flows.stack.server import PATIENCE_SECONDS
from flows.stack.state import State
from flows.stack.terminal import say


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
    except (httpx.HTTPError, PrefectException) as error:
        say(f"Not all of them could be cancelled ({type(error).__name__}: {error}); their processes end all the same")
