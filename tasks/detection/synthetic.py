"""Synthetic nights: pairs of runs with noise of every kind that the detector must bear, and changes it must find."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from tasks.detection.detector import REMEASURED, Bools, Floats

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
class Night:
    """What one night gives to the detector."""

    pairs: Floats
    """ln seconds of tonight's environment minus the control's, of shape (cells, K)."""
    measure_again: Callable[[Bools], Floats]
    """For `Detector.judge`."""


def simulate_nights(
    noise: Noise, num_cells: int, num_pairs: int, source: np.random.Generator, changes: Floats
) -> Iterator[Night]:
    """Night after night; `changes` has shape (nights,) and is added to every cell's ln seconds in that night."""
    effects = noise.night * source.standard_normal(num_cells)
    for change in changes:
        yield _night(noise, effects + change, num_pairs, source)
        fresh = noise.night * source.standard_normal(num_cells)
        effects = noise.autocorrelation * effects + math.sqrt(1 - noise.autocorrelation**2) * fresh


def _night(noise: Noise, means: Floats, num_pairs: int, source: np.random.Generator) -> Night:
    def measure_again(cells: Bools) -> Floats:
        found = np.full((len(means), REMEASURED * num_pairs), np.nan)
        found[cells] = _pairs(noise, means[cells], REMEASURED * num_pairs, source)
        return found

    return Night(_pairs(noise, means, num_pairs, source), measure_again)


def _pairs(noise: Noise, means: Floats, num_pairs: int, source: np.random.Generator) -> Floats:
    shape = (2, len(means), num_pairs)
    runs = noise.run * source.standard_normal(shape)
    if noise.outlier_share:
        runs += (source.random(shape) < noise.outlier_share) * math.log1p(OUTLIER_SLOWNESS)
    return np.asarray(means[:, np.newaxis] + runs[0] - runs[1], dtype=np.float64)
