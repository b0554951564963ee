"""Summaries: the values of one configuration, their median and what may be said of their spread."""

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

import pandas as pd

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
    """At least one value of the same quantity, one a trial, in block order and in one unit."""

    values: tuple[float, ...]

    @property
    def n(self) -> int:
        """Number of trials."""
        return len(self.values)

    @property
    def median(self) -> float:
        """Middle value."""
        return statistics.median(self.values)

    @property
    def low(self) -> float:
        """Smallest value."""
        return min(self.values)

    @property
    def high(self) -> float:
        """Largest value."""
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
    """The summary of the values that are not null; None without any."""
    kept = tuple(float(value) for value in values if not pd.isna(value))
    return Summary(kept) if kept else None


def pooled_deviation(groups: pd.DataFrame) -> float | None:
    """Standard deviation inside rows: their variances averaged by degrees of freedom; None without a row of two."""
    freedom = (groups.count(axis=1) - 1).clip(lower=0).sum()
    squares = groups.sub(groups.mean(axis=1), axis=0).pow(2).sum().sum()
    return math.sqrt(squares / freedom) if freedom else None


def sampling_error(accuracy: float, num_test_examples: int) -> float:
    """Standard error of an accuracy over so many independent test examples, as a share (binomial)."""
    return math.sqrt(accuracy * (1 - accuracy) / num_test_examples)
