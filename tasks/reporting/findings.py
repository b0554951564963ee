"""Findings: what each chart shows, in one sentence made from the analysis."""

from collections import Counter
from typing import assert_never

from tasks.analysis.analysis import Analysis
from tasks.analysis.points import Point
from tasks.domain.outcome import Phase
from tasks.domain.strategy import Strategy
from tasks.reporting.document import Chart
from tasks.reporting.labels import one_device, point_name
from tasks.reporting.numerals import digits, level, plural, seconds, share, span

NOTHING = "No trial gave a valid result: there is nothing to show."


def find(chart: Chart, analysis: Analysis) -> str:
    """The chart's finding as plain text, with its n; also the chart's alternative text."""
    if not any(point.n for point in analysis.points):
        return NOTHING
    match chart:
        case Chart.TRAINING_TIME:
            return _training_time(analysis)
        case Chart.SCALING:
            return _scaling(analysis)
        case Chart.CONVERGENCE:
            return _convergence(analysis)
        case Chart.STEP_TIMES:
            return _step_times(analysis)
        case Chart.PHASES:
            return _phases(analysis)
        case _:
            assert_never(chart)


def counts(points: tuple[Point, ...]) -> str:
    """How many trials stand behind each point: `n = 1` or `n = 2 to 3`."""
    return f"n = {span((point.n for point in points if point.n), lambda n: f'{n:.0f}')}"


def best_by_batch(analysis: Analysis) -> dict[int, tuple[float, Point]]:
    """The point with the smallest median training seconds at each batch size that has one."""
    found: dict[int, tuple[float, Point]] = {}
    for point in analysis.points:
        if point.training_seconds:
            candidate = (point.training_seconds.median, point)
            batch = point.global_batch_size
            found[batch] = min(found.get(batch, candidate), candidate, key=lambda pair: pair[0])
    return found


def _training_time(analysis: Analysis) -> str:
    best = best_by_batch(analysis)
    (strategy, wins), *_ = Counter(point.strategy for _, point in best.values()).most_common(1)
    own = [seconds for seconds, point in best.values() if point.strategy is strategy]
    text = f"{strategy.label} has the smallest median training time at {wins} of {plural(len(best), 'batch size')}"
    text += f": {span(own, seconds)}"
    singles = [
        point.training_seconds.median
        for point in analysis.points
        if point.strategy is Strategy.ONE_DEVICE and point.training_seconds
    ]
    if singles and strategy is not Strategy.ONE_DEVICE:
        text += f", against {span(singles, seconds)} on {one_device(analysis.run)}"
    return f"{text} ({counts(analysis.points)} a point)."


def _scaling(analysis: Analysis) -> str:
    parts = []
    for strategy in analysis.run.sweep.strategies:
        points = [p for p in analysis.points if p.strategy is strategy and p.efficiency]
        values = [point.efficiency.median for point in points if point.efficiency]
        if values:
            parts.append(f"{strategy.label} {span(values, share)}")
    if not parts:
        return f"No strong scaling efficiency: no point has {one_device(analysis.run)} beside it in the same block."
    return f"Strong scaling efficiency, ideally 100 %: {', '.join(parts)} ({counts(analysis.points)} a point)."


def _convergence(analysis: Analysis) -> str:
    target = analysis.run.sweep.target_accuracy
    curves = [(curve, point) for point in analysis.points for curve in point.curves]
    reached = [(time, curve, point) for curve, point in curves if (time := curve.seconds_to(target)) is not None]
    text = f"{len(reached)} of {plural(len(curves), 'trial')} reached {level(target)} test accuracy"
    text += f" within {plural(analysis.run.sweep.num_epochs, 'epoch')}"
    if not reached:
        return f"{text}."
    epochs = span((curve.epochs_to(target) or 0 for _, curve, _ in reached), lambda epoch: f"{epoch:.0f}")
    time, _, point = min(reached, key=lambda item: item[0])
    return f"{text}, after epoch {epochs}; the smallest training time to it was {seconds(time)} ({point_name(point)})."


def _step_times(analysis: Analysis) -> str:
    points = [(point.step_times, point) for point in analysis.points if point.step_times]
    if not points:
        return "No valid trial recorded step times."
    fast, slow = min(points, key=lambda item: item[0].p50), max(points, key=lambda item: item[0].p50)
    tail = max(points, key=lambda item: item[0].p99 / item[0].p50)
    return (
        f"Median step from {digits(1000 * fast[0].p50)} ms ({point_name(fast[1])}) "
        f"to {digits(1000 * slow[0].p50)} ms ({point_name(slow[1])}); the widest tail, p99 / p50, is "
        f"{digits(tail[0].p99 / tail[0].p50)} x ({point_name(tail[1])}; {counts(analysis.points)} a point)."
    )


def _phases(analysis: Analysis) -> str:
    times = [point.phase_times for point in analysis.points if point.phase_times]
    shares = [dict(time.phases).get(Phase.TRAINING, 0.0) / time.wall for time in times if time.wall]
    rest = [time.wall - dict(time.phases).get(Phase.TRAINING, 0.0) for time in times]
    return (
        f"Training takes {span(shares, share)} of a trial's wall time; "
        f"the rest is {span(rest, seconds)} ({counts(analysis.points)} a point)."
    )
