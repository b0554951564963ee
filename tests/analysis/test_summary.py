"""Order statistics: what n values may claim."""

import pytest

from tasks.analysis.summary import Summary, summarize


def test_summary_of_nothing_is_nothing() -> None:
    assert summarize([]) is None
    assert summarize([float("nan")]) is None


@pytest.mark.parametrize(("n", "coverage"), [(1, None), (4, None), (5, 0.9375), (6, 0.96875), (7, 0.984375)])
def test_interval_covers_the_median_from_five_values_on(n: int, coverage: float | None) -> None:
    summary = Summary(tuple(float(value) for value in range(n)))
    assert (summary.n, summary.coverage) == (n, coverage)


def test_median_low_and_high_of_hand_made_values() -> None:
    summary = Summary((31.0, 29.0, 35.0, 30.0))
    assert (summary.median, summary.low, summary.high) == (30.5, 29.0, 35.0)


def test_interval_of_many_values_leaves_the_outermost_out() -> None:
    summary = Summary((1.0, 9.0, 3.0, 2.0, 4.0, 7.0, 6.0, 5.0, 8.0, 90.0))
    assert (summary.median, summary.low, summary.high, summary.n) == (5.5, 2.0, 9.0, 10)
    assert summary.coverage == pytest.approx(0.978516, abs=1e-6)
