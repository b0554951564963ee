"""The measurements: one section a chart, each with its finding and its table."""

from collections.abc import Callable
from statistics import median

from tasks.analysis.analysis import Analysis
from tasks.analysis.points import Point
from tasks.domain.outcome import Phase
from tasks.domain.strategy import Strategy
from tasks.reporting.document import Chart, Folded, Picture, Section, Table, Text
from tasks.reporting.escaping import escape
from tasks.reporting.findings import find
from tasks.reporting.labels import devices, problem_name, shortfall_name
from tasks.reporting.numerals import ABSENT, accuracy, digits, level, median_of, ratio, share

MAX_EPOCH_COLUMNS = 10
"""A longer training shows so many of its epochs, evenly spaced, the last among them."""


def describe_training_time(analysis: Analysis) -> Section:
    """Every trial's seconds."""
    return _section("Training time", Chart.TRAINING_TIME, analysis, "Every trial", _trials(analysis))


def describe_scaling(analysis: Analysis) -> Section:
    """Throughput and strong scaling efficiency."""
    header = ("per-replica batch", "examples/s", "speed-up", "strong efficiency", "device-seconds")

    def cells(point: Point) -> tuple[str, ...]:
        is_baseline = point.strategy is Strategy.ONE_DEVICE
        return (
            f"{point.per_replica_batch_size}",
            median_of(point.examples_per_second),
            "baseline" if is_baseline else median_of(point.speedup, ratio),
            "baseline" if is_baseline else median_of(point.efficiency, share),
            median_of(point.device_seconds),
        )

    section = _section(
        "Scaling", Chart.SCALING, analysis, "Throughput and efficiency by point", _by_point(analysis, header, cells)
    )
    if not analysis.baselines:
        return section
    baselines = _by_point(analysis, header, cells, analysis.baselines)
    folded = Folded("Baseline points: denominators only", baselines)
    return Section(section.title, (*section.blocks, folded), section.is_in_short)


def describe_convergence(analysis: Analysis) -> Section:
    """Test accuracy by epoch and the time to the target."""
    num_epochs = analysis.run.sweep.num_epochs
    target = analysis.run.sweep.target_accuracy
    count = min(num_epochs, MAX_EPOCH_COLUMNS)
    shown = sorted({round(num_epochs * (i + 1) / count) for i in range(count)})
    header = (*(f"epoch {epoch}" for epoch in shown), f"s to {level(target)}", f"trials that reached {level(target)}")

    def cells(point: Point) -> tuple[str, ...]:
        reached = point.seconds_to_target.n if point.seconds_to_target else 0
        to_target = median_of(point.seconds_to_target) if reached else "not reached"
        return (*(_accuracy_after(point, epoch) for epoch in shown), to_target, f"{reached} of {point.n}")

    table = _by_point(analysis, header, cells)
    return _section("Convergence", Chart.CONVERGENCE, analysis, "Test accuracy by epoch, medians", table)


def describe_phases(analysis: Analysis) -> Section:
    """The ledger of wall time."""
    header = (*(phase.replace("_", " ") for phase in Phase), "unexplained", "wall")

    def cells(point: Point) -> tuple[str, ...]:
        times = point.phase_times
        if times is None:
            return (ABSENT,) * len(header)
        seconds = dict(times.phases)
        phases = (digits(seconds[phase]) if phase in seconds else ABSENT for phase in Phase)
        return (*phases, digits(times.unexplained), digits(times.wall))

    table = _by_point(analysis, header, cells)
    return _section("Where the time goes", Chart.PHASES, analysis, "Seconds by phase, medians", table)


def describe_step_times(analysis: Analysis) -> Section:
    """Percentiles of step time."""
    header = ("p50 ms", "p95 ms", "p99 ms", "windows", "steps a window")

    def cells(point: Point) -> tuple[str, ...]:
        times = point.step_times
        if times is None:
            return (ABSENT,) * len(header)
        percentiles = (digits(1000 * value) for value in (times.p50, times.p95, times.p99))
        return (*percentiles, f"{times.num_windows:,}", f"{times.steps_per_window}")

    note = Text(
        "One value is the mean step of a window of consecutive steps, between two readings of the clock; percentiles "
        "are taken inside each trial, then the median over trials. They describe and decide nothing."
    )
    table = _by_point(analysis, header, cells)
    section = _section("Step times", Chart.STEP_TIMES, analysis, "Step time by point", table)
    return Section(section.title, (*section.blocks, note), section.is_in_short)


def _section(title: str, chart: Chart, analysis: Analysis, summary: str, table: Table) -> Section:
    finding = find(chart, analysis)
    blocks = (Text(escape(finding)), Picture(chart, finding), Folded(summary, table))
    return Section(title, blocks, is_in_short=chart is not Chart.PHASES)


def _by_point(
    analysis: Analysis,
    header: tuple[str, ...],
    cells: Callable[[Point], tuple[str, ...]],
    points: tuple[Point, ...] | None = None,
) -> Table:
    """One row a point, by default of the sweep's; one without a valid trial says why in its first cell."""
    rows = []
    for point in analysis.points if points is None else points:
        name = (str(point.strategy), f"{point.global_batch_size}", devices(analysis.run, point.num_replicas))
        empty = (escape(shortfall_name(point)), *[ABSENT] * (len(header) - 1))
        rows.append((*name, *(cells(point) if point.n else empty), f"{point.n}"))
    return Table(("strategy", "batch", "devices", *header, "n"), tuple(rows), num_text_columns=1)


def _trials(analysis: Analysis) -> Table:
    header = ("strategy", "batch", "devices", "block", "seed", "training s", "examples/s", "test accuracy")
    rows = []
    for point in analysis.points:
        columns = (point.training_seconds, point.examples_per_second, point.test_accuracy)
        values = zip(*(column.values for column in columns if column), strict=True)
        found = {
            block: (digits(time), digits(rate), accuracy(final))
            for block, (time, rate, final) in zip(point.blocks, values, strict=True)
        }
        found |= {p.block: (escape(problem_name(p)), ABSENT, ABSENT) for p in point.problems}
        name = (str(point.strategy), f"{point.global_batch_size}", devices(analysis.run, point.num_replicas))
        first_seed = analysis.run.sweep.seed
        rows += [(*name, f"{block}", f"{first_seed + block - 1}", *found[block]) for block in sorted(found)]
    return Table(header, tuple(rows), num_text_columns=1)


def _accuracy_after(point: Point, epoch: int) -> str:
    found = [p.test_accuracy for curve in point.curves for p in curve.points if p.epoch == epoch]
    return accuracy(median(found)) if found else ABSENT
