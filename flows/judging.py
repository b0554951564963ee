"""Judging: the end of a nightly run.

As a program, `python -m flows.judging RUN crashed`, it judges what a run left behind that could not do so itself.
"""

import asyncio
import sys
from pathlib import Path

from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from flows import locations
from flows.night import judge
from tasks.detection.nights import NightState, Tonight
from tasks.results.history import History, night_of
from tasks.results.run import Run
from tasks.results.store import RunFolder, Tables

IS_FAILED = (NightState.FAILED, NightState.INVALID, NightState.NOT_MEASURED)
"""Nights that end as failed flow runs; of the others, which were measured, the state's name tells the verdict."""


async def end_night(run: Run, tables: Tables, report: Path, has_crashed: bool = False) -> Tonight:
    """Take the run into the history and judge it; writes the nightly report and tells Prefect what has changed."""
    del report
    await asyncio.to_thread(History(locations.results()).append, run, tables, has_crashed)
    return await asyncio.to_thread(judge, night_of(run, tables, has_crashed=has_crashed))


def final_state(tonight: Tonight, report: Path) -> State:
    """The state in which a nightly run ends: its name is that of the worst verdict."""
    counts = [verdict.worst for verdict in tonight.verdicts]
    message = f"{', '.join(f'{counts.count(state)} {state}' for state in dict.fromkeys(counts))}; report: {report}"
    if tonight.state is NightState.OK:
        return Completed(message=message)
    name = tonight.state.title().replace(" ", "")
    return Failed(name=name, message=message) if tonight.state in IS_FAILED else Completed(name=name, message=message)


async def _end(run_name: str, how: str) -> None:
    """Judge a run that was stopped or has crashed, where it is a nightly one."""
    folder = RunFolder(locations.run(run_name))
    if folder.exists() and (run := folder.describe()).night is not None:
        await end_night(run, folder.read(), locations.reports() / run_name, has_crashed=how == "crashed")


if __name__ == "__main__":
    asyncio.run(_end(*sys.argv[1:]))
