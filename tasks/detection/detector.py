"""The detector: did tonight's environment change the speed of a cell, set against the nights before?

Each night every cell is measured in pairs, tonight's environment and the pinned control's, interleaved on one machine.
What is judged is the night's ln ratio, tonight's seconds over the control's: above 0 is slower. A change needs three
looks: K pairs that are far out, at once 2 K pairs more that agree (SUSPECT), and the next night (REGRESSED, IMPROVED).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import special

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int_]

MARGIN = math.log(1.05)
"""A smaller change, in ln seconds, alarms nobody; half of it is asked for when a change is looked at again."""
MIN_PAIRS = 4
"""Pairs of a night below which a cell was not measured."""
MIN_NIGHTS = 10
"""Comparable nights below which there is no baseline."""
BASELINE_NIGHTS = 30
"""Most nights of the baseline: the latest that are comparable."""
LEAST_SCALE = 0.005
"""A night is taken to be at least so noisy, in ln seconds."""
FROZEN_NIGHTS = 20
"""Nights after the last accepted change of which the baseline for slow drift is made, and stays."""
CUSUM_SLACK, CUSUM_LIMIT, CUSUM_CLIP = 1.0, 5.0, 3.0
"""Of the cumulative sum for slow drift, in units of the scale (Page 1954; clipped, against outliers)."""
FIRST_LEVEL, AGAIN_LEVEL, CONFIRM_LEVEL = 0.995, 0.99, 0.95
"""One-sided levels of the three looks; for drift, which many nights have shown, the second is as the third."""
NIGHTS_UNTIL_GONE = 3
"""A change is gone after so many nights in a row on which less than half the margin is left of it."""
REMEASURED = 2
"""Times as many pairs in the second look as in the first."""
MAD_TO_DEVIATION = 1.4826
"""Median absolute deviation to standard deviation, for normal noise."""
_QUANTILES = {
    level: np.array([np.nan, *special.stdtrit(np.arange(1, BASELINE_NIGHTS), level)])
    for level in (FIRST_LEVEL, AGAIN_LEVEL, CONFIRM_LEVEL)
}
"""Of Student's t, by the degrees of freedom."""


