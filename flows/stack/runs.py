"""Flow runs of our deployments: the ones that went on when the stack ended, and the ones that nobody waits for."""

import time
from collections.abc import Iterable
from datetime import UTC, datetime
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.states import Cancelled, Cancelling, Crashed

from flows.events import Links, missed, send_now
from flows.names import LATEST_START, NIGHTLY
from flows.stack.server import API_ERRORS
from flows.stack.terminal import say

WAITING = (StateType.SCHEDULED, StateType.PENDING, StateType.PAUSED)
GOING_ON = (StateType.RUNNING, StateType.CANCELLING)
TOO_LATE = "not started within an hour of its time; not measured, not caught up"
NUM_ENDED = 50
"""Runs that ended badly, the latest ones, whose trials are looked for."""


def named(client: SyncPrefectClient, name: str, deployment: UUID) -> FlowRun | None:
    """The latest run of that name."""
    found = _read(
        client, sort=FlowRunSort.EXPECTED_START_TIME_DESC, name=_any([name]), deployment_id=_any([deployment])
    )
    return next(iter(found), None)


def latest(client: SyncPrefectClient, deployments: Iterable[UUID], limit: int) -> list[FlowRun]:
    """The runs that began last; newest first."""
    begun: dict[str, object] = {"type": {"not_any_": [StateType.SCHEDULED]}}
    newest = FlowRunSort.EXPECTED_START_TIME_DESC
    return _read(client, sort=newest, limit=limit, deployment_id=_any(deployments), state=begun)


def next_scheduled(client: SyncPrefectClient, deployment: UUID) -> FlowRun | None:
    """The run that the deployment's schedule starts next."""
    found = _read(
        client,
        sort=FlowRunSort.NEXT_SCHEDULED_START_TIME_ASC,
        limit=1,
        deployment_id=_any([deployment]),
        state=_in([StateType.SCHEDULED]),
        next_scheduled_start_time={"after_": datetime.now(UTC)},
    )
    return next(iter(found), None)


def cancel_late(client: SyncPrefectClient, deployments: Iterable[UUID]) -> list[FlowRun]:
    """Cancel and return runs that should have begun over an hour ago. A benchmark's trials only queue: they stay."""
    late = _read(
        client,
        deployment_id=_any(deployments),
        state=_in([StateType.SCHEDULED]),
        next_scheduled_start_time={"before_": datetime.now(UTC) - LATEST_START},
        parent_task_run_id={"is_null_": True},
    )
    _end(client, late, Cancelled(message=TOO_LATE))
    return late


def announce_missed(client: SyncPrefectClient, late: Iterable[FlowRun], ui_url: str) -> None:
    """Send one event of all nights among these runs: they were scheduled, and nobody measured them."""
    nightly = [run for run in late if {NIGHTLY, "auto-scheduled"} <= {*run.tags}]
    starts = {run.expected_start_time: run for run in nightly if run.expected_start_time}
    if not starts:
        return
    last = max(starts)
    links = Links(run_id=str(starts[last].id), deployment_id=str(starts[last].deployment_id), ui_url=ui_url)
    event = missed([start.date() for start in sorted(starts)], TOO_LATE, f"{NIGHTLY}-{last.date()}", links)
    try:
        send_now(client, [event])
    except API_ERRORS as error:
        say(f"The alert could not be sent ({type(error).__name__}: {error}): {event.payload['subject']}")


def settle_lost(client: SyncPrefectClient, deployments: Iterable[UUID]) -> int:
    """Mark runs as crashed that went on when the whole stack was lost, with their waiting children; how many.

    Only for a server of ours on which no worker lives: there nothing else can be running them.
    """
    lost = _read(client, deployment_id=_any(deployments), state=_in((*GOING_ON, StateType.PENDING)))
    _end(client, lost, Crashed(message="the local stack ended while this was going on"))
    _cancel_waiting_children(client, lost)
    return len(lost)


def cancel_orphans(client: SyncPrefectClient, deployments: Iterable[UUID]) -> int:
    """Cancel trials that still wait although their benchmark has ended; how many: an automation leaves them alone."""
    ended = _read(
        client,
        sort=FlowRunSort.EXPECTED_START_TIME_DESC,
        limit=NUM_ENDED,
        deployment_id=_any(deployments),
        state=_in((StateType.CRASHED, StateType.CANCELLED, StateType.FAILED)),
    )
    return _cancel_waiting_children(client, ended)


def cancel(client: SyncPrefectClient, chosen: Iterable[UUID], seconds: float = 20.0) -> None:
    """Cancel those runs and their children, and wait until they have ended, at most for `seconds`.

    First those that wait, so that none takes a place that becomes free; then as Prefect does it, so that the flows' own
    hooks run; what has not ended by then is only marked as cancelled.
    """
    ids = list(chosen)
    for run in sorted(_unfinished_tree(client, ids), key=lambda run: run.state_type not in WAITING):
        if run.state_type in WAITING:
            client.set_flow_run_state(run.id, Cancelled(message="cancelled before it began"), force=True)
        else:
            client.set_flow_run_state(run.id, Cancelling(message="cancelled by stratbench"))
    deadline = time.monotonic() + seconds
    while (rest := _unfinished_tree(client, ids)) and time.monotonic() < deadline:
        time.sleep(0.5)
    _end(client, rest, Cancelled(message="stopped by stratbench"))


def _cancel_waiting_children(client: SyncPrefectClient, ended: Iterable[FlowRun]) -> int:
    children = _read(client, parent_flow_run_id=_any(run.id for run in ended), state=_in(WAITING))
    _end(client, children, Cancelled(message="its benchmark ended"))
    return len(children)


def _end(client: SyncPrefectClient, chosen: Iterable[FlowRun], state: State[None]) -> None:
    for run in chosen:
        client.set_flow_run_state(run.id, state, force=True)


def _unfinished_tree(client: SyncPrefectClient, ids: list[UUID]) -> list[FlowRun]:
    """Those runs, and then their children, each once."""
    unfinished = _in((*WAITING, *GOING_ON))
    children = _read(client, parent_flow_run_id=_any(ids), state=unfinished)
    parents = [run for run in _read(client, id=_any(ids), state=unfinished) if run not in children]
    return [*parents, *children]


def _read(
    client: SyncPrefectClient, *, sort: FlowRunSort | None = None, limit: int | None = None, **where: dict[str, object]
) -> list[FlowRun]:
    chosen = FlowRunFilter.model_validate(where)
    return client.read_flow_runs(flow_run_filter=chosen, sort=sort, limit=limit)


def _any(values: Iterable[object]) -> dict[str, object]:
    return {"any_": list(values)}


def _in(types: Iterable[StateType]) -> dict[str, object]:
    return {"type": _any(types)}
