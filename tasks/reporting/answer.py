"""The answer: in two sentences, with what it costs and under which condition it holds."""

from tasks.analysis.accuracy import sampling_error
from tasks.analysis.analysis import Analysis
from tasks.analysis.points import Point
from tasks.domain.device import DeviceType
from tasks.domain.strategy import Strategy
from tasks.reporting.escaping import escape
from tasks.reporting.findings import best_by_batch
from tasks.reporting.labels import (
    devices_in_full,
    one_device,
    point_name,
    shortfall_name,
)
from tasks.reporting.numerals import (
    accuracy,
    digits,
    percentage_points,
    plural,
    ratio,
    seconds,
    share,
    span,
)
from tasks.reporting.verdicts import certainty


def answer(analysis: Analysis) -> tuple[str, ...]:
    """The answer in two sentences, each with its condition."""
    best = best_by_batch(analysis)
    if not best:
        return (
            f"No trial gave a valid result (0 of {analysis.coverage.planned}).",
            "There is nothing to compare and no answer.",
        )
    median, point = min(best.values(), key=lambda pair: pair[0])
    run, n = analysis.run, point.n
    scope = "In this one block" if analysis.num_blocks == 1 else f"Over {plural(analysis.num_blocks, 'block')}"
    first = (
        f"{scope} on {devices_in_full(run)}, {point_name(point)} trained {plural(run.sweep.num_epochs, 'epoch')} in "
        f"{seconds(median)} ({'n = 1' if n == 1 else f'median, n = {n}'})"
    )
    if point.speedup:
        count = "" if point.speedup.n == n else f" (n = {point.speedup.n})"
        first += f", {ratio(point.speedup.median)} as fast as {one_device(run)} at the same batch{count}"
    others = [
        f"{other.strategy.label} {_need(other, n)}"
        for other in analysis.points
        if other.global_batch_size == point.global_batch_size and other is not point
        if not (other.strategy is Strategy.ONE_DEVICE and point.speedup)
    ]
    return "; ".join([first, *others]) + ".", certainty(analysis)


def _need(point: Point, expected_n: int) -> str:
    if point.training_seconds is None:
        return f"has no valid trial there ({escape(shortfall_name(point))})"
    count = "" if point.n == expected_n else f" (n = {point.n})"
    return f"needed {seconds(point.training_seconds.median)} there{count}"


def take_notes(analysis: Analysis) -> tuple[str, ...]:
    """What the answer costs, whether accuracy is alike, and what the numbers are not."""
    notes = []
    if best := best_by_batch(analysis):
        notes += [_every_batch(best), *_cost(analysis, best), *_accuracy(analysis)]
    if analysis.is_smoke:
        notes.append("Smoke: this run shows that the pipeline works; its times and accuracies answer no question.")
    if analysis.run.device is DeviceType.CPU_SLICE:
        notes.append("Condition: a CPU slice is a fixed set of cores, not a GPU; nothing here is measured on GPUs.")
    return tuple(notes)


def _every_batch(best: dict[int, tuple[float, Point]]) -> str:
    names = {point.strategy.label for _, point in best.values()}
    if len(names) == 1:
        parts = [f"{batch}: {seconds(median)}" for batch, (median, _) in best.items()]
        return f"Smallest median training time at every batch size: {names.pop()} ({', '.join(parts)})."
    parts = [f"{batch}: {point.strategy.label}, {seconds(median)}" for batch, (median, point) in best.items()]
    return f"Smallest median training time by batch size: {'; '.join(parts)}."


def _cost(analysis: Analysis, best: dict[int, tuple[float, Point]]) -> list[str]:
    _, point = min(best.values(), key=lambda pair: pair[0])
    if point.device_seconds is None:
        return []
    text = f"Cost of {point_name(point)}: {digits(point.device_seconds.median)} device-seconds"
    single = next(
        (
            p.device_seconds.median
            for p in analysis.points
            if (p.strategy, p.global_batch_size) == (Strategy.ONE_DEVICE, point.global_batch_size) and p.device_seconds
        ),
        None,
    )
    if single is not None and point.efficiency:
        text += (
            f" against {digits(single)} on {one_device(analysis.run)}, "
            f"a strong scaling efficiency of {share(point.efficiency.median)}"
        )
    return [f"{text} (n = {point.n})."]


def _accuracy(analysis: Analysis) -> list[str]:
    medians = [point.test_accuracy.median for point in analysis.points if point.test_accuracy]
    differences = [s.largest_difference for s in analysis.accuracy_spreads if s.largest_difference is not None]
    if not medians:
        return []
    text = f"Test accuracy: {span(medians, accuracy)} over {plural(len(medians), 'point')}"
    if differences:
        text += f"; strategies in the same block and batch differ by at most {percentage_points(max(differences))}"
    error = sampling_error(sum(medians) / len(medians), analysis.run.num_test_examples)
    text += f" ({analysis.run.num_test_examples:,} test examples alone give a standard error of "
    return [f"{text}{percentage_points(error)}). Equivalence is not tested."]
