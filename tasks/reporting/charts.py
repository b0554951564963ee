"""Charts: an analysis as pictures, the same bytes for the same numbers."""

from collections.abc import Callable, Sequence
from itertools import groupby, product
from statistics import geometric_mean
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from tasks.analysis.analysis import Analysis
from tasks.analysis.points import Point
from tasks.domain.cell import Arm, Cell
from tasks.domain.device import DeviceType
from tasks.domain.strategy import Strategy
from tasks.reporting.drawing import ALARM, GREY, INK, LOOKS, PHASE_GROUPS, WIDTH, Kind, encode, frame, styled
from tasks.reporting.labels import (
    max_replicas,
    point_name,
    setting_name,
    shortfall_name,
    strategy_name,
    tag_lines,
    workload,
)
from tasks.reporting.markdown import COMPARING, Chart
from tasks.reporting.numerals import digits, level, plural, seconds, share, span, whole
from tasks.results.record import PHASE_COLUMNS

Fill = Literal["full", "none", "left", "bottom", "right"]
ROW, LABELS, LETTER = 0.25, 2.2, 0.082
"""Height of a row, widths of row labels and of a letter, in inches."""
NUM_BINS = 160
"""Of a distribution."""
FILLS: tuple[Fill, ...] = get_args(Fill)
"""How the markers of a strategy's reductions are filled, in the sweep's order."""


def _training_time(analysis: Analysis) -> Figure:
    def draw(axes: Axes, point: Point, y: float) -> float:
        summary, look = point.summary("seconds_per_epoch"), LOOKS[point.strategy]
        if summary is None:
            return 0.0
        axes.plot([0, summary.median], [y, y], color=look.colour, linewidth=1, alpha=0.5)
        if summary.coverage is not None:
            axes.plot([summary.low, summary.high], [y, y], color=look.colour, lw=6, alpha=0.4, solid_capstyle="butt")
        axes.plot([summary.median] * 2, [y - 0.38, y + 0.38], color=INK, linewidth=1.6, solid_capstyle="butt")
        apart = y + (np.linspace(-0.2, 0.2, summary.n) if summary.n > 1 else np.zeros(1))
        are_whole = point.trials["training_seconds"].notna()
        for value, height, is_whole in zip(summary.values, apart, are_whole, strict=True):
            fill = look.colour if is_whole else "white"
            axes.plot(value, height, look.marker, color=fill, markeredgecolor=INK, markersize=5)
        _value(axes, max(summary.values), y, seconds(summary.median))
        return max(summary.values)

    band = Line2D([], [], color=GREY, linewidth=6, alpha=0.4, label="interval for the median (from n = 5)")
    whole = _mark("o", "one trial of all epochs")
    whole.set_markerfacecolor(INK)
    keys = [whole, _mark("o", "of fewer epochs"), _mark("|", "median, with its value", 10), band]
    return _rows(analysis, "Training time of an epoch", "seconds an epoch, evaluation excluded", keys, draw)


def _step_split(analysis: Analysis) -> Figure:
    def draw(axes: Axes, point: Point, y: float) -> float:
        step, overhead = (1000 * (point.median(name) or 0.0) for name in ("step_seconds", "overhead_seconds"))
        reduction = min(1000 * (point.median("reduction_seconds") or 0.0), max(0.0, overhead))
        is_split = point.num_replicas == 1 or point.median("overhead_seconds") is not None
        single = (step - overhead, LOOKS[point.strategy].colour if is_split else "none", "")
        end = _bar(axes, y, single, (reduction, "#4D4D4D", ""), (overhead - reduction, "#FFFFFF", "//////"))
        if step:
            _value(axes, max(end, step), y, f"{digits(step)} ms" + ("" if is_split else ", not split"))
        return max(end, step)

    keys = [
        _piece("one device at the same per-replica batch (strategy's colour)"),
        _piece("the reduction alone", "#4D4D4D"),
        _piece("the rest", "#FFFFFF", "//////"),
    ]
    return _rows(analysis, "Where a step goes", "milliseconds per optimizer step, medians", keys, draw)


