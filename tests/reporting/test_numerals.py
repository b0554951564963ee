"""Numbers as a reader sees them."""

import numpy as np
import pytest

from tasks.analysis.statistics import judge_family
from tasks.analysis.summary import Summary
from tasks.reporting import numerals


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *((31.24, "31.2"), (5768.2, "5,770"), (0.012345, "0.0123"), (99.96, "100"), (9.996, "10.0")),
        *((123456.0, "123,000"), (0.0, "0"), (-0.5, "-0.500"), (1.0, "1.00")),
    ],
)
def test_three_significant_digits_without_an_exponent(value: float, text: str) -> None:
    assert numerals.digits(value) == text


def test_quantities_have_forms_of_their_own() -> None:
    assert numerals.seconds(31.24) == "31.2 s"
    assert numerals.ratio(1.8333) == "1.83 x"
    assert numerals.share(0.9142) == "91 %"
    assert numerals.accuracy(0.98734) == "98.73 %"
    assert numerals.percentage_points(0.00123) == "0.12 points"
    assert numerals.signed_points(-0.00123) == "-0.12 points"
    assert numerals.signed_points(-0.00001) == "+0.00 points"
    assert numerals.level(0.985) == "98.5 %"
    assert numerals.gibibytes(8 * 2**30) == "8.00 GiB"
    assert (numerals.plural(1, "block"), numerals.plural(3, "block")) == ("1 block", "3 blocks")
    assert numerals.plural(2, "strategy") == "2 strategies"
    assert (numerals.shown(None), numerals.shown(1.5, numerals.ratio)) == ("—", "1.50 x")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *((1.0, "1"), (0.5, ".5"), (0.049, ".049"), (0.03125, ".031"), (0.00092, ".00092"), (1e-4, ".0001")),
        *((9.99e-5, "< .0001"), (0.0, "< .0001")),
    ],
)
def test_p_value_has_two_significant_digits_no_leading_zero_and_is_never_0(value: float, text: str) -> None:
    assert numerals.p_value(value) == text


def test_ratio_has_its_interval_where_the_pair_was_tested() -> None:
    noise = np.array([0.01, -0.01, 0.01, -0.01, 0.01, -0.01])
    (tested,), (untested,), (empty,) = (judge_family([np.log(1.8) + noise[:n]]) for n in (6, 4, 0))
    assert numerals.ratio_with_interval(tested) == "1.80 x (1.78 to 1.82)"
    assert numerals.ratio_with_interval(untested) == "1.80 x"
    assert numerals.ratio_with_interval(empty) == "—"


@pytest.mark.parametrize(
    ("values", "spread", "extent"),
    [
        ((31.0, 32.0), "31.5", "—"),
        ((31.0, 32.0, 30.0), "31.0 (30.0 to 32.0)", "30.0 to 32.0"),
        ((31.0, 32.0, 30.0, 33.0, 29.0, 34.0, 28.0, 35.0, 27.0), "31.0 (28.0 to 34.0)", "27.0 to 35.0"),
    ],
)
def test_spread_is_written_from_three_values_on(values: tuple[float, ...], spread: str, extent: str) -> None:
    """Of so many as nine, the interval leaves out the extremes."""
    assert numerals.with_spread(Summary(values)) == spread
    assert numerals.extent(Summary(values)) == extent
    assert numerals.with_spread(None) == "—"


@pytest.mark.parametrize(
    ("values", "text"), [((31.01, 31.02), "31.0 s"), ((), "—"), ((33.0, 31.0), "31.0 s to 33.0 s")]
)
def test_span_of_equal_texts_is_one(values: tuple[float, ...], text: str) -> None:
    assert numerals.span(values, numerals.seconds) == text
