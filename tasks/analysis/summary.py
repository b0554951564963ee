"""Summaries: the values of one configuration, their median and what may be said of their spread."""

import statistics
from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from tasks.analysis.statistics import order_statistic_interval

MIN_RANGE_VALUES = 3
"""Fewer values show no spread at all."""


@dataclass(frozen=True, slots=True)
class Summary:
    """At least one value of the same quantity, one a trial, in block order and in one unit."""

    values: tuple[float, ...]

    @property
    def n(self) -> int:
        """Number of trials."""
        return len(self.values)

    @property
    def has_range(self) -> bool:
        """Whether there are enough values to show their spread."""
        return self.n >= MIN_RANGE_VALUES

    @property
    def median(self) -> float:
        """Middle value."""
        return statistics.median(self.values)

    @property
    def low(self) -> float:
        """Lower end of the interval; below 5 values the smallest."""
        return order_statistic_interval(self.values)[0]

    @property
    def high(self) -> float:
        """Upper end of the interval; below 5 values the largest."""
        return order_statistic_interval(self.values)[1]

    @property
    def coverage(self) -> float | None:
        """Chance that `low` to `high` cover the true median; None below 5 values, of which they are only the range."""
        return order_statistic_interval(self.values)[2]


def summarize(values: Iterable[float]) -> Summary | None:
    """The summary of the values that are not null; None without any."""
    kept = tuple(float(value) for value in values if not pd.isna(value))
    return Summary(kept) if kept else None
