"""Hooks: when a run of `benchmark` is cancelled or crashes, its trials go with it, and what is recorded is reported."""

import asyncio
import sys

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.flows import Flow
from prefect.states import Cancelled, Cancelling

from flows import locations

WAITING = (StateType.SCHEDULED, StateType.PENDING)


async def cancel_children(flow: Flow[..., object], flow_run: FlowRun, state: State) -> None:
    """Cancel the trials of `flow_run`: first those that wait, so that none of them takes a freed place."""
    del flow, state
    wanted = FlowRunFilter.model_validate({"parent_flow_run_id": {"any_": [flow_run.id]}})
    async with get_client() as client:
        children = await client.read_flow_runs(flow_run_filter=wanted)
        for child in sorted(children, key=lambda child: child.state_type not in WAITING):
            if child.state_type in WAITING:
                await client.set_flow_run_state(child.id, Cancelled(message="its benchmark ended"), force=True)
            elif not (child.state and child.state.is_final()):
                await client.set_flow_run_state(child.id, Cancelling(message="its benchmark ended"))


async def report_what_is_there(flow: Flow[..., object], flow_run: FlowRun, state: State) -> None:
    """Write the report of the trials that are recorded; it says that it is partial. A night is judged by them."""
    del flow
    async with get_client() as client:
        name = (await client.read_flow_run(flow_run.id)).name  # the one at hand was read before it had its name
    await end_as(name, str(flow_run.id), "crashed" if state.type is StateType.CRASHED else "stopped")


async def end_as(name: str, flow_run_id: str, how: str) -> None:
    """The same for the run of that name, which was `stopped` or has `crashed`.

    In a process of its own: after a crash, the one at hand is the worker, which would keep what a report imports.
    """
    for command in (("flows", "report", str(locations.run(name))), ("flows.judging", name, flow_run_id, how)):
        await (await asyncio.create_subprocess_exec(sys.executable, "-m", *command, cwd=locations.root())).wait()
