"""The measurements: one section a chart, each with its finding and its table."""

from collections import Counter
from collections.abc import Callable, Iterator
from operator import itemgetter
from typing import NamedTuple

import pandas as pd

from tasks.analysis.analysis import Analysis
from tasks.domain.outcome import Phase
from tasks.domain.strategy import Strategy
from tasks.reporting.grid import N, PointColumn, against_one_device, median, names, tabulate
from tasks.reporting.labels import cell_name, counts, one_device, problem_name, setting_name, strategy_name
from tasks.reporting.markdown import LEFT, RIGHT, Chart, Column, Edition, escape, field, folded, table
from tasks.reporting.numerals import ABSENT, accuracy, digits, level, plural, ratio, seconds, share, span, whole
from tasks.results.record import PHASE_COLUMNS
from tasks.results.run import Run

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
    columns: Callable[[Run], tuple[PointColumn, ...]] | tuple[PointColumn, ...]
    """Empty where the table has a row for every trial."""
    note: str = ""


def describe(measurement: Measurement, analysis: Analysis, edition: Edition) -> Iterator[str]:
    """The finding and its chart; below them, unless in brief, what they rest on."""
    run, columns = analysis.run, measurement.columns
    if measurement.chart is Chart.SCALING and len(run.sweep.strategies) == 1:
        return  # nothing is set beside it
    if any(point.n for point in analysis.points):
        finding = measurement.find(analysis)
    else:
        finding = "No trial gave a valid result: there is nothing to show."
    yield escape(finding)
    yield f"![{escape(finding)}]({edition.image_of(measurement.chart)})"
    if edition.is_brief:
        return
    columns = columns(run) if callable(columns) else columns
    yield folded(measurement.summary, tabulate(run, columns, analysis.points, N) if columns else _trials(analysis))
    if measurement.chart is Chart.SCALING and analysis.baselines:
        yield folded("Baseline points: denominators only", tabulate(run, columns, analysis.baselines, N))
    if measurement.note:
        yield measurement.note


def _find_training_time(analysis: Analysis) -> str:
    best = analysis.best_points()
    if not best:
        return f"No trial gave a valid result {_basis(analysis)}."
    names = [strategy_name(analysis.run.sweep, point.cell) for point in best]
    (name, wins), *_ = Counter(names).most_common(1)
    winners = [point for point, own in zip(best, names, strict=True) if own == name]
    own = span((point.value("training_seconds") for point in winners), seconds)
    if len(analysis.run.sweep.strategies) == 1:
        return f"{name} trained in {own} {_basis(analysis)}."
    text = f"{name} has the smallest median training time at {wins} of {plural(len(best), 'batch size')}: {own}"
    singles = [point.value("training_seconds") for point in analysis.points_of(Strategy.ONE_DEVICE) if point.n]
    if singles and winners[0].strategy is not Strategy.ONE_DEVICE:
        text += f", against {span(singles, seconds)} on {one_device(analysis.run)}"
    return f"{text} {_basis(analysis)}."


def _basis(analysis: Analysis) -> str:
    """The n of a finding about the first setting, and which that is where there are several."""
    words = f"{counts(analysis.first_points)} a point", setting_name(analysis.run.sweep, analysis.setting)
    return f"({', '.join(filter(None, words))})"


def _find_scaling(analysis: Analysis) -> str:
    found: dict[str, list[float]] = {}
    for point in analysis.first_points:
        if (value := point.median("efficiency")) is not None:
            found.setdefault(strategy_name(analysis.run.sweep, point.cell), []).append(value)
    parts = [f"{name} {span(values, share)}" for name, values in found.items()]
    if not parts:
        return f"No strong scaling efficiency: no point has {one_device(analysis.run)} beside it in the same block."
    return f"Strong scaling efficiency, ideally 100 %: {', '.join(parts)} {_basis(analysis)}."


def _find_convergence(analysis: Analysis) -> str:
    sweep = analysis.run.sweep
    trials = pd.concat([point.trials.assign(point=cell_name(sweep, point.cell)) for point in analysis.first_points])
    reached = trials.dropna(subset=["seconds_to_target"])
    text = f"{len(reached)} of {plural(len(trials), 'trial')} {setting_name(sweep, analysis.setting)}".rstrip()
    text += f" reached {level(sweep.target_accuracy)} test accuracy"
    text += f" within {plural(sweep.num_epochs, 'epoch')}"
    if reached.empty:
        return f"{text}."
    first = reached.sort_values("seconds_to_target", kind="stable").iloc[0]
    text += f", after epoch {span(reached['epochs_to_target'], whole)}; the smallest training time to it was "
    return f"{text}{seconds(first['seconds_to_target'])} ({first['point']})."


