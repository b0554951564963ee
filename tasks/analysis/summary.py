"""Summaries: the values of one configuration, their median and what may be said of their spread."""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

MIN_RANGE_VALUES = 3
"""Fewer values show no spread at all."""
MIN_INTERVAL_VALUES = 5
"""From here on smallest to largest covers the median with at least 93.75 %."""


class Spread(StrEnum):
    """What the smallest and the largest value of a summary may be called."""

    NONE = "none"
    """Fewer than 3 values."""
    RANGE = "range"
    """3 or 4 values: smallest to largest, without a level."""
    INTERVAL = "interval"
    """5 values or more: an interval for the median, with its level."""


@dataclass(frozen=True, slots=True)
class Summary:
    """At least one value of the same quantity, one a trial, in block order."""

    values: tuple[float, ...]

    @property
    def n(self) -> int:
        """Number of trials."""
        return len(self.values)

    @property
    def median(self) -> float:
        """Middle value, in the values' unit."""
        return statistics.median(self.values)

    @property
    def low(self) -> float:
        """Smallest value, in the values' unit."""
        return min(self.values)

    @property
    def high(self) -> float:
        """Largest value, in the values' unit."""
        return max(self.values)

    @property
    def spread(self) -> Spread:
        """What `low` to `high` may be called."""
        if self.n < MIN_RANGE_VALUES:
            return Spread.NONE
        return Spread.RANGE if self.n < MIN_INTERVAL_VALUES else Spread.INTERVAL

    @property
    def coverage(self) -> float | None:
        """Chance that smallest to largest covers the true median; None below 5 values.

        Exact for independent values of any continuous distribution: 1 - 2^(1-n) (David and Nagaraja, Order
        Statistics, section 7.1).
        """
        return 1 - 2.0 ** (1 - self.n) if self.spread is Spread.INTERVAL else None


def summarize(values: Iterable[float]) -> Summary | None:
    """The values' summary; None without any."""
    kept = tuple(float(value) for value in values)
    return Summary(kept) if kept else None


def pooled_deviation(groups: Iterable[Sequence[float]]) -> float | None:
    """Standard deviation inside groups: their variances averaged by degrees of freedom; None without a group of two."""
    useful = [group for group in groups if len(group) > 1]
    if not useful:
        return None
    freedom = sum(len(group) - 1 for group in useful)
    return math.sqrt(sum(statistics.variance(group) * (len(group) - 1) for group in useful) / freedom)
