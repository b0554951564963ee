"""Judging: the end of a nightly run.

As a program, `python -m flows.judging RUN FLOW_RUN crashed`, it judges what a run left behind that could not do so.
"""

import asyncio
import logging
import sys
from pathlib import Path

from prefect.client.schemas.objects import State
from prefect.runtime import deployment
from prefect.settings import get_current_settings
from prefect.states import Completed, Failed

from flows import locations
from flows.alerts import announce
from flows.events import Links
from flows.night import judge
from flows.patience import Log
from flows.verdicts import with_characteristic
from tasks.analysis.frames import checked
from tasks.detection.nights import NightState, Tonight
from tasks.reporting.task import write_nightly_report
from tasks.results.history import History, night_of
from tasks.results.run import Run
from tasks.results.store import RunFolder, Tables

LOG = logging.getLogger("stratbench")
IS_FAILED = (NightState.FAILED, NightState.INVALID, NightState.NOT_MEASURED)
"""Nights that end as failed flow runs; of the others, which were measured, the state's name tells the verdict."""


async def end_night(
    run: Run, tables: Tables, report: Path, flow_run_id: str, logger: Log, has_crashed: bool = False
) -> Tonight:
    """Take the run into the history and judge it; writes the nightly report and tells Prefect what has changed.

    Nothing is told of a run that did not come to its end, which Prefect tells of (a crash) or somebody wanted (a
    cancellation).
    """
    tables = await asyncio.to_thread(checked, tables, run.sweep)
    await asyncio.to_thread(History(locations.results()).append, run, tables, has_crashed)
    evidence = await asyncio.to_thread(judge, night_of(run, tables, has_crashed=has_crashed), run.command)
    evidence = await asyncio.to_thread(with_characteristic, evidence)
    path = await write_nightly_report(evidence, str(report))
    if run.end:
        ui_url = get_current_settings().ui_url
        links = Links(run_id=flow_run_id, deployment_id=deployment.id, report=path, command=run.command, ui_url=ui_url)
        await announce(evidence.tonight, links, locations.results(), logger)
    return evidence.tonight


def final_state(tonight: Tonight, report: Path) -> State:
    """The state in which a nightly run ends: its name is that of the worst verdict."""
    counts = [verdict.worst for verdict in tonight.verdicts] + [NightState.NOT_MEASURED] * len(tonight.never)
    said = [f"{counts.count(state)} {state}" for state in dict.fromkeys(counts)] or ["no cell has a verdict"]
    said += [f"machine {verdict.label} {verdict.worst}" for verdict in tonight.platform if verdict.worst not in counts]
    message = f"{', '.join(said)}; report: {report}"
    if tonight.state is NightState.OK:
        return Completed(message=message)
    name = tonight.state.title().replace(" ", "")
    return Failed(name=name, message=message) if tonight.state in IS_FAILED else Completed(name=name, message=message)


async def _end(run_name: str, flow_run_id: str, how: str) -> None:
    """Judge a run that was stopped or has crashed, where it is a nightly one."""
    folder, report = RunFolder(locations.run(run_name)), locations.reports() / run_name
    if folder.exists() and (run := folder.describe()).night is not None:
        await end_night(run, folder.read(), report, flow_run_id, LOG, has_crashed=how == "crashed")


if __name__ == "__main__":
    asyncio.run(_end(*sys.argv[1:]))
