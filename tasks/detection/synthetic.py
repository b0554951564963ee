"""Synthetic nights: pairs of runs with noise of every kind that the detector must bear, and changes it must find."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from tasks.detection.detector import MIN_PAIRS, REMEASURED, Bools, Floats, pairs_needed
from tasks.domain.refusal import Refusal

OUTLIER_SLOWNESS = 0.3
"""So much slower is an outlier, as a share."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Noise:
    """How nights differ in which nothing has changed."""

    run: float
    """Standard deviation of one run's ln seconds."""
    night: float = 0.0
    """Standard deviation of what a night does to one arm and not to the other, in ln seconds: no pairs average it."""
    autocorrelation: float = 0.0
    """Of that from one night to the next."""
    outlier_share: float = 0.0
    """Runs that are slower by OUTLIER_SLOWNESS."""


@dataclass(frozen=True, slots=True)
class Looks:
    """What the two looks of a night see, in ln seconds: runs of shape (2, cells, K), tonight's environment and the
    control's, or in pairs what `Detector.judge` takes: their difference, of shape (cells, K)."""

    first: Floats
    measure_again: Callable[[Bools], Floats]
    """REMEASURED times as many, NaN in cells that are not asked for."""


def read_noise(run: float, night: float, num_pairs: int | None, seed: int) -> tuple[Noise, int]:
    """The noise, and K, by the noise where it is not given; raises Refusal on nonsense."""
    for name, value, low, high in (
        ("noise", run, 0.001, 0.5),
        ("night_effect", night, 0, 0.2),
        ("pairs", MIN_PAIRS if num_pairs is None else num_pairs, MIN_PAIRS, 500),
        ("seed", seed, 0, math.inf),
    ):
        check_number(name, value, low, high)
    return Noise(run=run, night=night), pairs_needed(run) if num_pairs is None else num_pairs


def check_number(name: str, value: float, low: float, high: float) -> None:
    """Raise Refusal unless the value lies between those."""
    if not low <= value <= high:
        raise Refusal(f"{name}={value} must be a number from {low:g} to {high:g}")


def simulate_nights(
    noise: Noise, num_cells: int, num_pairs: int, source: np.random.Generator, changes: Floats
) -> Iterator[Looks]:
    """`simulate_runs` in pairs."""
    for runs in simulate_runs(noise, num_cells, num_pairs, source, changes):
        yield Looks(paired(runs.first), lambda cells, runs=runs: paired(runs.measure_again(cells)))  # type: ignore[misc]


def simulate_runs(
    noise: Noise, num_cells: int, num_pairs: int, source: np.random.Generator, changes: Floats
) -> Iterator[Looks]:
    """Night after night; `changes`, of shape (nights,) or (nights, cells), is added to tonight's ln seconds."""
    effects = noise.night * source.standard_normal(num_cells)
    for change in changes:
        yield _runs(noise, effects + change, num_pairs, source)
        fresh = noise.night * source.standard_normal(num_cells)
        effects = noise.autocorrelation * effects + math.sqrt(1 - noise.autocorrelation**2) * fresh


def _runs(noise: Noise, means: Floats, num_pairs: int, source: np.random.Generator) -> Looks:
    def measure(cells: Bools, count: int) -> Floats:
        found = np.full((2, len(means), count), np.nan)
        shape = (2, int(cells.sum()), count)
        found[:, cells] = noise.run * source.standard_normal(shape)
        if noise.outlier_share:
            found[:, cells] += (source.random(shape) < noise.outlier_share) * math.log1p(OUTLIER_SLOWNESS)
        found[0] += means[:, np.newaxis]
        return found

    every = np.ones(len(means), dtype=bool)
    return Looks(measure(every, num_pairs), lambda cells: measure(cells, REMEASURED * num_pairs))


def paired(runs: Floats) -> Floats:
    """Tonight's ln seconds minus the control's."""
    return np.asarray(runs[0] - runs[1], dtype=np.float64)
