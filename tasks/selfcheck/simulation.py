"""Simulation: synthetic trainers in shuffled blocks, stopped and judged by the product's own rules."""

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from tasks.analysis.statistics import Decisions, Floats, decide, half_widths, log_ratios
from tasks.domain.sweep import Sweep
from tasks.planning.stopping import Finished, next_block

NUM_BATCHES = 3
ONE_DEVICE, MIRRORED, MULTI_WORKER, REFERENCE = CELLS = range(4)
"""What is trained at each batch size."""
PAIRS = (
    (MIRRORED, ONE_DEVICE),
    (MULTI_WORKER, ONE_DEVICE),
    (MIRRORED, MULTI_WORKER),
    (MIRRORED, REFERENCE),
    (MULTI_WORKER, REFERENCE),
)
"""Declared at each batch size: a cell, and what it is set against."""
PER_BLOCK = NUM_BATCHES * len(CELLS)
"""Trials in one block."""
OUTLIER_SHARE = 0.05
OUTLIER_SLOWNESS = 0.3
"""So much slower is an outlier, as a share."""
DRIFT_AMPLITUDE = 0.1
"""Of the machine's wave, in ln seconds."""
DRIFT_PERIOD = 60
"""Trials from one crest of the wave to the next: five blocks."""
DRIFT_STEP = 0.005
"""Standard deviation of the machine's random walk from one trial to the next, in ln seconds."""


class Noise(StrEnum):
    """How equal trials differ; the first two have exactly the stated standard deviation."""

    NORMAL = "normal"
    """Independent normal ln seconds."""
    T3 = "t3"
    """Independent ln seconds of Student's t distribution with 3 degrees of freedom, scaled to that deviation."""
    OUTLIERS = "outliers"
    """Normal, and OUTLIER_SHARE of the trials are slower by OUTLIER_SLOWNESS (contaminated normal, Tukey 1960)."""
    DRIFT = "drift"
    """Normal, on a machine whose speed follows a wave and a random walk over the order in which trials ran."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Runs:
    """What the product does with simulated families."""

    num_blocks: Floats
    """Blocks at which each family was stopped, of shape (families,)."""
    decisions: Decisions
    """Arrays of shape (families, pairs)."""


def simulate_seconds(
    noise: Noise, deviation: float, num_families: int, num_blocks: int, source: np.random.Generator
) -> Floats:
    """Training seconds of equal cells around 1, of shape (families, batch sizes, cells, blocks).

    `deviation` is the standard deviation of ln seconds from trial to trial. Every block runs in an order of its own.
    """
    shape = (num_families, num_blocks, PER_BLOCK)
    if noise is Noise.T3:
        logarithms = deviation / math.sqrt(3) * source.standard_t(3, shape)
    else:
        logarithms = deviation * source.standard_normal(shape)
    if noise is Noise.OUTLIERS:
        logarithms += (source.random(shape) < OUTLIER_SHARE) * math.log1p(OUTLIER_SLOWNESS)
    if noise is Noise.DRIFT:
        walk = DRIFT_STEP * source.standard_normal((num_families, num_blocks * PER_BLOCK)).cumsum(axis=1)
        phase = source.uniform(0, 2 * math.pi, (num_families, 1))
        wave = np.sin(phase + 2 * math.pi / DRIFT_PERIOD * np.arange(num_blocks * PER_BLOCK))
        places = source.random(shape).argsort(axis=2)
        logarithms += np.take_along_axis((walk + DRIFT_AMPLITUDE * wave).reshape(shape), places, axis=2)
    return np.exp(logarithms).reshape(num_families, num_blocks, NUM_BATCHES, len(CELLS)).transpose(0, 2, 3, 1)


def slowed(seconds: Floats, cell: int, slowdown: float) -> Floats:
    """The same trials with one cell slower by a share, at every batch size."""
    factors = np.ones((len(CELLS), 1))
    factors[cell] += slowdown
    return seconds * factors


def declared_differences(seconds: Floats) -> Floats:
    """ln of how many times as fast, of shape (families, pairs, blocks), from what `simulate_seconds` returns."""
    cells, others = (list(side) for side in zip(*PAIRS, strict=True))
    differences = log_ratios(seconds[:, :, cells], seconds[:, :, others])
    return differences.reshape(len(seconds), -1, seconds.shape[-1])


def true_ratios(cell: int, slowdown: float) -> Floats:
    """ln of the pairs' true ratios where that cell is `slowed`, of shape (pairs,)."""
    signs = [(against == cell) - (other == cell) for other, against in PAIRS] * NUM_BATCHES
    return np.array(signs) * math.log1p(slowdown)


def run_families(seconds: Floats, sweep: Sweep) -> Runs:
    """Stop each family by the sweep's rule and judge it; `seconds` as from `simulate_seconds`, of `max_blocks`."""
    differences = declared_differences(seconds)
    widths = np.full((len(seconds), sweep.max_blocks + 1), np.nan)
    for n in range(2, sweep.max_blocks + 1):
        widths[:, n] = half_widths(np.array(n), differences[:, :, :n].std(axis=-1, ddof=1)).max(axis=-1)
    num_blocks = np.array([_stop(sweep, row) for row in widths.tolist()])
    means, deviations = np.empty((2, *differences.shape[:2]))
    for n in np.unique(num_blocks):
        chosen = num_blocks == n
        seen = differences[chosen, :, :n]
        means[chosen], deviations[chosen] = seen.mean(axis=-1), seen.std(axis=-1, ddof=1)
    counts = np.broadcast_to(num_blocks[:, np.newaxis], means.shape)
    return Runs(num_blocks=num_blocks.astype(np.float64), decisions=decide(counts, means, deviations))


def _stop(sweep: Sweep, widths: list[float]) -> int:
    """Blocks of one family; `widths[n]` is that of its widest pair after n blocks."""
    num_blocks = num_whole = 0
    while True:
        width = None if math.isnan(widths[num_blocks]) else widths[num_blocks]
        answer = next_block(sweep, num_blocks=num_blocks, num_whole=num_whole, half_width=width)
        if isinstance(answer, Finished):
            return num_blocks
        num_blocks, num_whole = num_blocks + 1, num_whole + answer