def _step_times(analysis: Analysis) -> Figure:
    points = (*analysis.points, *analysis.references)
    limit = 1150 * max((point.step_percentiles[2] for point in points if point.step_percentiles), default=0.001)

    def draw(axes: Axes, point: Point, y: float) -> float:
        percentiles, milliseconds = point.step_percentiles, 1000 * point.steps["step_seconds"]
        if percentiles is None:
            return 0.0
        windows, edges = np.histogram(milliseconds, NUM_BINS, (0.0, limit))
        drawn = slice(windows.nonzero()[0][0], windows.nonzero()[0][-1] + 2)
        windows, edges = np.append(windows, 0)[drawn], edges[drawn]
        half, colour = 0.42 * windows / max(windows.max(), 1), LOOKS[point.strategy].colour
        axes.fill_between(edges, y - half, y + half, step="post", color=colour, alpha=0.8, linewidth=0)
        p50, p95, p99 = (1000 * value for value in percentiles)
        axes.plot([p50, p50], [y - 0.4, y + 0.4], color=INK, linewidth=1.6, solid_capstyle="butt")
        axes.plot(p95, y, "D", color=INK, markersize=4, markerfacecolor="white")
        axes.plot(p99, y, "x", color=INK, markersize=5)
        _value(axes, limit, y, f"{digits(p50)} ms")
        return limit

    bars = Patch(facecolor="#BBBBBB", label="windows, as far as the axis goes")
    keys = [_mark("|", "p50, with its value", 10), _mark("D", "p95", 4), _mark("x", "p99"), bars]
    return _rows(analysis, "Step time", "milliseconds per optimizer step, mean of a window of steps", keys, draw)


def _phases(analysis: Analysis) -> Figure:
    def draw(axes: Axes, point: Point, y: float) -> float:
        widths = [sum(point.median(PHASE_COLUMNS[phase]) or 0.0 for phase in group.phases) for group in PHASE_GROUPS]
        fills = [group.fill or LOOKS[point.strategy].colour for group in PHASE_GROUPS]
        end = _bar(axes, y, *zip(widths, fills, (group.hatch for group in PHASE_GROUPS), strict=True))
        _value(axes, end, y, seconds(point.median("wall_seconds") or 0.0))
        return end

    keys = [_piece(group.name, group.fill, group.hatch) for group in PHASE_GROUPS]
    label = "seconds from launch to exit, medians by phase; the value is the whole wall time"
    return _rows(analysis, "Where the wall time goes", label, keys, draw, is_whole=True)


def _scaling(analysis: Analysis) -> Figure:
    keys = _strategy_keys(analysis, analysis.points, f"ideal: {max_replicas(analysis.run)} x one device")
    sweep, ideal = analysis.run.sweep, max_replicas(analysis.run)
    groups = [list(group) for _, group in groupby(analysis.points, key=lambda point: point.cell.setting)]
    heading = 0.2 if len(groups) == 1 else 0.35
    figure = _frame(analysis, "Throughput and strong scaling efficiency", 3.0 * len(groups), keys, heading)
    panels = _panels(figure, 2, len(groups), gap=0.75)
    for (left, right), points in zip(panels, groups, strict=True):
        for arm in dict.fromkeys((point.strategy, point.cell.reduction) for point in points):
            own = [point for point in points if (point.strategy, point.cell.reduction) == arm]
            _by_batch(left, analysis, own, "examples_per_second")
            _by_batch(right, analysis, own, "efficiency")
            if arm[0] is Strategy.ONE_DEVICE:
                rates = [ideal * (point.median("examples_per_second") or np.nan) for point in own]
                left.plot(rates, ":", color=GREY, lw=1.6)
        right.plot([1.0] * len(sweep.global_batch_sizes), ":", color=GREY, lw=1.6)
        left.yaxis.set_major_formatter(lambda value, _: f"{value:,g}")
        right.yaxis.set_major_formatter(lambda value, _: share(value))
        setting = setting_name(sweep, points[0].cell.setting)
        left.set_title(f"{setting}\nexamples per second".lstrip())  # a long one goes on above the other panel
        right.set_title("strong scaling efficiency")
        for axes in (left, right):
            _note_gaps(axes, points, 0.02, "left")
    for column in zip(*panels, strict=True):
        top = 1.1 * max(axes.get_ylim()[1] for axes in column)
        for axes in column:
            axes.set_xticks(range(len(sweep.global_batch_sizes)), [str(batch) for batch in sweep.global_batch_sizes])
            axes.set(xlim=(-0.4, len(sweep.global_batch_sizes) - 0.6), ylim=(0, top))
            axes.grid(visible=False, axis="x")
        column[-1].set_xlabel("global batch size")
    return figure


