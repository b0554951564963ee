"""The report as a Prefect task."""

import asyncio
import logging
from pathlib import Path
from uuid import UUID

from prefect import task
from prefect.artifacts import acreate_markdown_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactUpdate
from prefect.logging import get_run_logger

from tasks.analysis.analysis import Analysis
from tasks.reporting.evidence import Evidence
from tasks.reporting.night import night_artifact_markdown, write_night_report
from tasks.reporting.report import artifact_markdown, write_report
from tasks.results.store import Tables

ARTIFACT_KEY, NIGHT_KEY = "benchmark-report", "nightly-report"
"""The same for every run, so that the UI keeps a history of reports, one a run."""


@task(name="report", task_run_name="report", persist_result=False)
async def write_run_report(
    analysis: Analysis, tables: Tables, report_folder: str, artifact: UUID | None
) -> UUID | None:
    """Write the report and show its short version in the UI; returns the artifact, to be renewed by the next call.

    The files are what counts: an artifact that cannot be made is logged and fails nothing. The work is done in a
    thread, so that the flow's event loop goes on renewing its leases.
    """
    path = await asyncio.to_thread(write_report, analysis, tables, Path(report_folder))
    try:
        markdown = await asyncio.to_thread(artifact_markdown, analysis, path)
        if artifact is None:
            description = f"Report of {analysis.run.run_name}"
            return await acreate_markdown_artifact(markdown, key=ARTIFACT_KEY, description=description)
        async with get_client() as client:
            await client.update_artifact(artifact, ArtifactUpdate(data=markdown))
    except Exception:
        get_run_logger().warning("The report's artifact could not be made; the files are there", exc_info=True)
    return artifact


@task(name="nightly-report", task_run_name="nightly-report", persist_result=False)
async def write_nightly_report(evidence: Evidence, report_folder: str) -> str:
    """Write the nightly report and show its short version in the UI, under one key; returns the path of `night.md`."""
    path = await asyncio.to_thread(write_night_report, evidence, Path(report_folder))
    try:
        markdown = await asyncio.to_thread(night_artifact_markdown, evidence, path)
        night = evidence.tonight
        await acreate_markdown_artifact(markdown, key=NIGHT_KEY, description=f"Night of {night.day}: {night.state}")
    except Exception:
        logging.getLogger("stratbench").warning("The nightly report's artifact could not be made", exc_info=True)
    return str(path)
