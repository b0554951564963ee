"""Flow `trial`: one trial on a machine of the GPU pool."""

import platform
import sys
from datetime import datetime

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.concurrency.asyncio import concurrency
from prefect.states import Completed, Failed

from flows import locations
from flows.names import LEASE, machine_limit
from tasks.data.preparation import prepare
from tasks.domain.outcome import Status
from tasks.domain.refusal import Refusal
from tasks.domain.trial import Trial
from tasks.results.run import check_run_name
from tasks.results.store import RunFolder
from tasks.training.task import train


@flow(name="trial", persist_result=False)
async def trial(
    trial: Trial, run_name: str, submitted_at: datetime, interpreter: str | None = None, num_retries: int = 0
) -> State:
    """Train one point of a sweep in fresh processes and keep its record.

    Args:
        trial: the whole configuration.
        run_name: the run that the record belongs to.
        submitted_at: when the run was asked for; the queue time counts from here.
        interpreter: Python of another environment that trains; empty: the one that runs this.
        num_retries: how often it has failed before.
    """
    try:
        check_run_name(run_name)
    except Refusal as refusal:
        return Failed(name="Refused", message=str(refusal))
    folder = locations.runs() / run_name
    async with concurrency(machine_limit(platform.node()), **LEASE):
        if RunFolder(folder).has(trial.key, num_retries):
            return Completed(message="recorded already")
        data = prepare(trial.dataset, locations.data_cache())
        status, summary = await train(
            trial, run_name, str(folder), data, interpreter or sys.executable, submitted_at, num_retries
        )
    if status == Status.VALID:
        return Completed(message=summary)
    return Failed(name=status.capitalize(), message=summary)