def _by_batch(axes: Axes, analysis: Analysis, points: Sequence[Point], column: str) -> None:
    """Every trial a small dot, medians joined, of ratios geometric means; the filling tells reductions apart."""
    look, fill = LOOKS[points[0].strategy], _fill(analysis, points[0].cell)
    summaries = [point.summary(column) for point in points]
    for x, summary in enumerate(summaries):
        if summary and summary.n > 1:
            axes.plot([x] * summary.n, summary.values, look.marker, color=look.colour, markersize=3, alpha=0.6)
    is_ratio = column == "efficiency"  # of which the tables give the geometric mean
    centers = [(geometric_mean(s.values) if is_ratio else s.median) if s else np.nan for s in summaries]
    style: dict[str, Any] = {"color": look.colour, "markeredgecolor": INK, "fillstyle": fill}
    axes.plot(centers, look.line, marker=look.marker, markersize=6, **style)


def _fill(analysis: Analysis, cell: Cell) -> Fill:
    """How the markers of the cell's reduction are filled; those of another environment are hollow."""
    if cell.arm is Arm.OTHER:
        return "none"
    reductions = analysis.run.sweep.reductions_of(cell.strategy)
    return FILLS[reductions.index(cell.reduction)]


def _convergence(analysis: Analysis) -> Figure:
    sweep = analysis.run.sweep
    keys = _strategy_keys(analysis, analysis.first_points, f"target {level(sweep.target_accuracy)}")
    title = f"Test accuracy {setting_name(sweep, analysis.setting) or 'by epoch and by training second'}"
    figure = _frame(analysis, title, 4.6, keys, heading=0.2, is_whole=True)
    panels = _panels(figure, len(sweep.global_batch_sizes), 2, gap=0.12)
    seen = [
        sweep.target_accuracy,
        *(value for point in analysis.first_points for value in point.epochs["test_accuracy"]),
    ]
    low, high = min(seen), max(seen)
    room = 0.2 * (high - low) if any(not point.n for point in analysis.first_points) else 0.0
    for row, unit in zip(panels, ("epoch (curves shifted apart)", "training seconds"), strict=True):
        is_by_epoch, longest = row is panels[0], 0.0
        for axes, batch in zip(row, sweep.global_batch_sizes, strict=True):
            points = [point for point in analysis.first_points if point.global_batch_size == batch]
            for number, point in enumerate(points):
                shift = 0.08 * (number - (len(points) - 1) / 2) if is_by_epoch else None
                longest = max(longest, _curves(axes, point, shift, _fill(analysis, point.cell)))
            axes.axhline(sweep.target_accuracy, color=GREY, linestyle=":", linewidth=1.4)
            axes.set_ylim(low - 0.002 - room, high + 0.002)
            axes.yaxis.set_major_formatter(lambda value, _: level(value))
            axes.tick_params(labelleft=batch == sweep.global_batch_sizes[0])
            axes.set_title(f"batch {batch}" if is_by_epoch else "")
            _note_gaps(axes, points, 0.98, "right")
        row[0].set_xlabel(unit, loc="left")
        start, end = (0.5, max(longest, 1) + 0.5) if is_by_epoch else (0.0, 1.05 * (longest or 1.0))
        ticks = MaxNLocator(6 if len(row) < 5 else 3, integer=is_by_epoch).tick_values(start, end)
        for axes in row:
            axes.set_xticks([tick for tick in ticks if start <= tick <= 0.96 * end])  # the next panel's 0 is near
            axes.set_xlim(start, end)
    return figure


