"""The measurements: one section a chart, each with its finding and its table."""

from collections.abc import Callable, Iterable, Iterator
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from tasks.analysis.analysis import Analysis
from tasks.analysis.points import Point, medians
from tasks.analysis.statistics import Estimate, estimate
from tasks.domain.outcome import Phase
from tasks.domain.strategy import Strategy
from tasks.domain.trial import Role
from tasks.reporting.grid import N_WHOLE, N, PointColumn, against_one_device, median, names, tabulate, to_target
from tasks.reporting.labels import (
    basis,
    cell_name,
    max_replicas,
    one_device,
    problem_name,
    setting_name,
    strategy_name,
    verdict_name,
    width,
)
from tasks.reporting.markdown import (
    COMPARING,
    LEFT,
    RIGHT,
    Chart,
    Column,
    Edition,
    bullets,
    escape,
    field,
    folded,
    grouped,
    table,
)
from tasks.reporting.numerals import (
    ABSENT,
    accuracy,
    digits,
    efficiency,
    level,
    plural,
    ratio_with_interval,
    seconds,
    share,
    span,
    whole,
)
from tasks.reporting.steps import (
    SPLIT_NOTE,
    STEP_NOTE,
    STEP_SPLIT,
    STEP_TIMES,
    explain_step_split,
    find_step_split,
    find_step_times,
)
from tasks.results.record import PHASE_COLUMNS

MAX_EPOCH_COLUMNS = 10
"""A longer training shows so many of its epochs, evenly spaced, the last among them."""


class Measurement(NamedTuple):
    """A section with a chart."""

    title: str
    chart: Chart
    find: Callable[[Analysis], str]
    """What the chart shows, in one sentence with its n."""
    summary: str
    """Of its table of points."""
    columns: Callable[[Analysis], tuple[PointColumn, ...]]
    """Empty where the table has a row for every trial."""
    note: str = ""
    points_of: Callable[[Analysis], tuple[Point, ...]] = lambda analysis: (*analysis.points, *analysis.references)
    """The rows of the table."""
    explain: Callable[[Analysis], Iterable[str]] = lambda analysis: ()
    """Sentences between the chart and the table."""
    trials: PointColumn = N
    """How many trials a row of the table is of."""


def describe(measurement: Measurement, analysis: Analysis, edition: Edition) -> Iterator[str]:
    """The finding and its chart; below them, unless in brief, what they rest on."""
    run = analysis.run
    if measurement.chart in COMPARING and (len(run.sweep.strategies) == 1 or run.sweep.versus):
        return  # nothing is set beside it
    if any(point.n for point in analysis.points):
        finding = measurement.find(analysis)
    else:
        finding = "No trial gave a valid result: there is nothing to show."
    yield escape(finding)
    yield f"![{escape(finding)}]({edition.image_of(measurement.chart)})"
    if edition.is_brief:
        return
    columns, points = measurement.columns(analysis), measurement.points_of(analysis)
    if said := tuple(measurement.explain(analysis)):
        yield bullets(said)
    count = measurement.trials
    yield folded(measurement.summary, tabulate(run, columns, points, count) if columns else _trials(analysis))
    if measurement.chart is Chart.SCALING and analysis.baselines:
        yield folded("Baseline points: denominators only", tabulate(run, columns, analysis.baselines, N))
    if measurement.note:
        yield measurement.note


def _find_training_time(analysis: Analysis) -> str:
    best = analysis.best_points()
    if not best:
        return f"No trial gave a valid result {basis(analysis)}."
    won = grouped(best, lambda point: strategy_name(analysis.run.sweep, point.cell))
    name, points = max(won.items(), key=lambda item: len(item[1]))
    own = span(medians(points, "seconds_per_epoch"), seconds)
    if len(analysis.run.sweep.strategies) == 1:
        return f"{name} trained an epoch in {own} {basis(analysis)}."
    where = f"{len(points)} of {plural(len(best), 'batch size')}"
    text = f"{name} has the smallest median time of an epoch, over all trials, at {where}: {own}"
    batches = {point.global_batch_size for point in points}
    at = [point for point in analysis.points_of(Strategy.ONE_DEVICE) if point.global_batch_size in batches]
    singles = medians(at, "seconds_per_epoch")
    if singles and points[0].strategy is not Strategy.ONE_DEVICE:
        text += f", against {span(singles, seconds)} on {one_device(analysis.run)}"
    return f"{text} {basis(analysis)}."


