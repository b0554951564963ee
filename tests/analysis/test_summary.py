"""Order statistics: what n values may claim."""

import pandas as pd
import pytest

from tasks.analysis.summary import Spread, Summary, pooled_deviation, sampling_error, summarize


def test_summary_of_nothing_is_nothing() -> None:
    assert summarize([]) is None
    assert summarize([float("nan")]) is None


@pytest.mark.parametrize(
    ("n", "spread", "coverage"),
    [
        (1, Spread.NONE, None),
        (2, Spread.NONE, None),
        (3, Spread.RANGE, None),
        (4, Spread.RANGE, None),
        (5, Spread.INTERVAL, 0.9375),
        (6, Spread.INTERVAL, 0.96875),
        (7, Spread.INTERVAL, 0.984375),
    ],
)
def test_spread_is_named_by_n(n: int, spread: Spread, coverage: float | None) -> None:
    summary = Summary(tuple(float(value) for value in range(n)))
    assert (summary.n, summary.spread, summary.coverage) == (n, spread, coverage)


def test_median_low_and_high_of_hand_made_values() -> None:
    summary = Summary((31.0, 29.0, 35.0, 30.0))
    assert (summary.median, summary.low, summary.high) == (30.5, 29.0, 35.0)


def test_pooled_deviation_weighs_groups_by_their_freedom() -> None:
    # variances 2 (1 degree of freedom) and 1 (2 degrees): (2 x 1 + 1 x 2) / 3
    assert pooled_deviation(pd.DataFrame([(1.0, 3.0), (1.0, 2.0, 3.0), (9.0,)])) == pytest.approx((4 / 3) ** 0.5)
    assert pooled_deviation(pd.DataFrame([(1.0,), ()])) is None
    assert pooled_deviation(pd.DataFrame()) is None


def test_sampling_error_is_binomial() -> None:
    assert sampling_error(0.99, 10_000) == pytest.approx(0.000995, abs=1e-6)