def _curves(axes: Axes, point: Point, shift: float | None, fill: Fill) -> float:
    """Draw the trials thin and their median thick, by epoch (shifted) or by second; returns the largest x."""
    look = LOOKS[point.strategy]

    def plot(rows: pd.DataFrame, **settings: Any) -> float:
        x = rows["elapsed_seconds"] if shift is None else rows["epoch"] + shift
        axes.plot(x, rows["test_accuracy"], color=look.colour, **settings)
        return float(x.max()) if len(x) else 0.0

    thin = [plot(rows, linewidth=0.6, alpha=0.5) for _, rows in point.epochs.groupby("trial_key") if point.n > 1]
    marker = {"marker": look.marker, "markersize": 4.5, "fillstyle": fill}
    thick = plot(point.median_curve.reset_index(), linestyle=look.line, **marker)
    return max([*thin, thick])


def _rows(
    analysis: Analysis,
    title: str,
    xlabel: str,
    keys: Sequence[Any],
    draw: Callable[[Axes, Point, float], float],
    is_whole: bool = False,
) -> Figure:
    """One row a point, grouped by batch size and setting; `draw` fills a row and returns how far it reaches.

    A chart that `is_whole` has no row of a point whose trials were all shorter.
    """
    sweep, rows, headings = analysis.run.sweep, list[tuple[float, Point]](), dict[str, float]()
    points = [p for p in (*analysis.points, *analysis.references) if p.num_whole or not (is_whole and p.n)]
    for batch, setting in product(sweep.global_batch_sizes, sweep.settings):
        top = rows[-1][0] + 2.4 if rows else 0.0
        group = [p for p in points if (p.global_batch_size, p.cell.setting) == (batch, setting)]
        if group:
            headings[f"batch {batch} {setting_name(sweep, setting)}".rstrip()] = top - 0.95
        rows += [(top + number, point) for number, point in enumerate(group)]
    bottom, names = rows[-1][0] + 0.7, [point_name(analysis.run, point) for _, point in rows]
    left = max(LABELS, LETTER * min(36, max(map(len, [*names, *headings]))))
    figure = _frame(analysis, title, ROW * (bottom + 1.5), keys, is_whole=is_whole)
    axes = _panels(figure, 1, 1, left=left)[0][0]
    reach = max(draw(axes, point, y) for y, point in rows) or 1.0
    axes.set(xlim=(0, 1.13 * reach), ylim=(bottom, -1.5), xlabel=xlabel)
    axes.set_yticks([y for y, _ in rows], names)
    axes.grid(visible=False, axis="y")
    for y, point in rows:
        if not point.n:
            _value(axes, 0, y, shortfall_name(point), color=ALARM)
    side, shift = ("right", -5.0) if len(sweep.settings) == 1 else ("left", 6 - 72 * left)  # a long one needs room
    for text, y in headings.items():
        axes.annotate(text, (0, y), (shift, 0), textcoords="offset points", weight="bold", ha=side, va="center")
    return figure


def _bar(axes: Axes, y: float, *pieces: tuple[float, str, str]) -> float:
    """Draw pieces of that width, fill and hatch one after the other; returns where the last ends."""
    end = 0.0
    for width, fill, hatch in pieces:
        axes.barh(y, max(0.0, width), 0.7, end, color=fill, edgecolor=GREY, hatch=hatch, linewidth=0.5)
        end += max(0.0, width)
    return end


