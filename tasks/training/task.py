"""Training as a Prefect task."""

import asyncio
import threading
from collections.abc import Callable
from datetime import datetime
from typing import TypeVar

from prefect import task
from prefect.logging import get_run_logger

from tasks.domain.dataset import PreparedDataset
from tasks.domain.trial import Trial
from tasks.results.record import summarize
from tasks.results.store import RunFolder
from tasks.training.launcher import OnLine
from tasks.training.measurement import measure_trial
from tasks.training.part import Part

TrainTogether = Callable[[threading.Event, OnLine], list[Part]]
"""An attempt at a trial on several machines: it is told when to stop, and where its output goes."""

Result = TypeVar("Result")


@task(name="train", task_run_name="train {trial.strategy} at batch {trial.global_batch_size}", persist_result=False)
async def train(
    trial: Trial,
    run_name: str,
    run_folder: str,
    data: PreparedDataset,
    interpreter: str,
    submitted_at: datetime,
    num_retries: int,
    together: TrainTogether | None = None,
) -> tuple[str, str]:
    """Run the trial, on this machine or `together` with others, and keep its record.

    Returns its status and what came of it in a few words.
    """
    logger = get_run_logger()
    record = await stoppable(
        lambda stop: measure_trial(
            trial,
            run_name=run_name,
            folder=RunFolder(run_folder),
            data=data,
            interpreter=interpreter,
            submitted_at=submitted_at,
            num_retries=num_retries,
            stop=stop,
            on_line=logger.info,
            train=None if together is None else lambda on_line: together(stop, on_line),
        )
    )
    return str(record["status"]), summarize(record)


async def stoppable(work: Callable[[threading.Event], Result]) -> Result:
    """What `work` returns, in a thread; it is told to stop when the task is cancelled."""
    stop = threading.Event()
    try:
        return await asyncio.to_thread(work, stop)
    except asyncio.CancelledError:
        stop.set()  # the thread goes on otherwise, and this process with it
        raise