def _find_scaling(analysis: Analysis) -> str:
    found: dict[tuple[str, str], list[float]] = {}
    for point in analysis.first_points:
        name, pair = strategy_name(analysis.run.sweep, point.cell), analysis.pair_of(point.cell, Strategy.ONE_DEVICE)
        if pair and pair.comparison.ratio:
            found.setdefault(("Strong", name), []).append(pair.comparison.ratio / point.num_replicas)
        if (weak := _weak_efficiency(point)).ratio is not None:
            found.setdefault(("Weak", name), []).append(weak.ratio)
    if not found:
        return f"No scaling efficiency: no point has {one_device(analysis.run)} beside it in the same block."
    parts = []
    for kind in dict.fromkeys(kind for kind, _ in found):
        said = (f"{name} {span(values, share)}" for (other, name), values in found.items() if other == kind)
        parts.append(f"{kind}: {', '.join(said)}")
    return f"Scaling efficiency, ideally 100 %. {'; '.join(parts)} {basis(analysis)}."


def _find_convergence(analysis: Analysis) -> str:
    sweep = analysis.run.sweep
    trials = pd.concat([point.trials.assign(point=cell_name(sweep, point.cell)) for point in analysis.first_points])
    reached = trials.dropna(subset=["seconds_to_target"])
    trials = trials.dropna(subset=["training_seconds"])
    if trials.empty:
        return "No trial has trained every epoch yet."
    text = f"{len(reached)} of {plural(len(trials), 'whole trial')} {setting_name(sweep, analysis.setting)}".rstrip()
    text += f" reached {level(sweep.target_accuracy)} test accuracy"
    text += f" within {plural(sweep.num_epochs, 'epoch')}"
    if reached.empty:
        return f"{text}."
    medians = {
        cell_name(sweep, point.cell): point.median("seconds_to_target") or 0.0
        for point in analysis.first_points
        if point.num_whole and point.trials["seconds_to_target"].count() == point.num_whole
    }
    text += f", after epoch {span(reached['epochs_to_target'], whole)}"
    if not medians:
        return f"{text}, at no point all of them."
    first = min(medians, key=lambda name: medians[name])
    return f"{text}; the smallest median of training time to it was {seconds(medians[first])} ({first})."


def _find_phases(analysis: Analysis) -> str:
    times = [
        (wall, p.median("training_phase_seconds") or 0.0)
        for p in analysis.points
        if (wall := p.median("wall_seconds")) is not None
    ]
    gaps = medians(analysis.points, "unexplained_seconds")
    return (
        f"Training takes {span((training / wall for wall, training in times), share)} of a trial's wall time; "
        f"the rest is {span((wall - training for wall, training in times), seconds)}, of which no phase explains at "
        f"most {digits(max(gaps, default=0.0))} s (n = {span((p.num_whole for p in analysis.points), whole)} whole "
        "trials a point, medians)."
    )


def _convergence(analysis: Analysis) -> tuple[PointColumn, ...]:
    sweep = analysis.run.sweep
    num_epochs, target = sweep.num_epochs, level(sweep.target_accuracy)
    count = min(num_epochs, MAX_EPOCH_COLUMNS)
    return (
        *(_after(round(num_epochs * (number + 1) / count)) for number in range(count)),
        Column(f"s to {target}", RIGHT, to_target),
        Column(f"whole trials that reached {target}", RIGHT, _reached),
    )


def _reached(point: Point) -> str:
    return f"{point.trials['seconds_to_target'].count()} of {point.num_whole}" if point.num_whole else ABSENT


def _after(epoch: int) -> PointColumn:
    def form(curve: pd.DataFrame) -> str:
        return accuracy(curve["test_accuracy"][epoch]) if epoch in curve.index else ABSENT

    return field(f"epoch {epoch}", RIGHT, "median_curve", form)


