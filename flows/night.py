"""The night: what makes a run of `benchmark` a nightly one. It is planned by the nights before and judged against them.

As a program, `python -m flows.night RUN crashed`, it judges what a run left behind that could not do so itself.
"""

import asyncio
import re
import sys
from dataclasses import replace
from datetime import date
from pathlib import Path

from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed, Failed

from flows import locations
from flows.patience import Log
from tasks.analysis.statistics import EXPECTED_NOISE
from tasks.detection.backtest import Characteristic
from tasks.detection.backtest import measure as backtest
from tasks.detection.detector import REMEASURED, pairs_needed
from tasks.detection.nights import NightState, Tonight, judge_nights
from tasks.detection.series import COLUMNS
from tasks.detection.synthetic import Noise
from tasks.domain.cell import Cell
from tasks.domain.sweep import Sweep
from tasks.planning.planner import Again
from tasks.results.events import Events
from tasks.results.history import History, Night, night_of
from tasks.results.run import End, Run
from tasks.results.store import RunFolder, Tables

NIGHT_EFFECT = 0.01
"""Taken for what a night does to one arm alone, in ln seconds: too few nights tell it."""
FIRST_LOOK_SHARE = 0.75
"""Of a night's time budget; the rest is kept for what is far out."""
NUM_SIMULATED = 20
"""Installations behind the operating characteristic that a report quotes."""
IS_FAILED = (NightState.FAILED, NightState.INVALID, NightState.NOT_MEASURED)


def date_of(night: date | None, name: str) -> date:
    """The night that a run stands for: the one asked for, or of its name, or of its scheduled start."""
    found = re.search(r"\d{4}-\d{2}-\d{2}$", name)
    return night or (date.fromisoformat(found[0]) if found else flow_run.scheduled_start_time.date())


def plan_night(sweep: Sweep, night: date, logger: Log) -> Sweep:
    """The sweep with as many blocks as the noise of the nights before asks for, within `min_blocks` and `max_blocks`.

    It is measured against the current control, unless it names an environment of its own. Raises Refusal where that is
    not built here.
    """
    before = judge_nights(_nights(night))
    measured = None if before is None else before.noise
    noise = measured or EXPECTED_NOISE
    num_pairs = min(max(pairs_needed(noise), sweep.min_blocks), sweep.max_blocks)
    power = characteristic(noise, num_pairs).power.items()
    chances = ", ".join(f"{float(change):.0%} slower with {by_nights['2']:.2f}" for change, by_nights in power)
    logger.info(
        f"the night of {night}: {num_pairs} pairs of each cell, for runs that differ by {noise:.1%} "
        f"({'measured in the nights before' if measured else 'assumed, for no night tells it yet'}); within two nights "
        f"they find {chances} (simulated)"
    )
    return replace(sweep, min_blocks=num_pairs, max_blocks=num_pairs)


def characteristic(noise: float, num_pairs: int) -> Characteristic:
    """What the detector does with so many pairs at that noise, simulated."""
    return backtest(Noise(run=noise, night=NIGHT_EFFECT), num_pairs, NUM_SIMULATED, seed=1)


def second_look(run: Run, tables: Tables, num_blocks: int, seconds_left: float | None) -> Again:
    """What is far out after the first look of so many blocks."""
    ended = replace(run, end=End(reason="the first look is complete", num_blocks=num_blocks))
    verdicts = _judge(night_of(ended, tables, is_first_look=True)).verdicts
    cells: list[Cell] = [verdict.cell for verdict in verdicts if verdict.cell is not None and verdict.is_undecided]
    return Again(cells=tuple(cells), num_blocks=REMEASURED * num_blocks, seconds_left=seconds_left)


async def end_night(run: Run, tables: Tables, report: Path, has_crashed: bool = False) -> Tonight:
    """Take the run into the history and judge it; writes the nightly report and tells Prefect what has changed."""
    del report
    await asyncio.to_thread(History(locations.results()).append, run, tables, has_crashed)
    return await asyncio.to_thread(_judge, night_of(run, tables, has_crashed=has_crashed))


def final_state(tonight: Tonight, report: Path) -> State:
    """The state in which a nightly run ends: its name is that of the worst verdict."""
    counts = [verdict.worst for verdict in tonight.verdicts]
    message = f"{', '.join(f'{counts.count(state)} {state}' for state in dict.fromkeys(counts))}; report: {report}"
    if tonight.state is NightState.OK:
        return Completed(message=message)
    name = tonight.state.title().replace(" ", "")
    return Failed(name=name, message=message) if tonight.state in IS_FAILED else Completed(name=name, message=message)


def _judge(tonight: Night) -> Tonight:
    """That night against those before it."""
    before = [night for night in _nights(tonight.day) if night.run_name != tonight.run_name]
    nights = [*before, replace(tonight, trials=tonight.trials.select(COLUMNS))]
    found = judge_nights(nights, Events(locations.results()).read())
    assert found is not None
    return found


async def _end(run_name: str, how: str) -> None:
    """Judge a run that was stopped or has crashed, where it is a nightly one."""
    folder = RunFolder(locations.run(run_name))
    if folder.exists() and (run := folder.describe()).night is not None:
        await end_night(run, folder.read(), locations.reports() / run_name, has_crashed=how == "crashed")


def _nights(until: date) -> tuple[Night, ...]:
    return History(locations.results()).nights(COLUMNS, until=until)


if __name__ == "__main__":
    asyncio.run(_end(*sys.argv[1:]))
