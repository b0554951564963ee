"""The first screen: what was measured on what, the answer with its condition, and the table of points."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from math import prod

from tasks.analysis.analysis import Analysis
from tasks.analysis.loops import LoopEffect
from tasks.analysis.pairs import MIN_VERDICT_BLOCKS
from tasks.analysis.points import Point
from tasks.analysis.summary import Summary, sampling_error
from tasks.domain.device import DeviceType
from tasks.domain.strategy import Strategy
from tasks.domain.sweep import Sweep
from tasks.reporting.grid import N_OF_PLANNED, caption, names, overview, tabulate
from tasks.reporting.labels import (
    cell_name,
    devices_in_full,
    one_device,
    setting_name,
    shortfall_name,
    strategy_name,
    tag_lines,
    tags,
    undecided,
    workload,
)
from tasks.reporting.markdown import bullets, escape, folded, table
from tasks.reporting.numerals import accuracy, digits, percentage_points, plural, ratio, seconds, share, span, whole

QUESTION = "which strategy, at which batch size?"


def open_report(analysis: Analysis, is_brief: bool) -> tuple[str, ...]:
    """The paragraphs of the first screen, the title first."""
    columns = overview(analysis)
    more = [*names(analysis.run), *(column for column in columns if not column.brief)]
    return (
        *_title(analysis, is_brief),
        _coverage(analysis),
        " ".join(f"**{sentence}**" for sentence in _answer(analysis)),
        *((bullets(notes),) if (notes := tuple(_take_notes(analysis))) else ()),
        tabulate(analysis.run, columns, analysis.points, N_OF_PLANNED, is_brief),
        *((folded("More columns", table(more, (p for p in analysis.points if p.n))),) if is_brief else ()),
        caption(analysis),
    )


def _title(analysis: Analysis, is_brief: bool) -> tuple[str, ...]:
    """What was measured on what, the state of the run first; a brief title leaves the rest to the next line."""
    what, where = escape(workload(analysis.run)), devices_in_full(analysis.run)
    if not is_brief:
        return (f"# {'. '.join([*tag_lines(analysis), f'{what} on {where}: {QUESTION}'])}",)
    words = f"{', '.join(tags(analysis))}: " if tags(analysis) else ""
    return f"# {words}{what}, {where}", " ".join([QUESTION.capitalize(), *(f"{line}." for line in tag_lines(analysis))])


def _coverage(analysis: Analysis) -> str:
    coverage = analysis.coverage
    return (
        f"COVERAGE, {analysis.run.created_at:%Y-%m-%d}: {coverage.valid} of {plural(coverage.planned, 'trial')} valid "
        f"({_grid(analysis)}); {coverage.invalid} invalid, {coverage.failed} failed, {coverage.missing} missing. "
        f"{_left_out(analysis.run.sweep)}Verdicts: none ({undecided(analysis.num_blocks)})."
    )


def _grid(analysis: Analysis) -> str:
    """What was planned: `3 strategies x 3 batch sizes x 1 block`."""
    sweep, num_points = analysis.run.sweep, len(analysis.points)
    sizes = {"strategy": len(sweep.strategies), "batch size": len(sweep.global_batch_sizes)}
    sizes |= {"loop": len(sweep.loops)} if len(sweep.loops) > 1 else {}
    sizes = sizes if prod(sizes.values()) == num_points else {"point": num_points}
    grid = " x ".join(plural(count, noun) for noun, count in (sizes | {"block": sweep.num_blocks}).items())
    baselines = analysis.coverage.planned - num_points * sweep.num_blocks
    return f"{grid} + {plural(baselines, 'baseline trial')}" if baselines > 0 else grid


def _left_out(sweep: Sweep) -> str:
    """The combinations that cannot work, with the reason; nothing where there is none."""
    counted = Counter(cell.obstacle for cell in sweep.skipped)
    parts = (f"{plural(count, 'point')} ({obstacle})" for obstacle, count in counted.items())
    return f"Left out: {'; '.join(parts)}. " if counted else ""


def _answer(analysis: Analysis) -> tuple[str, ...]:
    """The answer for the first setting, what the other loops make of it, and how sure it is, a sentence each."""
    best = _best(analysis)
    if best is None:
        planned = len(analysis.first_points) * analysis.run.sweep.num_blocks
        where = f" {name}" if (name := setting_name(analysis.run.sweep, analysis.setting)) else ""
        return f"No trial{where} gave a valid result (0 of {planned}).", "There is nothing to compare and no answer."
    run, n = analysis.run, best.n
    scope = "In this one block" if analysis.num_blocks == 1 else f"Over {plural(analysis.num_blocks, 'block')}"
    first = f"{scope} on {devices_in_full(run)}, {cell_name(run.sweep, best.cell, True)} trained "
    first += f"{plural(run.sweep.num_epochs, 'epoch')} in {seconds(_seconds(best))} "
    first += "(n = 1)" if n == 1 else f"(median, n = {n})"
    speedup = best.summary("speedup")
    if speedup:
        count = "" if speedup.n == n else f" (n = {speedup.n})"
        first += f", {ratio(speedup.median)} as fast as {one_device(run)} at the same batch{count}"
    others = [
        f"{strategy_name(run.sweep, point.cell)} {_need(point, n)}"
        for point in analysis.first_points
        if point.global_batch_size == best.global_batch_size and point is not best
        if not (point.strategy is Strategy.ONE_DEVICE and speedup)
    ]
    return "; ".join([first, *others]) + ".", *_compare_loops(analysis), _certainty(analysis.num_blocks)


def _compare_loops(analysis: Analysis) -> Iterator[str]:
    """For each other loop, on which side of one device it puts the strategies; those that change sides, if any do."""
    for loop in analysis.run.sweep.loops:
        under = f"Under {loop.label} the order against {one_device(analysis.run)}"
        compared = [e for e in analysis.loop_effects if e.other.setting.loop is loop and e.quotients]
        if turned := [effect for effect in compared if effect.is_turned]:
            yield f"{under} turns round: {_both_sides(analysis, turned)}."
        elif compared:
            yield f"{under} is the same: {_both_sides(analysis, compared)}."
        elif loop is not analysis.setting.loop:
            yield f"{under} is not known."


def _both_sides(analysis: Analysis, effects: list[LoopEffect]) -> str:
    """The speed-ups of each strategy under the other loop and under the first, by batch size."""
    first, by_name, parts = analysis.setting.loop.label, defaultdict[str, list[LoopEffect]](list), []
    for effect in effects:
        by_name[strategy_name(analysis.run.sweep, effect.cell)].append(effect)
    for name, own in by_name.items():
        others, firsts = ([e.other_speedups for e in own], [e.speedups for e in own])
        batches = ", ".join(str(effect.cell.global_batch_size) for effect in own)
        parts.append(f"{name} trained {_listed(others)} as fast at batch {batches}, under {first} {_listed(firsts)}")
    n = span((effect.quotients.n for effect in effects if effect.quotients), whole)
    return f"{'; '.join(parts)} (n = {n}; described, not decided)"


def _listed(ratios: Iterable[Summary | None]) -> str:
    return ", ".join(ratio(summary.median) for summary in ratios if summary)


def _need(point: Point, expected_n: int) -> str:
    if not point.n:
        return f"has no valid trial there ({escape(shortfall_name(point))})"
    return f"needed {seconds(_seconds(point))} there" + ("" if point.n == expected_n else f" (n = {point.n})")


def _certainty(num_blocks: int) -> str:
    """One sentence on what the blocks decide."""
    if num_blocks == 1:
        text = "One block cannot separate a difference from noise"
    elif num_blocks < MIN_VERDICT_BLOCKS:
        text = "This describes what was seen and decides nothing"
    else:
        text = "This describes what was seen"
    return f"{text}: no verdict ({undecided(num_blocks)})."


def _take_notes(analysis: Analysis) -> Iterator[str]:
    """What the answer costs, whether accuracy is alike, and what the numbers are not."""
    if best := _best(analysis):
        if len(analysis.run.sweep.strategies) > 1:
            yield _every_batch(analysis)
        yield _cost(analysis, best)
        yield _accuracy(analysis)
    if analysis.is_smoke:
        yield "Smoke: this run shows that the pipeline works; its times and accuracies answer no question."
    if analysis.run.device is DeviceType.CPU_SLICE:
        yield "Condition: a CPU slice is a fixed set of cores, not a GPU; nothing here is measured on GPUs."


def _every_batch(analysis: Analysis) -> str:
    points, sweep = analysis.best_points(), analysis.run.sweep
    what = f"Smallest median training time {setting_name(sweep, analysis.setting)}".rstrip()
    names = {strategy_name(sweep, point.cell) for point in points}
    if len(names) > 1:
        parts = [f"{p.global_batch_size}: {strategy_name(sweep, p.cell)}, {seconds(_seconds(p))}" for p in points]
        return f"{what} by batch size: {'; '.join(parts)}."
    parts = [f"{p.global_batch_size}: {seconds(_seconds(p))}" for p in points]
    return f"{what} at every batch size: {names.pop()} ({', '.join(parts)})."


def _cost(analysis: Analysis, best: Point) -> str:
    text = f"Cost of {cell_name(analysis.run.sweep, best.cell)}: {digits(best.value('device_seconds'))} device-seconds"
    singles = analysis.points_of(Strategy.ONE_DEVICE)
    single = next((p.median("device_seconds") for p in singles if p.global_batch_size == best.global_batch_size), None)
    efficiency = best.median("efficiency")
    if single is not None and efficiency is not None:
        text += f" against {digits(single)} on {one_device(analysis.run)}, a strong scaling efficiency of "
        text += share(efficiency)
    return f"{text} (n = {best.n})."


def _accuracy(analysis: Analysis) -> str:
    medians = [point.value("test_accuracy") for point in analysis.points if point.n]
    text = f"Test accuracy: {span(medians, accuracy)} over {plural(len(medians), 'point')}"
    if differences := [s.largest_difference for s in analysis.accuracy_spreads if s.largest_difference is not None]:
        same = "block, batch and setting" if len(analysis.run.sweep.settings) > 1 else "block and batch"
        text += f"; strategies in the same {same} differ by at most {percentage_points(max(differences))}"
    error = sampling_error(sum(medians) / len(medians), analysis.run.num_test_examples)
    text += f" ({analysis.run.num_test_examples:,} test examples alone give a standard error of "
    return f"{text}{percentage_points(error)}). Equivalence is not tested."


def _best(analysis: Analysis) -> Point | None:
    """The point with the smallest median training seconds of all."""
    return min(analysis.best_points(), key=_seconds, default=None)


def _seconds(point: Point) -> float:
    """Median training seconds of a point with a valid trial."""
    return point.value("training_seconds")
