"""Flow runs of our deployments: the ones that went on when the stack ended, and the ones that nobody waits for."""

import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterId,
    FlowRunFilterName,
    FlowRunFilterNextScheduledStartTime,
    FlowRunFilterParentFlowRunId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.states import Cancelled, Cancelling, Crashed

WAITING = (StateType.SCHEDULED, StateType.PENDING, StateType.PAUSED)
GOING_ON = (StateType.RUNNING, StateType.CANCELLING)
LATEST_START = timedelta(hours=1)


def named(client: SyncPrefectClient, name: str, deployment: UUID) -> FlowRun | None:
    """The latest run of that name."""
    chosen = FlowRunFilter(name=FlowRunFilterName(any_=[name]), deployment_id=_of([deployment]))
    found = client.read_flow_runs(flow_run_filter=chosen, sort=FlowRunSort.EXPECTED_START_TIME_DESC, limit=1)
    return next(iter(found), None)


def latest(client: SyncPrefectClient, deployments: Iterable[UUID], limit: int) -> list[FlowRun]:
    """The runs that began last; newest first."""
    begun = FlowRunFilterState(type=FlowRunFilterStateType(not_any_=[StateType.SCHEDULED]))
    chosen = FlowRunFilter(deployment_id=_of(deployments), state=begun)
    return client.read_flow_runs(flow_run_filter=chosen, sort=FlowRunSort.EXPECTED_START_TIME_DESC, limit=limit)


def next_scheduled(client: SyncPrefectClient, deployment: UUID) -> FlowRun | None:
    """The run that the deployment's schedule starts next."""
    chosen = FlowRunFilter(
        deployment_id=_of([deployment]),
        state=_in([StateType.SCHEDULED]),
        next_scheduled_start_time=_between(after_=datetime.now(UTC)),
    )
    found = client.read_flow_runs(flow_run_filter=chosen, sort=FlowRunSort.NEXT_SCHEDULED_START_TIME_ASC, limit=1)
    return next(iter(found), None)


def cancel_late(client: SyncPrefectClient, deployments: Iterable[UUID]) -> int:
    """Cancel runs that should have begun over an hour ago; how many.

    Trials of a benchmark that is going on only queue: they stay.
    """
    ids = list(deployments)
    if not ids:
        return 0
    late = client.read_flow_runs(
        flow_run_filter=FlowRunFilter(
            deployment_id=_of(ids),
            state=_in([StateType.SCHEDULED]),
            next_scheduled_start_time=_between(before_=datetime.now(UTC) - LATEST_START),
        )
    )
    going_on = client.read_flow_runs(flow_run_filter=FlowRunFilter(deployment_id=_of(ids), state=_in(GOING_ON)))
    queued = {child.id for child in _unfinished_children(client, [run.id for run in going_on])}
    chosen = [run for run in late if run.id not in queued]
    _set(client, chosen, Cancelled(message="not started within an hour of its time; not measured, not caught up"))
    return len(chosen)


def settle_lost(client: SyncPrefectClient, deployments: Iterable[UUID]) -> int:
    """Mark runs as crashed that went on when the whole stack was lost, with their waiting children; how many.

    Only for a server of ours on which no worker lives: there nothing else can be running them.
    """
    ids = list(deployments)
    if not ids:
        return 0
    unfinished = (*GOING_ON, StateType.PENDING)
    lost = client.read_flow_runs(flow_run_filter=FlowRunFilter(deployment_id=_of(ids), state=_in(unfinished)))
    children = _unfinished_children(client, [run.id for run in lost])
    _set(client, lost, Crashed(message="the local stack ended while this was going on"))
    _set(client, [child for child in children if child.state_type in WAITING], Cancelled(message="its benchmark ended"))
    return len(lost)


def cancel(client: SyncPrefectClient, chosen: Iterable[UUID], seconds: float = 20.0) -> None:
    """Cancel those runs and their children, and wait until they have ended, at most for `seconds`.

    First those that wait, so that none takes a place that becomes free; then as Prefect does it, so that the flows' own
    hooks run; what has not ended by then is only marked as cancelled.
    """
    ids = list(chosen)
    tree = _unfinished_tree(client, ids)
    _set(client, [run for run in tree if run.state_type in WAITING], Cancelled(message="cancelled before it began"))
    for run in tree:
        if run.state_type == StateType.RUNNING:
            client.set_flow_run_state(run.id, Cancelling(message="cancelled by stratbench"))
    deadline = time.monotonic() + seconds
    while (rest := _unfinished_tree(client, ids)) and time.monotonic() < deadline:
        time.sleep(0.5)
    _set(client, rest, Cancelled(message="stopped by stratbench"))


def _unfinished_tree(client: SyncPrefectClient, ids: list[UUID]) -> list[FlowRun]:
    """Those runs, parents first, and their children, each once."""
    chosen = FlowRunFilter(id=FlowRunFilterId(any_=ids), state=_in((*WAITING, *GOING_ON)))
    runs = [*client.read_flow_runs(flow_run_filter=chosen), *_unfinished_children(client, ids)]
    return list({run.id: run for run in sorted(runs, key=_has_parent)}.values())


def _unfinished_children(client: SyncPrefectClient, parents: list[UUID]) -> list[FlowRun]:
    if not parents:
        return []
    chosen = FlowRunFilter(
        parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=parents), state=_in((*WAITING, *GOING_ON))
    )
    return client.read_flow_runs(flow_run_filter=chosen)


def _set(client: SyncPrefectClient, runs: Iterable[FlowRun], state: State[None]) -> None:
    for run in runs:
        client.set_flow_run_state(run.id, state, force=True)


def _has_parent(run: FlowRun) -> bool:
    return run.parent_task_run_id is not None


def _between(**limits: datetime) -> FlowRunFilterNextScheduledStartTime:
    return FlowRunFilterNextScheduledStartTime.model_validate(limits)


def _of(deployments: Iterable[UUID]) -> FlowRunFilterDeploymentId:
    return FlowRunFilterDeploymentId(any_=list(deployments))


def _in(types: Iterable[StateType]) -> FlowRunFilterState:
    return FlowRunFilterState(type=FlowRunFilterStateType(any_=list(types)))
