"""The grid: tables with one row a point, also where there is no number."""

from collections.abc import Callable, Iterable, Sequence

from tasks.analysis.analysis import Analysis
from tasks.analysis.points import Point
from tasks.analysis.summary import Spread
from tasks.domain.strategy import Strategy
from tasks.reporting.labels import devices, shortfall_name
from tasks.reporting.markdown import LEFT, RIGHT, Column, escape, table
from tasks.reporting.numerals import ABSENT, Form, accuracy, digits, level, ratio, share, shown, whole, with_spread
from tasks.results.run import Run

PointColumn = Column[Point]


def median(header: str, column: str, form: Form = digits, brief: str = "", absent: str = ABSENT) -> PointColumn:
    """The median of a column of the trials; `absent` where no trial has it."""
    return Column(header, RIGHT, lambda p: absent if (value := p.median(column)) is None else form(value), brief)


def names(run: Run) -> tuple[PointColumn, ...]:
    """The columns that say which point a row is."""
    return (
        Column("strategy", LEFT, lambda point: str(point.strategy), "strategy"),
        Column("batch", RIGHT, lambda point: str(point.global_batch_size), "batch"),
        Column("devices", RIGHT, lambda point: devices(run, point.num_replicas)),
    )


def tabulate(
    run: Run, columns: Sequence[PointColumn], points: Iterable[Point], count: PointColumn, is_brief: bool = False
) -> str:
    """The names, the columns and n; a point without a valid trial says why in the first column and has no number."""
    first, *others = columns
    guarded = [
        first._replace(cell=lambda point: first.cell(point) if point.n else escape(shortfall_name(point))),
        *(column._replace(cell=_or_absent(column.cell)) for column in others),
    ]
    return table((*names(run), *guarded, count), points, is_brief)


def against_one_device(header: str, column: str, form: Form, brief: str = "") -> PointColumn:
    """A median against the one-device trials of the same blocks, with its own n where some block has none."""

    def cell(point: Point) -> str:
        if point.strategy is Strategy.ONE_DEVICE:
            return "baseline"
        summary = point.summary(column)
        count = "" if summary is None or summary.n == point.n else f" (n = {summary.n})"
        return shown(summary.median if summary else None, form) + count

    return Column(header, RIGHT, cell, brief)


def overview(analysis: Analysis) -> tuple[PointColumn, ...]:
    """The columns of the first screen, between the names and n."""
    run = analysis.run
    return (
        Column("training s", RIGHT, lambda point: with_spread(point.summary("training_seconds")), "training s"),
        median("s/epoch", "seconds_per_epoch"),
        median("examples/s", "examples_per_second"),
        against_one_device(f"speed-up v 1 {run.device.label.split()[-1]}", "speedup", ratio, "speed-up"),
        against_one_device("strong efficiency", "efficiency", share, "strong eff."),
        median("test accuracy", "test_accuracy", accuracy, "accuracy"),
        Column(f"s to {level(run.sweep.target_accuracy)}", RIGHT, _to_target),
    )


def _or_absent(cell: Callable[[Point], str]) -> Callable[[Point], str]:
    return lambda point: cell(point) if point.n else ABSENT


def _of_planned(point: Point) -> str:
    planned = point.n + len(point.problems)
    return whole(point.n) if point.n == planned else f"{point.n} of {planned}"


def _to_target(point: Point) -> str:
    reached = point.summary("seconds_to_target")
    if reached is None:
        return "not reached"
    return digits(reached.median) + ("" if reached.n == point.n else f" ({reached.n} of {point.n} reached it)")


N = Column[Point]("n", RIGHT, lambda point: whole(point.n), "n")
"""Valid trials."""
N_OF_PLANNED = N._replace(cell=_of_planned)
"""Valid trials, of the planned ones where some are not."""


def caption(analysis: Analysis) -> str:
    """What the first screen's numbers are."""
    text = "Medians over n trials (one training in fresh processes each). Training seconds: optimizer steps only. "
    text += "Speed-up and strong scaling efficiency: against the one-device trial of the same batch in the same block. "
    text += f"Time to {level(analysis.run.sweep.target_accuracy)} is known to whole epochs."
    summaries = {point.n: point.summary("training_seconds") for point in analysis.points}
    for n, summary in sorted(summaries.items()):
        if summary and summary.spread is Spread.RANGE:
            text += f" In parentheses at n = {n}: the range, smallest to largest."
        elif summary and summary.coverage is not None:
            text += f" In parentheses at n = {n}: smallest to largest, a {100 * summary.coverage:.1f} % interval"
            text += " for the median."
    return text
