"""The operating characteristic: how often the detector cries wolf, and what it finds, on synthetic nights."""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.detection.detector import CellState, Detector, Floats
from tasks.detection.resampling import Resampler
from tasks.detection.synthetic import Looks, Noise, check_number, read_noise, simulate_nights
from tasks.results import history
from tasks.results.events import Event

NIGHTS_BEFORE = 40
"""Of history, before anything is counted."""
NIGHTS_A_YEAR = 365
CELLS = 9
"""Of an installation: three strategies at three batch sizes."""
CHANGES = (0.05, 0.10, 0.20)
"""How much slower, as a share."""
WITHIN = (2, 7)
"""Nights."""
LEAST_INSTALLATIONS, MOST_INSTALLATIONS = 10, 10_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Characteristic:
    """What the detector does under one kind of noise."""

    title: str
    noise: Noise | None
    """Null: that of nights which were measured."""
    num_pairs: int
    """K, pairs of each cell in a night."""
    num_cells: int
    """Of an installation."""
    false_alarms_per_configuration_year: float
    """In both directions."""
    error: float
    """Standard error of that."""
    power: dict[str, dict[str, float]]
    """Chance of finding a slow-down, by the change and by the nights within which it is REGRESSED."""

    @property
    def false_alarms_per_installation_year(self) -> float:
        """Of its cells together."""
        return self.num_cells * self.false_alarms_per_configuration_year

    def describe(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return asdict(self) | {"false_alarms_per_installation_year": self.false_alarms_per_installation_year}


Simulate = Callable[[np.random.Generator, Floats], Iterator[Looks]]
"""Nights with changes, of shape (nights,)."""


def measure(noise: Noise, num_pairs: int, num_installations: int, seed: int, title: str = "as given") -> Characteristic:
    """Simulate a year of so many installations in which nothing happens, and as many cells that grow slower."""

    def simulate(source: np.random.Generator, changes: Floats) -> Iterator[Looks]:
        return simulate_nights(noise, CELLS * num_installations, num_pairs, source, changes)

    facts = {"title": title, "noise": noise, "num_pairs": num_pairs, "num_cells": CELLS}
    return _characterize(simulate, num_installations, seed, facts)


def measure_history(resampler: Resampler, num_installations: int, seed: int) -> Characteristic:
    """The same with nights that were measured: each installation is that of the history, resampled."""
    numbers = {"num_pairs": resampler.num_pairs, "num_cells": resampler.num_cells}
    simulate = partial(resampler.simulate, num_installations)
    return _characterize(simulate, num_installations, seed, {"title": "resampled", "noise": None, **numbers})


def _characterize(simulate: Simulate, num_installations: int, seed: int, facts: dict[str, Any]) -> Characteristic:
    num_cells, quiet = facts["num_cells"] * num_installations, np.zeros(NIGHTS_BEFORE + NIGHTS_A_YEAR)
    alarms = np.sum([is_new for is_new, _ in _alarms(simulate, num_cells, quiet, seed)], axis=0)
    power = {}
    for place, change in enumerate(CHANGES, start=1):
        slowed = np.repeat([0.0, math.log1p(change)], [NIGHTS_BEFORE, max(WITHIN)])
        found = [states == CellState.REGRESSED for _, states in _alarms(simulate, num_cells, slowed, seed + place)]
        power[f"{change:.2f}"] = {str(nights): float(np.any(found[:nights], axis=0).mean()) for nights in WITHIN}
    return Characteristic(
        **facts,
        false_alarms_per_configuration_year=float(np.mean(alarms)),
        error=float(np.std(alarms)) / math.sqrt(num_cells),
        power=power,
    )


def _alarms(
    simulate: Simulate, num_cells: int, changes: Floats, seed: int
) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.object_]]]:
    """Of each night after NIGHTS_BEFORE, which cells alarm anew, and all states."""
    detector = Detector(num_cells)
    before = detector.standing.copy()
    for number, night in enumerate(simulate(np.random.default_rng(seed), changes)):
        states = detector.judge(night.first, night.measure_again)
        if number >= NIGHTS_BEFORE:
            yield (detector.standing != 0) & (detector.standing != before), states
        before = detector.standing.copy()


