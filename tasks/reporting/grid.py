"""The grid: tables with one row a point, also where there is no number."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from tasks.analysis.analysis import Analysis
from tasks.analysis.points import Point
from tasks.analysis.statistics import Comparison
from tasks.analysis.summary import MIN_RANGE_VALUES
from tasks.domain.strategy import Strategy
from tasks.domain.sweep import Sweep
from tasks.domain.trial import Role
from tasks.reporting.labels import max_replicas, shortfall_name, verdict_name, width
from tasks.reporting.markdown import LEFT, RIGHT, Column, escape, field, table
from tasks.reporting.numerals import (
    ABSENT,
    Form,
    accuracy,
    digits,
    efficiency,
    level,
    on_off,
    plural,
    ratio_with_interval,
    shown,
    whole,
    with_spread,
)
from tasks.results.run import Run

PointColumn = Column[Point]


def median(header: str, column: str, form: Form = digits) -> PointColumn:
    """The median of a column of the trials; a dash where no trial has it."""
    return Column(header, RIGHT, lambda point: shown(point.median(column), form))


TOLD_APART: dict[str, Column[Any]] = {
    "reduction": field("reduction", LEFT, "cell.reduction", brief="reduction"),
    "setting.loop": field("loop", LEFT, "cell.setting.loop", brief="loop"),
    "setting.precision": field("precision", LEFT, "cell.setting.precision", brief="precision"),
    "setting.is_xla_enabled": field("XLA", LEFT, "cell.setting.is_xla_enabled", on_off, "XLA"),
    "setting.steps_per_call": field("steps a call", RIGHT, "cell.setting.steps_per_call", brief="steps"),
    "arm": field("environment", LEFT, "cell.arm", brief="environment"),
}
"""Columns that are there only where there are several values of a cell's attribute."""


def names(run: Run) -> tuple[Column[Any], ...]:
    """The columns that say which `cell` a row is of; one for a reduction or a setting only where there are several."""
    return (
        Column("strategy", LEFT, lambda row: row_name(run, row), "strategy"),
        *([TOLD_APART["reduction"]] if len(run.sweep.reductions) > 1 else ()),
        field("batch", RIGHT, "cell.global_batch_size", brief="batch"),
        *setting_names(run.sweep),
        *([TOLD_APART["arm"]] if run.sweep.versus else ()),
    )


def row_name(run: Run, row: Any) -> str:
    """The strategy of a row's `cell`, under TensorFlow's name; one device that is wider than a slice says so."""
    if getattr(row, "role", None) is Role.REFERENCE:
        return f"{row.cell.strategy} ({plural(run.sweep.cores_of(row.role), 'core')})"
    return str(row.cell.strategy)


def setting_names(sweep: Sweep) -> Iterator[Column[Any]]:
    """A column for each axis of settings on which the sweep has several values."""
    axes = {"loop": sweep.loops, "precision": sweep.precisions, "is_xla_enabled": sweep.xla}
    for name, values in (axes | {"steps_per_call": sweep.steps_per_call or ()}).items():
        if len(values) > 1:
            yield TOLD_APART[f"setting.{name}"]


def tabulate(
    run: Run, columns: Sequence[PointColumn], points: Iterable[Point], count: PointColumn, is_brief: bool = False
) -> str:
    """The names, the columns and n; a point without a valid trial says why in the first column and has no number."""

    def guarded(column: PointColumn) -> PointColumn:
        def cell(point: Point) -> str:
            if point.n:
                return column.cell(point)
            return escape(shortfall_name(point)) if column is columns[0] else ABSENT

        return column._replace(cell=cell)

    return table((*names(run), *map(guarded, columns), count), points, is_brief)


def against_one_device(
    analysis: Analysis, header: str, form: Callable[[Comparison], str], brief: str = ""
) -> PointColumn:
    """Something of the point's declared pair against one device."""

    def cell(point: Point) -> str:
        if point.strategy is Strategy.ONE_DEVICE and point.role is not Role.REFERENCE:
            return "baseline"
        pair = analysis.pair_of(point.cell, Strategy.ONE_DEVICE) if point.role is Role.MEASURED else None
        return form(pair.comparison) if pair else ABSENT

    return Column(header, RIGHT, cell, brief)


