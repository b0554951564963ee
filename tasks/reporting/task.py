"""The report as a Prefect task."""

import asyncio
from pathlib import Path

from prefect import task
from prefect.artifacts import acreate_markdown_artifact
from prefect.logging import get_run_logger

from tasks.reporting.report import artifact_markdown, write_report
from tasks.results.store import RunFolder

ARTIFACT_KEY = "benchmark-report"
"""The same for every run, so that the UI keeps a history of reports."""


@task(name="report", task_run_name="report", persist_result=False)
async def write_run_report(run_folder: str, report_folder: str) -> str:
    """Write the report of the run in `run_folder` and show its short version in the UI; returns the report's path.

    The files are what counts: an artifact that cannot be made is logged and fails nothing. The work is done in a
    thread, so that the flow's event loop goes on renewing its leases.
    """
    results = RunFolder(Path(run_folder))
    run, tables = results.describe(), await asyncio.to_thread(results.read)
    path = await asyncio.to_thread(write_report, run, tables, Path(report_folder))
    try:
        markdown = await asyncio.to_thread(artifact_markdown, run, tables, path)
        await acreate_markdown_artifact(markdown, key=ARTIFACT_KEY, description=f"Report of {run.run_name}")
    except Exception:
        get_run_logger().warning("The report's artifact could not be made; the files are there", exc_info=True)
    return str(path)
