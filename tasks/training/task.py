"""Training as a Prefect task."""

import asyncio
import threading
from datetime import datetime
from pathlib import Path

from prefect import task
from prefect.logging import get_run_logger

from tasks.domain.dataset import PreparedDataset
from tasks.domain.trial import Trial
from tasks.results.record import summarize
from tasks.results.store import RunFolder
from tasks.training.measurement import measure_trial


@task(name="train", task_run_name="train {trial.strategy} at batch {trial.global_batch_size}", persist_result=False)
async def train(
    trial: Trial,
    run_name: str,
    run_folder: str,
    data: PreparedDataset,
    interpreter: str,
    submitted_at: datetime,
    num_retries: int,
) -> tuple[str, str]:
    """Run the trial and keep its record; returns its status and what came of it in a few words."""
    logger, stop = get_run_logger(), threading.Event()
    try:
        record = await asyncio.to_thread(
            measure_trial,
            trial,
            run_name=run_name,
            folder=RunFolder(Path(run_folder)),
            data=data,
            interpreter=interpreter,
            submitted_at=submitted_at,
            num_retries=num_retries,
            stop=stop,
            on_line=logger.info,
        )
    except asyncio.CancelledError:
        stop.set()  # the thread goes on otherwise, and this process with it
        raise
    return str(record["status"]), summarize(record)
