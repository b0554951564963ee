"""Training as a Prefect task."""

import asyncio
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
    logger = get_run_logger()
    record = await asyncio.to_thread(
        measure_trial,
        trial,
        run_name=run_name,
        folder=RunFolder(Path(run_folder)),
        data=data,
        interpreter=interpreter,
        submitted_at=submitted_at,
        num_retries=num_retries,
        on_line=logger.info,
    )
    return str(record["status"]), summarize(record)
