"""Numbers as a reader sees them."""

import pytest

from tasks.analysis.summary import Summary
from tasks.reporting import numerals


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (31.24, "31.2"),
        (5768.2, "5,770"),
        (0.012345, "0.0123"),
        (99.96, "100"),
        (9.996, "10.0"),
        (123456.0, "123,000"),
        (0.0, "0"),
        (-0.5, "-0.500"),
        (1.0, "1.00"),
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


def test_spread_is_written_from_three_values_on() -> None:
    assert numerals.with_spread(None) == "—"
    assert numerals.with_spread(Summary((31.0, 32.0))) == "31.5"
    assert numerals.with_spread(Summary((31.0, 32.0, 30.0))) == "31.0 (30.0 to 32.0)"


def test_span_of_equal_texts_is_one() -> None:
    assert numerals.span((31.01, 31.02), numerals.seconds) == "31.0 s"
    assert numerals.span((), numerals.seconds) == "—"
    assert numerals.span((33.0, 31.0), numerals.seconds) == "31.0 s to 33.0 s"
