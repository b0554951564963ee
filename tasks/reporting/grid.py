"""The grid: tables with one row a point, also where there is no number."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from tasks.analysis.analysis import Analysis
from tasks.analysis.points import Point
from tasks.analysis.summary import Spread
from tasks.domain.strategy import Strategy
from tasks.domain.sweep import Sweep
from tasks.reporting.labels import devices, shortfall_name
from tasks.reporting.markdown import LEFT, RIGHT, Column, escape, field, table
from tasks.reporting.numerals import (
    ABSENT,
    Form,
    accuracy,
    digits,
    level,
    on_off,
    ratio,
    share,
    shown,
    whole,
    with_spread,
)
from tasks.results.run import Run

PointColumn = Column[Point]


def median(header: str, column: str, form: Form = digits, brief: str = "", absent: str = ABSENT) -> PointColumn:
    """The median of a column of the trials; `absent` where no trial has it."""
    return Column(header, RIGHT, lambda p: absent if (value := p.median(column)) is None else form(value), brief)


def names(run: Run) -> tuple[Column[Any], ...]:
    """The columns that say which `cell` a row is of; one for a reduction or a setting only where there are several."""
    reduction = field("reduction", LEFT, "cell.reduction", brief="reduction")
    return (
        field("strategy", LEFT, "cell.strategy", brief="strategy"),
        *([reduction] if len(run.sweep.reductions) > 1 else ()),
        field("batch", RIGHT, "cell.global_batch_size", brief="batch"),
        *setting_names(run.sweep),
        field("devices", RIGHT, "cell.strategy", lambda strategy: devices(run, run.sweep.replicas_of(strategy))),
    )


def setting_names(sweep: Sweep, setting: str = "cell.setting") -> tuple[Column[Any], ...]:
    """A column for each axis of settings on which the sweep has several values; `setting` is the row's attribute."""
    columns = {
        "loops": field("loop", LEFT, f"{setting}.loop", brief="loop"),
        "precisions": field("precision", LEFT, f"{setting}.precision", brief="precision"),
        "xla": field("XLA", LEFT, f"{setting}.is_xla_enabled", on_off, "XLA"),
        "steps_per_call": field("steps a call", RIGHT, f"{setting}.steps_per_call", brief="steps"),
    }
    return tuple(column for axis, column in columns.items() if len(getattr(sweep, axis) or ()) > 1)


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
    text += "Speed-up and strong scaling efficiency: against the one-device trial of the same batch"
    text += f"{' and setting' if len(analysis.run.sweep.settings) > 1 else ''} in the same block. "
    text += f"Time to {level(analysis.run.sweep.target_accuracy)} is known to whole epochs."
    summaries = {point.n: point.summary("training_seconds") for point in analysis.points}
    for n, summary in sorted(summaries.items()):
        if summary and summary.spread is Spread.RANGE:
            text += f" In parentheses at n = {n}: the range, smallest to largest."
        elif summary and summary.coverage is not None:
            text += f" In parentheses at n = {n}: smallest to largest, a {100 * summary.coverage:.1f} % interval"
            text += " for the median."
    return text