class CellState(StrEnum):
    """What may be said of a cell after a night."""

    OK = "OK"
    SUSPECT = "SUSPECT"
    """Far out in both looks of one night; the next night decides."""
    REGRESSED = "REGRESSED"
    IMPROVED = "IMPROVED"
    NO_BASELINE = "NO BASELINE"
    """Fewer than MIN_NIGHTS comparable nights."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """What one look at the pairs of every cell shows; arrays of shape (cells,), in ln seconds."""

    change: Floats
    """Tonight's location minus the baseline's."""
    scale: Floats
    """Standard error of `change`."""
    freedom: Ints
    """Degrees of freedom with which the scale is known."""

    def bound(self, level: float) -> Floats:
        """Half-width of the one-sided interval of that level."""
        return np.asarray(_QUANTILES[level][self.freedom] * self.scale, dtype=np.float64)

    def is_beyond(self, level: float, least: float) -> Bools:
        """Whether the change excludes 0 at that level, and is larger than `least`."""
        return np.asarray(np.abs(self.change) > np.maximum(self.bound(level), least))

    def unless(self, cells: Bools, other: "Look") -> "Look":
        """This look, but in those cells the other one."""
        names = ("change", "scale", "freedom")
        return Look(**{name: np.where(cells, getattr(other, name), getattr(self, name)) for name in names})


class Detector:
    """The states of many cells, night after night.

    All arrays have the cells on their first axis. The same code judges a night of nine cells and simulates thousands
    of years.
    """

    def __init__(self, num_cells: int) -> None:
        self.states = np.full(num_cells, CellState.NO_BASELINE, dtype=object)
        self._signs = np.zeros(num_cells, dtype=int)
        """Of the change that is suspected, or else stands: 1 slower, -1 faster, 0 none."""
        self.standing = np.zeros(num_cells, dtype=int)
        """Of the change that stands, also while one to the other side is suspected."""
        self.is_drift = np.zeros(num_cells, dtype=bool)
        """Whether it is measured against the frozen baseline."""
        self._is_drift_standing = np.zeros(num_cells, dtype=bool)
        self._unseen = np.zeros(num_cells, dtype=int)
        """Nights in a row on which little was left of a standing change."""
        self._locations = np.full((num_cells, BASELINE_NIGHTS), np.nan)
        """Of the latest comparable nights; the next one replaces the oldest."""
        self._variances = np.full((num_cells, BASELINE_NIGHTS), np.nan)
        """Of the pairs within each of those nights, resistant to outliers."""
        self._frozen = np.full((num_cells, FROZEN_NIGHTS), np.nan)
        self.num_comparable, self.num_before = np.zeros((2, num_cells), dtype=int)
        """Nights that may stand in a baseline, the last one among them or not."""
        self.is_undecided = np.zeros(num_cells, dtype=bool)
        """Which cells were far out in the last night and were not measured again."""
        self.change, self.error, self._center, self._bound = np.full((4, num_cells), np.nan)
        """Of the last night against the baseline, in ln seconds, with its standard error."""
        self._had_baseline = np.zeros(num_cells, dtype=bool)
        self.freedom = np.zeros(num_cells, dtype=int)
        """Degrees of freedom of that error."""
        self._sums = np.zeros((2, num_cells))
        """Cumulative, for drift to slower and to faster."""

    def judge(self, pairs: Floats, second: Floats | Callable[[Bools], Floats]) -> NDArray[np.object_]:
        """The state of every cell after a night of `pairs`, ln ratios of shape (cells, K), NaN where one is missing.

        `second` are the ln ratios of the second look, of shape (cells, REMEASURED x K): those of a night that is over,
        or what measures them now, and is told which cells are far out; nothing else is read of it. A cell of fewer than
        MIN_PAIRS pairs counts as not measured, and nothing of it changes.
        """
        counts, once = _counts(pairs), locate(pairs)
        was_measured = counts >= MIN_PAIRS
        first, drift = self._look(once, counts, self._locations), self._look(once, counts, self._frozen)
        self.num_before = self.num_comparable.copy()
        has_baseline = self._had_baseline = was_measured & (self.num_comparable >= MIN_NIGHTS)
        self._confirm(first, drift, was_measured)
        may_change = has_baseline & (self._signs * first.change <= 0)  # also against what is suspected or stands
        is_far = may_change & first.is_beyond(FIRST_LEVEL, MARGIN)
        self._add_to_sums(drift, has_baseline & (self._signs == 0))
        drifts = has_baseline & (self._signs == 0) & ~is_far & (self._sums.max(axis=0) > CUSUM_LIMIT)
        asked, again = is_far | drifts, np.full_like(pairs, np.nan)
        if asked.any():
            found = second(asked) if callable(second) else second
            again = np.where(asked[:, np.newaxis], found, np.nan)
        counts, twice = _counts(again), locate(again)
        self.is_undecided = asked & (counts < MIN_PAIRS)
        self._suspect(is_far, np.sign(first.change), self._look(twice, counts, self._locations), is_drift=False)
        slower = np.where(self._sums[0] >= self._sums[1], 1, -1)
        self._suspect(drifts, slower, self._look(twice, counts, self._frozen), is_drift=True)
        self._sums[:, drifts & ~self.is_undecided] = 0
        told = first.unless(self.is_drift, drift)
        self.change, self.error, self.freedom = told.change, told.scale, told.freedom
        self._center, self._bound = once - first.change, first.bound(FIRST_LEVEL)
        fresh = was_measured & (self._signs == 0) & ~self.is_undecided
        self._learn(once, twice, spread(pairs) ** 2, fresh)
        self.states[fresh] = np.where(has_baseline[fresh], CellState.OK, CellState.NO_BASELINE)
        return self.states.copy()

    def band(self) -> tuple[Floats, Floats]:
        """Between which locations the last night was not far out, in ln seconds; NaN without a baseline."""
        width = np.where(self._had_baseline, np.maximum(self._bound, MARGIN), np.nan)
        return self._center - width, self._center + width

    def accept(self, cells: Bools) -> None:
        """Begin a new baseline for those cells: what was before is not comparable with what comes."""
        self.states[cells] = CellState.NO_BASELINE
        self._clear(cells)
        self.num_comparable[cells] = 0
        for memory in (self._locations, self._variances, self._frozen):
            memory[cells] = np.nan

    def _look(self, locations: Floats, num_pairs: Ints, memory: Floats) -> Look:
        """At the locations of so many pairs, against the nights in that memory: the latest comparable or the frozen."""
        of_pairs = np.nansum(self._variances, axis=1) / np.maximum(_counts(self._variances), 1)
        within = np.sqrt(of_pairs / np.maximum(num_pairs, 1))
        scales = np.fmax(np.fmax(spread(memory), within), LEAST_SCALE)  # also where no night is known
        counts = np.clip(self.num_comparable, 2, memory.shape[1])
        # the median of n normal values has pi / 2 n of their variance
        errors = scales * np.sqrt(1 + math.pi / (2 * counts))
        return Look(change=locations - _medians(memory), scale=errors, freedom=counts - 1)

    def _add_to_sums(self, drift: Look, cells: Bools) -> None:
        steps = np.clip(drift.change / drift.scale, -CUSUM_CLIP, CUSUM_CLIP)[cells]
        for sums, step in zip(self._sums, (steps, -steps), strict=True):
            sums[cells] = np.maximum(0, sums[cells] + step - CUSUM_SLACK)

    def _suspect(self, cells: Bools, signs: Floats | Ints, again: Look, *, is_drift: bool) -> None:
        """Suspect those cells of which the second look agrees with the first."""
        level = CONFIRM_LEVEL if is_drift else AGAIN_LEVEL
        agrees = cells & (np.sign(again.change) == signs) & again.is_beyond(level, MARGIN / 2)
        self.states[agrees] = CellState.SUSPECT
        self._signs[agrees] = signs[agrees]
        self.is_drift[agrees] = is_drift

    def _confirm(self, first: Look, drift: Look, was_measured: Bools) -> None:
        """Decide what the night before suspected, and whether what stood is still there."""
        look = first.unless(self.is_drift, drift)
        suspects = was_measured & (self.states == CellState.SUSPECT)
        is_confirmed = suspects & look.is_beyond(CONFIRM_LEVEL, MARGIN / 2) & (np.sign(look.change) == self._signs)
        self.standing[is_confirmed] = self._signs[is_confirmed]
        self._is_drift_standing[is_confirmed] = self.is_drift[is_confirmed]
        self._unseen[is_confirmed] = 0
        self._stand(suspects)  # what was suspected stands now, or else what stood before, if anything
        stands = was_measured & (self.standing != 0) & ~is_confirmed
        changes = self.standing * first.unless(self._is_drift_standing, drift).change
        self._unseen[stands] = np.where(changes[stands] > MARGIN / 2, 0, self._unseen[stands] + 1)
        is_gone = stands & (self._unseen >= NIGHTS_UNTIL_GONE)
        self._clear(is_gone)
        self._stand(is_gone)

    def _stand(self, cells: Bools) -> None:
        """Let the states of those cells be what stands, and OK without it."""
        for sign, state in ((1, CellState.REGRESSED), (-1, CellState.IMPROVED), (0, CellState.OK)):
            self.states[cells & (self.standing == sign)] = state
        self._signs[cells], self.is_drift[cells] = self.standing[cells], self._is_drift_standing[cells]
        self._sums[:, cells] = 0

    def _clear(self, cells: Bools) -> None:
        """Forget what is suspected or stands."""
        self._signs[cells] = self.standing[cells] = self._unseen[cells] = 0
        self.is_drift[cells] = self._is_drift_standing[cells] = False
        self._sums[:, cells] = 0

    def _learn(self, once: Floats, twice: Floats, within: Floats, cells: Bools) -> None:
        """Take the night into the baselines of those cells; the pairs of both looks count for its location."""
        locations = np.where(np.isnan(twice), once, (once + REMEASURED * twice) / (1 + REMEASURED))[cells]
        chosen, nights = np.flatnonzero(cells), self.num_comparable[cells]
        self._locations[chosen, nights % BASELINE_NIGHTS] = locations
        self._variances[chosen, nights % BASELINE_NIGHTS] = within[cells]
        is_early = nights < FROZEN_NIGHTS
        self._frozen[chosen[is_early], nights[is_early]] = locations[is_early]
        self.num_comparable[chosen] += 1


def locate(pairs: Floats) -> Floats:
    """Location of each row: the median of its Walsh averages (Hodges and Lehmann 1963).

    `pairs` has shape (cells, K), NaN where one is missing.
    """
    left, right = _walsh(pairs.shape[1])
    found, known = np.full(len(pairs), np.nan), pairs[rows := _counts(pairs) > 0]
    found[rows] = _medians((known[:, left] + known[:, right]) / 2)
    return found


@cache
def _walsh(count: int) -> tuple[Ints, Ints]:
    """Of all pairs of so many values, also of a value with itself, the places."""
    return np.triu_indices(count)


def _counts(values: Floats) -> Ints:
    """How many in each row are known."""
    return np.asarray((~np.isnan(values)).sum(axis=1))


def _medians(values: Floats) -> Floats:
    """Median of what is known in each row; NaN in a row of NaN alone. NumPy's `nanmedian` takes far longer."""
    counts, rows = _counts(values), np.arange(len(values))
    ordered = np.sort(values, axis=1)  # NaN last
    return np.asarray((ordered[rows, (counts - 1) // 2] + ordered[rows, counts // 2]) / 2)


def spread(pairs: Floats) -> Floats:
    """Standard deviation of each row, from its median absolute one: some runs are far out, and say nothing of the rest.

    NaN is left out.
    """
    return MAD_TO_DEVIATION * _medians(np.abs(pairs - _medians(pairs)[:, np.newaxis]))


def pairs_needed(noise: float) -> int:
    """K for runs whose ln seconds have that standard deviation: `backtest` then finds 10 % slower within two nights."""
    return max(6, math.ceil(14 * (noise / 0.05) ** 2))