def _scaling(analysis: Analysis) -> tuple[PointColumn, ...]:
    replicas = max_replicas(analysis.run)
    return (
        Column("devices", RIGHT, lambda point: width(analysis.run, point)),
        field("per-replica batch", RIGHT, "per_replica_batch_size"),
        median("examples/s", "examples_per_second"),
        against_one_device(analysis, "speed-up (interval)", ratio_with_interval),
        against_one_device(analysis, "strong efficiency (interval)", lambda c: efficiency(c, replicas)),
        Column("weak efficiency (95 %)", RIGHT, lambda point: efficiency(_weak_efficiency(point), 1)),
        Column("v the same cores unsplit", RIGHT, lambda p: _against_unsplit(analysis, p)),
        median("device-s an epoch", "device_seconds_per_epoch"),
    )


def _weak_efficiency(point: Point) -> Estimate:
    """Described, no verdict rests on it."""
    return estimate(np.log(point.trials["weak_efficiency"].dropna()))


def _against_unsplit(analysis: Analysis, point: Point) -> str:
    pair = analysis.pair_of(point.cell, Strategy.ONE_DEVICE, is_unsplit=True) if point.role is Role.MEASURED else None
    return f"{ratio_with_interval(pair.comparison)}, {verdict_name(pair.comparison)}" if pair else ABSENT


def _phases(_: Analysis) -> tuple[PointColumn, ...]:
    return (
        *(median(phase.replace("_", " "), PHASE_COLUMNS[phase]) for phase in Phase),
        median("unexplained", "unexplained_seconds"),
        median("wall", "wall_seconds"),
    )


def _trials(analysis: Analysis) -> str:
    """One row a trial, planned ones without a number among them, in blocks that have begun."""
    run, rows = analysis.run, list[dict[Any, Any]]()
    named = (*names(run), Column[Any]("devices", RIGHT, lambda point: width(run, point)))
    for point in (*analysis.points, *analysis.references):
        told = {column.header: column.cell(point) for column in named}
        trials = point.trials.to_dict("records")
        begun = (p for p in point.problems if p.block <= analysis.coverage.num_begun)
        trials += [{"block": p.block, "num_epochs": escape(problem_name(p))} for p in begun]
        rows += [trial | told for trial in sorted(trials, key=itemgetter("block"))]

    def column(header: str, name: str, form: Callable[[Any], str] = str) -> Column[Any]:
        return Column(header, RIGHT, lambda row: ABSENT if pd.isna(value := row.get(name)) else form(value))

    columns = (
        *(Column[Any](c.header, LEFT if c is named[0] else RIGHT, itemgetter(c.header)) for c in named),
        column("block", "block"),
        column("seed", "block", lambda block: str(run.sweep.seed + block - 1)),
        column("epochs", "num_epochs"),
        column("s/epoch", "seconds_per_epoch", digits),
        column("examples/s", "examples_per_second", digits),
        column("test accuracy", "test_accuracy", accuracy),
        column("cores busy", "cpu_utilisation", share),
        column("taken by others", "contention", share),
    )
    return table(columns, rows)


TRAINING_TIME = Measurement(
    "Training time", Chart.TRAINING_TIME, _find_training_time, "Every trial", lambda analysis: ()
)
"""On the first screen."""
MEASUREMENTS = (
    Measurement("Scaling", Chart.SCALING, _find_scaling, "Throughput and efficiency by point", _scaling),
    Measurement(
        "Convergence",
        Chart.CONVERGENCE,
        _find_convergence,
        "Test accuracy by epoch, medians",
        _convergence,
        trials=N_WHOLE,
    ),
    Measurement(
        "Where a step goes",
        Chart.STEP_SPLIT,
        find_step_split,
        "A step's time, medians",
        lambda analysis: STEP_SPLIT,
        SPLIT_NOTE,
        lambda analysis: tuple(point for point in analysis.points if point.num_replicas > 1),
        explain_step_split,
    ),
    Measurement(
        "Where the wall time goes",
        Chart.PHASES,
        _find_phases,
        "Seconds by phase, medians",
        _phases,
        points_of=lambda analysis: analysis.points,
        trials=N_WHOLE,
    ),
    Measurement(
        "Step times", Chart.STEP_TIMES, find_step_times, "Step time by point", lambda analysis: STEP_TIMES, STEP_NOTE
    ),
)
