"""The table of points: strategy x batch size, one row each, also where there is no number."""

from tasks.analysis.analysis import Analysis
from tasks.analysis.points import Point
from tasks.analysis.summary import Spread
from tasks.domain.strategy import Strategy
from tasks.reporting.document import Table
from tasks.reporting.escaping import escape
from tasks.reporting.labels import (
    devices,
    short_device,
    shortfall_name,
)
from tasks.reporting.numerals import (
    ABSENT,
    accuracy,
    digits,
    level,
    median_of,
    ratio,
    share,
    with_spread,
)


def tabulate(analysis: Analysis) -> Table:
    """One row a point, also where it has no number."""
    run = analysis.run
    header = (
        "strategy",
        "batch",
        "devices",
        "training s",
        "s/epoch",
        "examples/s",
        f"speed-up v {short_device(run)}",
        "strong efficiency",
        "test accuracy",
        f"s to {level(run.sweep.target_accuracy)}",
        "n",
    )
    return Table(header, tuple(_row(analysis, point) for point in analysis.points), num_text_columns=1)


def _row(analysis: Analysis, point: Point) -> tuple[str, ...]:
    name = (str(point.strategy), f"{point.global_batch_size}", devices(analysis.run, point.num_replicas))
    planned = point.n + len(point.problems)
    if not point.n:
        return (*name, escape(shortfall_name(point)), *[ABSENT] * 6, f"0 of {planned}")
    is_baseline = point.strategy is Strategy.ONE_DEVICE
    return (
        *name,
        with_spread(point.training_seconds),
        median_of(point.seconds_per_epoch),
        median_of(point.examples_per_second),
        "baseline" if is_baseline else median_of(point.speedup, ratio) + _own_n(point),
        "baseline" if is_baseline else median_of(point.efficiency, share),
        median_of(point.test_accuracy, accuracy),
        _to_target(point),
        f"{point.n}" if point.n == planned else f"{point.n} of {planned}",
    )


def _own_n(point: Point) -> str:
    """The speed-up's n where it is not the point's: blocks without a valid baseline give no ratio."""
    return f" (n = {point.speedup.n})" if point.speedup and point.speedup.n != point.n else ""


def _to_target(point: Point) -> str:
    if point.seconds_to_target is None:
        return "not reached"
    count = point.seconds_to_target.n
    return digits(point.seconds_to_target.median) + ("" if count == point.n else f" ({count} of {point.n} reached it)")


def caption(analysis: Analysis) -> str:
    """What the table's numbers are."""
    run = analysis.run
    summaries = {p.training_seconds.n: p.training_seconds for p in analysis.points if p.training_seconds}
    text = "Medians over n trials (one training in fresh processes each). Training seconds: optimizer steps only. "
    text += "Speed-up and strong scaling efficiency: against the one-device trial of the same batch in the same block. "
    text += f"Time to {level(run.sweep.target_accuracy)} is known to whole epochs."
    for n, summary in sorted(summaries.items()):
        if summary.spread is Spread.RANGE:
            text += f" In parentheses at n = {n}: the range, smallest to largest."
        elif summary.coverage is not None:
            text += f" In parentheses at n = {n}: smallest to largest, a {100 * summary.coverage:.1f} % interval"
            text += " for the median."
    return text