def _find_step_times(analysis: Analysis) -> str:
    found = {cell_name(analysis.run.sweep, p.cell): times for p in analysis.points if (times := p.step_percentiles)}
    if not found:
        return "No valid trial recorded step times."
    medians = {name: p50 for name, (p50, _, _) in found.items()}
    tails = {name: p99 / p50 for name, (p50, _, p99) in found.items()}
    fast, slow, tail = (
        min(medians, key=medians.__getitem__),
        max(medians, key=medians.__getitem__),
        max(tails, key=tails.__getitem__),
    )
    return (
        f"Median step from {digits(1000 * medians[fast])} ms ({fast}) to {digits(1000 * medians[slow])} ms ({slow}); "
        f"the widest tail, p99 / p50, is {digits(tails[tail])} x ({tail}; {counts(analysis.points)} a point)."
    )


def _find_phases(analysis: Analysis) -> str:
    times = [(p.value("wall_seconds"), p.median("training_phase_seconds") or 0.0) for p in analysis.points if p.n]
    return (
        f"Training takes {span((training / wall for wall, training in times), share)} of a trial's wall time; "
        f"the rest is {span((wall - training for wall, training in times), seconds)} "
        f"({counts(analysis.points)} a point)."
    )


def _convergence(run: Run) -> tuple[PointColumn, ...]:
    num_epochs, target = run.sweep.num_epochs, level(run.sweep.target_accuracy)
    count = min(num_epochs, MAX_EPOCH_COLUMNS)
    return (
        *(_after(round(num_epochs * (number + 1) / count)) for number in range(count)),
        median(f"s to {target}", "seconds_to_target", absent="not reached"),
        Column(f"trials that reached {target}", RIGHT, lambda p: f"{p.trials['seconds_to_target'].count()} of {p.n}"),
    )


def _after(epoch: int) -> PointColumn:
    def form(curve: pd.DataFrame) -> str:
        return accuracy(curve["test_accuracy"][epoch]) if epoch in curve.index else ABSENT

    return field(f"epoch {epoch}", RIGHT, "median_curve", form)


SCALING: tuple[PointColumn, ...] = (
    field("per-replica batch", RIGHT, "per_replica_batch_size"),
    median("examples/s", "examples_per_second"),
    against_one_device("speed-up", "speedup", ratio),
    against_one_device("strong efficiency", "efficiency", share),
    median("device-seconds", "device_seconds"),
)
PHASES: tuple[PointColumn, ...] = (
    *(median(phase.replace("_", " "), PHASE_COLUMNS[phase]) for phase in Phase),
    median("unexplained", "unexplained_seconds"),
    median("wall", "wall_seconds"),
)
STEP_TIMES: tuple[PointColumn, ...] = (
    field("p50 ms", RIGHT, "step_percentiles", lambda percentiles: digits(1000 * percentiles[0])),
    field("p95 ms", RIGHT, "step_percentiles", lambda percentiles: digits(1000 * percentiles[1])),
    field("p99 ms", RIGHT, "step_percentiles", lambda percentiles: digits(1000 * percentiles[2])),
    Column("windows", RIGHT, lambda point: f"{len(point.steps):,}"),
    Column("steps a window", RIGHT, lambda point: span(point.steps["num_steps"].nlargest(1), whole)),
)
STEP_NOTE = (
    "One value is the mean step of a window of consecutive steps, between two readings of the clock; percentiles "
    "are taken inside each trial, then the median over trials. They describe and decide nothing."
)


def _trials(analysis: Analysis) -> str:
    """One row a trial, planned ones without a number among them."""
    columns = ("training_seconds", digits), ("examples_per_second", digits), ("test_accuracy", accuracy)
    named, rows = names(analysis.run), []
    for point in analysis.points:
        name = [column.cell(point) for column in named]
        trials = point.trials[["block", *dict(columns)]].itertuples(index=False)
        cells = {block: [form(v) for (_, form), v in zip(columns, values, strict=True)] for block, *values in trials}
        cells |= {p.block: [escape(problem_name(p)), ABSENT, ABSENT] for p in point.problems}
        rows += [[*name, str(b), str(analysis.run.sweep.seed + b - 1), *cells[b]] for b in sorted(cells)]
    headers = *(column.header for column in named), "block", "seed", "training s", "examples/s", "test accuracy"
    aligned = [LEFT, *[RIGHT] * (len(headers) - 1)]
    return table([Column(h, a, itemgetter(i)) for i, (h, a) in enumerate(zip(headers, aligned, strict=True))], rows)


MEASUREMENTS = (
    Measurement("Training time", Chart.TRAINING_TIME, _find_training_time, "Every trial", ()),
    Measurement("Scaling", Chart.SCALING, _find_scaling, "Throughput and efficiency by point", SCALING),
    Measurement("Convergence", Chart.CONVERGENCE, _find_convergence, "Test accuracy by epoch, medians", _convergence),
    Measurement("Where the time goes", Chart.PHASES, _find_phases, "Seconds by phase, medians", PHASES),
    Measurement("Step times", Chart.STEP_TIMES, _find_step_times, "Step time by point", STEP_TIMES, STEP_NOTE),
)
