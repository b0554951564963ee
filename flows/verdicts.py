"""Verdicts: nights of the history, weighed against each other."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

from tasks.detection.backtest import Characteristic
from tasks.detection.backtest import measure as backtest
from tasks.detection.detector import MIN_PAIRS
from tasks.detection.nights import judge_nights
from tasks.detection.series import COLUMNS
from tasks.detection.synthetic import Noise
from tasks.reporting.evidence import DETAILS, Evidence
from tasks.results.events import Events
from tasks.results.history import History, Night

NEEDED = [*COLUMNS, *DETAILS]
"""Of the table `trials`, what is judged and reported."""
NIGHT_EFFECT = 0.01
"""Taken for what a night does to one arm alone, in ln seconds: too few nights tell it."""
NUM_SIMULATED = 20
"""Installations behind the operating characteristic that a report quotes."""


def read_evidence(
    location: Path | str, day: date | None = None, run_name: str | None = None, until: date = date.max
) -> Evidence | None:
    """The last nightly run at a results root, or that night's or that run, as the nights before it judge it."""
    nights = History(location).nights(NEEDED, until=day or until)
    found = [n for n, night in enumerate(nights) if day in (None, night.day) and run_name in (None, night.run_name)]
    return weigh(nights[: found[-1] + 1], location) if found else None


def weigh(nights: Sequence[Night], location: Path | str, command: str | None = None) -> Evidence:
    """The last of nights with NEEDED, against the others, and what was decided at that results root."""
    found = judge_nights(nights, Events(location).read())
    assert found is not None
    return Evidence(tonight=found, nights=nights, command=command)


def with_characteristic(evidence: Evidence) -> Evidence:
    """The same with what the detector is worth at the noise of these nights and with so many pairs."""
    noise, num_pairs = evidence.tonight.noise, max((v.num_pairs for v in evidence.tonight.verdicts), default=0)
    if noise is None or num_pairs < MIN_PAIRS:
        return evidence
    return replace(evidence, characteristic=characteristic(noise, num_pairs))


def characteristic(noise: float, num_pairs: int) -> Characteristic:
    """What the detector does with so many pairs at that noise, simulated."""
    return backtest(Noise(run=noise, night=NIGHT_EFFECT), num_pairs, NUM_SIMULATED, seed=1)
