"""The night: how a nightly run is planned by the nights before it, and judged against them."""

import logging
from dataclasses import replace
from datetime import date, timedelta

from flows import locations
from flows.control import current, interpreter
from flows.verdicts import NEEDED, characteristic, weigh
from tasks.analysis.frames import checked
from tasks.analysis.statistics import EXPECTED_NOISE
from tasks.detection.detector import MIN_PAIRS, REMEASURED, pairs_needed
from tasks.detection.nights import judge_nights
from tasks.domain.cell import Cell
from tasks.domain.refusal import Refusal
from tasks.domain.sweep import Sweep
from tasks.planning.planner import Again
from tasks.reporting.evidence import Evidence
from tasks.results.history import History, Night, night_of
from tasks.results.run import End, Run
from tasks.results.store import Tables

FIRST_LOOK_SHARE = 0.75
"""Of a night's time budget; the rest is kept for what is far out."""


def plan_night(sweep: Sweep, night: date, logger: logging.Logger | logging.LoggerAdapter[logging.Logger]) -> Sweep:
    """The sweep with as many blocks as the noise of the nights before asks for, within `min_blocks` and `max_blocks`.

    It is measured against the current control, unless it names an environment of its own. Raises Refusal where that is
    not built here, and for a cap on the blocks below which no cell has a verdict.
    """
    if sweep.max_blocks < MIN_PAIRS:
        raise Refusal(
            f"max_blocks={sweep.max_blocks} is too few for a night: a verdict takes {MIN_PAIRS} pairs; raise it"
        )
    cells = {cell.label for cell in sweep.cells}
    earlier = _nights(night - timedelta(days=1))  # a night that is continued keeps its number of blocks
    before = judge_nights([each for each in earlier if cells & set(each.cells)])
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
    control = None if sweep.versus else current()
    versus = sweep.versus if control is None else str(interpreter(control))
    logger.info(
        f"it is measured against {control or versus or 'nothing: no control is set, `stratbench control` sets one'}"
    )
    return replace(sweep, min_blocks=num_pairs, max_blocks=num_pairs, versus=versus)


def second_look(run: Run, tables: Tables, num_blocks: int, seconds_left: float | None) -> Again:
    """What is far out after the first look of so many blocks."""
    tables = checked(tables, run.sweep)
    ended = replace(run, end=End(reason="the first look is complete", num_blocks=num_blocks))
    verdicts = judge(night_of(ended, tables, is_first_look=True)).tonight.verdicts
    cells: list[Cell] = [verdict.cell for verdict in verdicts if verdict.cell is not None and verdict.is_undecided]
    return Again(cells=tuple(cells), num_blocks=REMEASURED * num_blocks, seconds_left=seconds_left)


def judge(tonight: Night, command: str | None = None) -> Evidence:
    """That night against those before it, also earlier ones of the same day."""
    before = [
        night for night in _nights(tonight.day) if night.run_name != tonight.run_name and night.place < tonight.place
    ]
    nights = [*before, replace(tonight, trials=tonight.trials.select(NEEDED))]
    return weigh(nights, command)


def _nights(until: date) -> tuple[Night, ...]:
    return History(locations.results()).nights(NEEDED, until=until)