def scenarios(noise: Noise) -> Iterator[tuple[str, Noise]]:
    """That noise, and what may be otherwise than it is thought to be."""
    yield "as given", noise
    yield "no night effect", replace(noise, night=0.0)
    yield "twice the night effect", replace(noise, night=2 * noise.night)
    yield "night effects that last (autocorrelation .7)", replace(noise, autocorrelation=0.7)
    yield "5 % of the runs are slower by 30 %", replace(noise, outlier_share=0.05)


def main(run: float, night: float, num_pairs: int | None, num_installations: int, seed: int, as_json: bool) -> None:
    """Measure every scenario and print it. Raises Refusal on nonsense."""
    check_number("installations", num_installations, LEAST_INSTALLATIONS, MOST_INSTALLATIONS)
    noise, chosen = read_noise(run, night, num_pairs, seed)
    found = [measure(each, chosen, num_installations, seed, title) for title, each in scenarios(noise)]
    if as_json:
        figures = found[0].describe() | {"scenarios": [each.describe() for each in found]}
        print(json.dumps({"is_synthetic": True, "seed": seed, **figures}, indent=2))
        return
    print(
        f"SYNTHETIC: {num_installations} installations of {CELLS} cells, each a year of nights of {chosen} pairs after "
        f"{NIGHTS_BEFORE} nights of history; runs differ by {run:.1%}, nights by {night:.1%}; seed {seed}"
    )
    _print(found)


def main_history(
    nights: Sequence[history.Night], events: Sequence[Event], num_installations: int, seed: int, as_json: bool
) -> None:
    """The same for nights that were measured. Raises Refusal on nonsense, and where they are too few."""
    check_number("installations", num_installations, LEAST_INSTALLATIONS, MOST_INSTALLATIONS)
    check_number("seed", seed, 0, math.inf)
    resampler = Resampler(nights, events)
    found = measure_history(resampler, num_installations, seed)
    is_synthetic = any(night.is_synthetic for night in nights)
    if as_json:
        names = ("num_nights", "num_alarms", "num_years")
        facts = {"is_synthetic": is_synthetic, "is_resampled": True, "seed": seed}
        facts |= {name: getattr(resampler, name) for name in names}
        print(json.dumps(facts | found.describe(), indent=2))
        return
    print(
        f"{'SYNTHETIC, RESAMPLED' if is_synthetic else 'RESAMPLED'}: {num_installations} installations of the "
        f"{found.num_cells} cells of this history, each a year of nights of up to {found.num_pairs} pairs after "
        f"{NIGHTS_BEFORE}, from {resampler.num_nights} nights in blocks of consecutive ones; seed {seed}"
    )
    _print([found])
    print(
        f"In this history itself {resampler.num_alarms} alarms in {resampler.num_years:.1f} years of cells with a "
        "baseline, of what happened and of what did not; the nights of those that stood are left out"
    )


def _print(found: Sequence[Characteristic]) -> None:
    chances = [f"{change} in {nights}" for change in ("5 %", "10 %", "20 %") for nights in WITHIN]
    print(f"{'':<46}{'false alarms a year':>24}   chance of finding a slow-down of so much in so many nights")
    print(f"{'':<46}{'a cell':>14}{f'all {found[0].num_cells}':>10}   " + "".join(f"{text:>10}" for text in chances))
    for each in found:
        alarms = f"{each.false_alarms_per_configuration_year:.3f} ± {each.error:.3f}"
        values = "".join(f"{value:>10.2f}" for by_nights in each.power.values() for value in by_nights.values())
        print(f"{each.title:<46}{alarms:>14}{each.false_alarms_per_installation_year:>10.2f}   {values}")
