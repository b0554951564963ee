"""Flow `trial`: one trial, on a machine of the GPU pool or on several."""

import asyncio
import sys
from datetime import datetime
from uuid import UUID

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.concurrency.asyncio import concurrency
from prefect.runtime import flow_run
from prefect.states import Completed, Failed

from flows.gang import Gang
from flows.names import LEASE, machine_limit
from flows.opening import check_interpreter, find_run, obtain_data
from tasks.domain.outcome import Status
from tasks.domain.refusal import Refusal
from tasks.domain.trial import Trial
from tasks.results.environment import hostname
from tasks.training.task import train


@flow(name="trial", persist_result=False)
async def trial(
    trial: Trial,
    run_name: str,
    submitted_at: datetime,
    interpreter: str | None = None,
    num_retries: int = 0,
    others: tuple[str, ...] = (),
) -> State:
    """Train one point of a sweep in fresh processes and keep its record.

    Args:
        trial: the whole configuration.
        run_name: the run that the record belongs to.
        submitted_at: when the run was asked for; the queue time counts from here.
        interpreter: Python of another environment that trains; empty: the one that runs this.
        num_retries: how often it has failed before.
        others: the machines that train together with this one.
    """
    try:
        if len({hostname(), *others}) != trial.num_hosts:
            raise Refusal(f"others={list(others)} must name {trial.num_hosts - 1} machines beside {hostname()}")
        folder = find_run(run_name)
        # Of all machines or of none: two trials that each hold a part of what both need would wait for ever.
        async with concurrency([machine_limit(name) for name in (hostname(), *others)], **LEASE):
            if folder.has(trial.key, num_retries):
                return Completed(message="recorded already")
            if interpreter:  # each machine has its own, if it has
                await asyncio.to_thread(check_interpreter, interpreter)
            data = await asyncio.to_thread(obtain_data, trial)
            chief, count = UUID(flow_run.id), flow_run.run_count
            gang = Gang(
                trial=trial, run_name=run_name, folder=folder, chief=chief, run_count=count, others=others, data=data
            )
            status, summary = await train(
                trial,
                run_name,
                str(folder.location),
                data,
                interpreter or sys.executable,
                submitted_at,
                num_retries,
                together=gang.train if others else None,
            )
    except Refusal as refusal:
        return Failed(name="Refused", message=str(refusal))
    if status == Status.VALID:
        return Completed(message=summary)
    return Failed(name=status.capitalize(), message=summary)