def _value(axes: Axes, x: float, y: float, text: str, **settings: Any) -> None:
    axes.annotate(text, (x, y), (7, 0), textcoords="offset points", va="center", fontsize=8, **settings)


def _note_gaps(axes: Axes, points: Sequence[Point], x: float, side: Literal["left", "right"]) -> None:
    """Say in a corner which points have no number, and why, two lines each."""
    gaps = [f"batch {p.global_batch_size}, {p.strategy.label}:\n{shortfall_name(p)}" for p in points if not p.n]
    axes.text(x, 0.02, "\n".join(gaps), ha=side, va="bottom", transform=axes.transAxes, color=ALARM, fontsize=6.5)


def _mark(marker: str, label: str, size: float = 5.0) -> Line2D:
    return Line2D([], [], color=INK, marker=marker, markersize=size, markerfacecolor="w", linestyle="", label=label)


def _piece(label: str, fill: str | None = None, hatch: str = "") -> Patch:
    return Patch(facecolor=fill or "#7FB2D5", edgecolor=GREY, hatch=hatch, linewidth=0.5, label=label)


def _strategy_keys(analysis: Analysis, points: Sequence[Point], dotted: str) -> list[Line2D]:
    """A key for each strategy of the points, and one for the dotted line."""
    sweep, keys = analysis.run.sweep, []
    for cell in {strategy_name(sweep, point.cell): point.cell for point in points}.values():
        look, name, fill = LOOKS[cell.strategy], strategy_name(sweep, cell), _fill(analysis, cell)
        line = Line2D([], [], color=look.colour, marker=look.marker, linestyle=look.line, fillstyle=fill, label=name)
        keys.append(line)
    return [*keys, Line2D([], [], color=GREY, linestyle=":", label=dotted)]


def _frame(
    analysis: Analysis, title: str, height: float, keys: Sequence[Any], heading: float = 0.0, is_whole: bool = False
) -> Figure:
    """A figure that says workload, devices, n and date; that of whole trainings alone where it `is_whole`."""
    run, what = analysis.run, plural(max_replicas(analysis.run), analysis.run.device.label)
    if run.device is DeviceType.CPU_SLICE:
        what += f", {plural(run.sweep.cores_per_replica, 'core')} each: not a GPU"
    n = span((point.num_whole if is_whole else point.n for point in analysis.points), whole)
    n += " whole trials" if is_whole else ""
    subtitle = f"{workload(run, 24)}  ·  {what}  ·  n = {n} a point  ·  {run.created_at:%Y-%m-%d}"
    return frame(title, subtitle, tag_lines(analysis), height, keys, heading)


def _panels(figure: Figure, columns: int, rows: int, left: float = 0.7, gap: float = 0.0) -> list[list[Axes]]:
    """Axes in rows and columns below the title; `left` and `gap` in inches."""
    width, space = (WIDTH - left - 0.15 - gap * (columns - 1)) / columns, figure.subplotpars
    sides = {"left": left / WIDTH, "right": 1 - 0.15 / WIDTH, "bottom": space.bottom, "top": space.top}
    grid = figure.add_gridspec(rows, columns, wspace=gap / width, hspace=0.32, **sides)
    return [[figure.add_subplot(grid[row, column]) for column in range(columns)] for row in range(rows)]


DRAWINGS = {
    Chart.TRAINING_TIME: _training_time,
    Chart.SCALING: _scaling,
    Chart.CONVERGENCE: _convergence,
    Chart.STEP_SPLIT: _step_split,
    Chart.PHASES: _phases,
    Chart.STEP_TIMES: _step_times,
}


def draw_charts(analysis: Analysis) -> dict[str, bytes]:
    """Every chart as SVG and PNG, by file name."""
    files: dict[str, bytes] = {}
    with styled():
        for chart, draw in DRAWINGS.items():
            if analysis.run.sweep.versus and chart in COMPARING:
                continue
            figure = draw(analysis)
            for kind in get_args(Kind):
                files[f"{chart}.{kind}"] = encode(figure, kind)
    return files
