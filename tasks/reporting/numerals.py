"""Numerals: numbers as a reader sees them, three significant digits unless the quantity has a form of its own."""

import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a nightly verdict does without scipy.stats, which takes as long as the rest of its imports
    from tasks.analysis.statistics import Estimate
    from tasks.analysis.summary import Summary

ABSENT = "—"
"""In place of a number that does not exist: never 0."""

Form = Callable[[float], str]


def digits(value: float) -> str:
    """Three significant digits without an exponent, thousands set off by commas: `31.2`, `5,770`, `0.0123`."""
    rounded = float(f"{value:.3g}")
    decimals = 0 if rounded == 0 else max(0, 2 - math.floor(math.log10(abs(rounded))))
    return f"{rounded:,.{decimals}f}"


def whole(value: float) -> str:
    """A count: `3`."""
    return f"{value:.0f}"


def seconds(value: float) -> str:
    """Seconds with their unit: `31.2 s`."""
    return f"{digits(value)} s"


def milliseconds(value: float) -> str:
    """Seconds as milliseconds, the unit left to a column's header: `6.17`."""
    return digits(1000 * value)


def ratio(value: float) -> str:
    """How many times as much: `1.23 x`."""
    return f"{digits(value)} x"


def share(value: float) -> str:
    """A share in whole per cent: `91 %`."""
    return f"{100 * value:.0f} %"


def accuracy(value: float) -> str:
    """A share of test examples in per cent with two decimals: `98.73 %`."""
    return f"{100 * value:.2f} %"


def percentage_points(value: float) -> str:
    """A difference of shares, two decimals: `0.12 points`."""
    return f"{100 * value:.2f} points"


def signed_points(value: float) -> str:
    """A directed difference of shares: `+0.12 points`."""
    return f"{round(100 * value, 2) + 0.0:+.2f} points"


def level(value: float) -> str:
    """A share in per cent as short as it can be written: `98.5 %`."""
    return f"{100 * value:.3g} %"


def scientific(value: float) -> str:
    """A number far below 1, two significant digits: `8.5e-7`."""
    return f"{value:.2g}".replace("e-0", "e-")


def p_value(value: float) -> str:
    """A probability, two significant digits: `.012`, `< .0001`."""
    return "< .0001" if value < 1e-4 else f"{value:.2g}".replace("0.", ".", 1)


def on_off(value: bool) -> str:
    """A switch: `on`."""
    return "on" if value else "off"


def gibibytes(value: float) -> str:
    """Memory in binary units: `7.75 GiB`."""
    return f"{digits(value / 2**30)} GiB"


def plural(count: int, noun: str) -> str:
    """The count with its noun: `1 block`, `3 blocks`, `2 strategies`."""
    if count == 1:
        return f"1 {noun}"
    return f"{count:,} {noun[:-1]}ies" if noun.endswith("gy") else f"{count:,} {noun}s"


def shown(value: float | None, form: Form = digits) -> str:
    """The value in the given form; a dash without one."""
    return ABSENT if value is None else form(value)


def between(low: float, high: float, form: Form = digits) -> str:
    """Both ends of an interval: `30.1 to 32.2`."""
    return f"{form(low)} to {form(high)}"


def with_spread(summary: "Summary | None", form: Form = digits) -> str:
    """Median and, from 3 values on, its interval or range in parentheses: `31.2 (30.1 to 32.2)`."""
    if summary is None or not summary.has_range:
        return shown(summary.median if summary else None, form)
    return f"{form(summary.median)} ({between(summary.low, summary.high, form)})"


def ratio_with_interval(found: "Estimate", form: Form = ratio, end: Form = digits) -> str:
    """The ratio and, where it has one, its interval: `1.66 x (1.60 to 1.72)`."""
    if found.ratio is None:
        return ABSENT
    if found.low is None or found.high is None:
        return form(found.ratio)
    return f"{form(found.ratio)} ({between(found.low, found.high, end)})"


def efficiency(speedup: "Estimate", num_replicas: int) -> str:
    """The ratio as a share of the ideal one, with its interval: `83 % (80 to 86)`."""
    n = num_replicas
    return ratio_with_interval(speedup, lambda value: share(value / n), lambda value: whole(100 * value / n))


def extent(summary: "Summary | None") -> str:
    """Smallest to largest ratio from 3 values on: a range, never called an interval."""
    if summary is None or not summary.has_range:
        return ABSENT
    return between(min(summary.values), max(summary.values), digits)


def span(values: Iterable[float], form: Form) -> str:
    """Smallest to largest, or the one value where they read the same: `31.0 s to 33.2 s`; a dash without any."""
    texts = [form(value) for value in sorted(values)] or [ABSENT]
    return texts[0] if texts[0] == texts[-1] else f"{texts[0]} to {texts[-1]}"
