"""Resampling: a history's own nights, drawn again in blocks of consecutive ones (Kuensch 1989), with all their noise.

Of each cell the nights count on which it was measured and no change stood, but for one that went by itself within
MIN_NIGHTS, which may have been noise. Their ln values are centred between two cuts. Blocks are as long as the root of
the number of nights.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise

import numpy as np

from tasks.detection.detector import MIN_NIGHTS, MIN_PAIRS, REMEASURED, Bools, Floats, Ints, locate, spread
from tasks.detection.nights import NightState, Point, Replay, Timeline, replay
from tasks.detection.synthetic import Looks
from tasks.domain.refusal import Refusal
from tasks.results.events import Event
from tasks.results.history import Night

LEAST_NIGHTS = 20
"""Nights of a cell below which there is nothing to draw from."""


class Resampler:
    """The cells of a history, to be simulated."""

    def __init__(self, nights: Sequence[Night], events: Sequence[Event] = ()) -> None:
        """Raise Refusal where no cell has LEAST_NIGHTS nights."""
        past = replay(nights, events) if nights else None
        cells = [] if past is None else [key for key, cell in enumerate(past.seen.cells) if cell is not None]
        quiet = {key: _quiet(past, key) for key in cells} if past else {}
        chosen = [key for key in cells if len(quiet[key]) >= LEAST_NIGHTS]
        if past is None or not chosen:
            most = max(map(len, quiet.values()), default=0)
            raise Refusal(
                f"the history has {most} nights of a cell to draw from, it takes {LEAST_NIGHTS}; without --history the "
                "nights are synthetic"
            )
        self.num_cells, self.num_nights = len(chosen), max(len(quiet[key]) for key in chosen)
        self.num_alarms = sum(_num_alarms(past.timelines[key]) for key in chosen)
        judged = [point.state is not NightState.NO_BASELINE for key in chosen for point in past.timelines[key].points]
        self.num_years = sum(judged) / 365
        """Of cells with a baseline."""
        self._counts = np.array([len(quiet[key]) for key in chosen])
        """Nights of each cell."""
        self._pairs, again = (
            _stacked([_centred(past, key, quiet[key], looks[quiet[key], key]) for key in chosen])
            for looks in (past.first, past.seen.second)
        )
        """Of shape (cells, nights, pairs), NaN behind the others."""
        self.num_pairs = int(np.isfinite(self._pairs).sum(axis=2).max())
        width = max(REMEASURED * self.num_pairs, again.shape[2])
        self._again = np.pad(again, ((0, 0), (0, 0), (0, width - again.shape[2])), constant_values=np.nan)
        """The second looks."""
        self._effects, self._spreads, self._residuals = _decomposed(self._pairs)

    def simulate(self, num_copies: int, source: np.random.Generator, changes: Floats) -> Iterator[Looks]:
        """Nights of so many installations; `changes`, of shape (nights,), is added to tonight's ln seconds."""
        cells = np.tile(np.arange(self.num_cells), num_copies)
        for places, change in zip(self._draw(cells, len(changes), source).T, changes, strict=True):

            def measure_again(asked: Bools, places: Ints = places, change: float = change) -> Floats:
                found = np.full((len(cells), self._again.shape[2]), np.nan)
                found[asked] = self._look_again(cells[asked], places[asked], source) + change
                return found

            yield Looks(self._pairs[cells, places] + change, measure_again)

    def _draw(self, cells: Ints, num_nights: int, source: np.random.Generator) -> Ints:
        """Which of its nights each cell has in each night: blocks that begin anywhere, one after another."""
        lengths = np.rint(np.sqrt(self._counts)).astype(int)[cells, np.newaxis]
        nights, last = np.arange(num_nights), self._counts[cells, np.newaxis] - lengths
        starts = (source.random((len(cells), num_nights)) * (last + 1)).astype(int)
        return np.asarray(np.take_along_axis(starts, nights // lengths, axis=1) + nights % lengths)

    def _look_again(self, cells: Ints, places: Ints, source: np.random.Generator) -> Floats:
        """The second look of those nights; where there was none, any pairs about what this one may have done."""
        own, pairs = self._again[cells, places], self._pairs[cells, places]
        pools = self._residuals[cells]
        picks = (source.random(own.shape) * np.isfinite(pools).sum(axis=1)[:, np.newaxis]).astype(int)
        effects = self._effects[cells, places] + self._spreads[cells] * source.standard_normal(len(cells))
        expected = effects[:, np.newaxis] + np.take_along_axis(pools, picks, axis=1)
        wanted = REMEASURED * np.isfinite(pairs).sum(axis=1)
        expected[np.arange(own.shape[1]) >= wanted[:, np.newaxis]] = np.nan
        has_none = np.isfinite(own).sum(axis=1) < MIN_PAIRS
        return np.where(has_none[:, np.newaxis], expected, own)


def _quiet(past: Replay, key: int) -> Ints:
    """Numbers of the nights on which that series was measured and nothing stood, but for what soon went by itself."""
    points, kept, place = past.timelines[key].points, list[Point](), 0
    for has_stood, stretch in groupby(points, lambda point: point.standing is not None):
        nights = list(stretch)
        place += len(nights)
        after = points[place].number if place < len(points) else math.inf
        is_cut = any(nights[0].number < cut <= after for cut in past.timelines[key].cuts)
        if not has_stood or (len(nights) < MIN_NIGHTS and place < len(points) and not is_cut):
            kept += nights
        elif kept and kept[-1].state is NightState.SUSPECT:
            kept.pop()  # the first night of it
    return np.array([p.number for p in kept if np.isfinite(past.first[p.number, key]).sum() >= MIN_PAIRS], dtype=int)


def _num_alarms(timeline: Timeline) -> int:
    stood = [False, *(point.standing is not None for point in timeline.points)]
    return sum(now and not before for before, now in pairwise(stood))


def _centred(past: Replay, key: int, numbers: Ints, looks: Floats) -> Floats:
    """Those looks at that series without the level of the nights between two cuts."""
    segments = np.searchsorted(sorted(past.timelines[key].cuts), numbers, side="right")
    locations, found = locate(past.first[numbers, key]), looks.copy()
    for segment in np.unique(segments):
        found[segments == segment] -= np.median(locations[segments == segment])
    return found


def _stacked(cells: Sequence[Floats]) -> Floats:
    """Arrays of shape (nights, pairs) as one, NaN behind the shorter ones."""
    found = np.full((len(cells), max(map(len, cells)), cells[0].shape[1]), np.nan)
    for place, values in enumerate(cells):
        found[place, : len(values)] = values
    return found


def _decomposed(pairs: Floats) -> tuple[Floats, Floats, Floats]:
    """What each night of each cell may have done to its arm, mean and standard deviation, and a cell's residuals.

    Normal effects are seen through the locations of normal pairs: the mean is the location, shrunk by the share of the
    locations' variance that the pairs do not explain (Efron and Morris 1973).
    """
    num_cells, num_nights, _ = pairs.shape
    rows, counts = pairs.reshape(num_cells * num_nights, -1), np.isfinite(pairs).sum(axis=2)
    locations = locate(rows).reshape(num_cells, num_nights)
    within = spread(rows).reshape(num_cells, num_nights) ** 2 / np.maximum(counts, 1)
    total = np.maximum(spread(locations) ** 2, 1e-12)
    shares = np.clip(1 - np.nanmean(within, axis=1) * math.pi / 3 / total, 0, 1)
    widened = np.sqrt(counts / np.maximum(counts - 1, 1))[..., np.newaxis] * (pairs - locations[..., np.newaxis])
    spreads = np.sqrt(total * shares * (1 - shares))
    return locations * shares[:, np.newaxis], spreads, np.sort(widened.reshape(num_cells, -1), axis=1)