def overview(analysis: Analysis) -> tuple[PointColumn, ...]:
    """The columns of the first screen, between the names and n."""
    run = analysis.run
    one, replicas = f"1 {run.device.label.split()[-1]}", max_replicas(run)
    of_strategies = (
        against_one_device(analysis, f"speed-up v {one}", ratio_with_interval, "speed-up"),
        against_one_device(analysis, "verdict", verdict_name, "verdict"),
        against_one_device(analysis, "strong efficiency", lambda c: efficiency(c, replicas)),
    )
    of_environments = (Column[Point]("times as fast as here", RIGHT, lambda p: _against_here(analysis, p), "v here"),)
    return (
        Column("devices", RIGHT, lambda point: width(run, point)),
        Column(f"s for {plural(run.sweep.num_epochs, 'epoch')}", RIGHT, _training_seconds, "training s"),
        *(() if run.sweep.versus else of_strategies),
        Column("test accuracy", RIGHT, lambda p: with_spread(p.summary("test_accuracy"), accuracy), "accuracy"),
        Column(f"s to {level(run.sweep.target_accuracy)}", RIGHT, to_target),
        Column("examples/s", RIGHT, lambda p: with_spread(p.summary("examples_per_second"))),
        *(of_environments if run.sweep.versus else ()),
    )


def _against_here(analysis: Analysis, point: Point) -> str:
    found = next((pair.comparison for pair in analysis.pairs if pair.cell == point.cell), None)
    return f"{ratio_with_interval(found)}, {verdict_name(found)}" if found else "baseline"


def _training_seconds(point: Point) -> str:
    """Of the whole trainings; with their own n where others were shorter."""
    summary = point.summary("training_seconds")
    if summary is None:
        return "short trials only"
    return with_spread(summary) + ("" if summary.n == point.n else f" [n = {summary.n}]")


def _of_planned(point: Point) -> str:
    planned = point.n + len(point.problems)
    return whole(point.n) if point.n == planned else f"{point.n} of {planned}"


def to_target(point: Point) -> str:
    """Median training seconds to the target accuracy, of the whole trials that reached it."""
    reached = point.summary("seconds_to_target")
    if reached is None:
        return "not reached" if point.num_whole else ABSENT
    n = point.num_whole
    return with_spread(reached) + ("" if reached.n == n else f" [{reached.n} of {n} reached it]")


N = Column[Point]("n", RIGHT, lambda point: whole(point.n), "n")
"""Valid trials."""
N_WHOLE = Column[Point]("n whole", RIGHT, lambda point: whole(point.num_whole), "n")
"""Valid trials that trained every epoch."""
N_OF_PLANNED = N._replace(cell=_of_planned)
"""Valid trials, of the planned ones where some are not."""


def caption(analysis: Analysis) -> str:
    """What the first screen's numbers are."""
    run = analysis.run
    text = "One trial is one training in fresh processes; n counts trials, one a block. "
    text += f"Seconds for {plural(run.sweep.num_epochs, 'epoch')}, accuracy and time to "
    text += f"{level(run.sweep.target_accuracy)} are medians of whole trainings, the others of all. Training seconds: "
    text += "optimizer steps only. "
    columns = ("seconds_per_epoch", "training_seconds")
    found = (point.summary(column) for column in columns for point in analysis.points)
    summaries = {summary.n: summary for summary in found if summary}
    for n, summary in sorted(summaries.items()):
        if summary.coverage is not None:
            text += f"In parentheses behind a median of n = {n}: a {100 * summary.coverage:.1f} % interval for it "
            text += "(order statistics). "
        elif n >= MIN_RANGE_VALUES:
            text += f"In parentheses behind a median of n = {n}: the range, smallest to largest. "
    if any(pair.comparison.low is not None for pair in analysis.pairs):
        text += "In parentheses behind a ratio: its interval at the level at which Holm's rule decided the pair. "
    return text.rstrip()
