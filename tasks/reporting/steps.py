"""Steps: where a step's time goes, how it varies, and what the loop makes of it."""

from collections.abc import Iterable, Iterator

from tasks.analysis.analysis import Analysis
from tasks.analysis.loops import LoopEffect
from tasks.analysis.statistics import Verdict
from tasks.analysis.summary import Summary
from tasks.domain.strategy import Strategy
from tasks.reporting.grid import PointColumn, median
from tasks.reporting.labels import basis, cell_name, counts, one_device, strategy_code
from tasks.reporting.markdown import LEFT, RIGHT, Column, field, table
from tasks.reporting.numerals import extent, milliseconds, ratio, ratio_with_interval, share, span, whole


def find_step_split(analysis: Analysis) -> str:
    """The widest overhead and the narrowest."""
    shares = {
        cell_name(analysis.run.sweep, point.cell): overhead / (point.median("step_seconds") or 1.0)
        for point in analysis.first_points
        if (overhead := point.median("overhead_seconds"))
    }
    if not shares:
        return "No strategy has a one-device trial at its per-replica batch size in the same block."
    low, high = (pick(shares, key=shares.__getitem__) for pick in (min, max))
    return (
        f"Overhead, the step's time beyond that of one device at the same per-replica batch, takes from "
        f"{share(shares[low])} of a step ({low}) to {share(shares[high])} ({high}) {basis(analysis)}."
    )


def explain_step_split(analysis: Analysis) -> Iterator[str]:
    """Why a strategy won or lost, from the split of its step; one sentence a strategy."""
    for strategy in analysis.run.sweep.strategies:
        parts = []
        for point in analysis.points_of(strategy):
            step, overhead = point.median("step_seconds"), point.median("overhead_seconds")
            pair = analysis.pair_of(point.cell, Strategy.ONE_DEVICE)
            if not (step and overhead is not None and pair and pair.comparison.ratio):
                continue
            found = pair.comparison
            text = f"at batch {point.global_batch_size} it {WORDS[found.verdict]} ({ratio_with_interval(found)}, "
            text += f"n = {found.n}): of {_with_unit(step)} a step one device needs "
            text += f"{_with_unit(step - overhead)} for its share"
            reduction = point.median("reduction_seconds")
            if reduction is not None:
                text += f", the reduction alone takes {_with_unit(reduction)}"
            if reduction is None or reduction > overhead:
                text += f", the overhead is {_with_unit(overhead)} in all" if overhead > 0 else ", none is overhead"
            else:
                text += f", {_with_unit(overhead - reduction)} are the rest"
            parts.append(text)
        if parts:
            yield f"Why {strategy.label} won or lost here: {'; '.join(parts)}."


WORDS = {
    Verdict.FASTER: "won against one device",
    Verdict.SLOWER: "lost against one device",
    Verdict.EQUIVALENT: "drew with one device",
    Verdict.INCONCLUSIVE: "has no verdict against one device",
}


def _with_unit(seconds: float) -> str:
    return f"{milliseconds(seconds)} ms"


def find_step_times(analysis: Analysis) -> str:
    sweep = analysis.run.sweep
    found = {
        cell_name(sweep, p.cell) + (f", {p.cell.arm}" if sweep.versus else ""): times
        for p in analysis.points
        if (times := p.step_percentiles)
    }
    if not found:
        return "No valid trial recorded step times."
    medians = {name: p50 for name, (p50, _, _) in found.items()}
    tails = {name: p99 / p50 for name, (p50, _, p99) in found.items()}
    fast, slow = (pick(medians, key=medians.__getitem__) for pick in (min, max))
    tail = max(tails, key=tails.__getitem__)
    return (
        f"Median step from {_with_unit(medians[fast])} ({fast}) to {_with_unit(medians[slow])} ({slow}); the widest "
        f"tail, p99 / p50, is {ratio(tails[tail])} ({tail}; {counts(analysis.points)} a point)."
    )


STEP_SPLIT: tuple[PointColumn, ...] = (
    field("per-replica batch", RIGHT, "per_replica_batch_size"),
    median("step ms", "step_seconds", milliseconds),
    median("overhead ms", "overhead_seconds", milliseconds),
    median("reduction alone ms", "reduction_seconds", milliseconds),
)
SPLIT_NOTE = (
    "The reduction alone is timed after the training, with nothing between two of them. The rest is what replicas wait "
    "for each other, the update of every copy, and caches and memory that they share."
)
STEP_TIMES: tuple[PointColumn, ...] = (
    field("p50 ms", RIGHT, "step_percentiles", lambda percentiles: milliseconds(percentiles[0])),
    field("p95 ms", RIGHT, "step_percentiles", lambda percentiles: milliseconds(percentiles[1])),
    field("p99 ms", RIGHT, "step_percentiles", lambda percentiles: milliseconds(percentiles[2])),
    Column("windows", RIGHT, lambda point: f"{len(point.steps):,}"),
    Column("steps a window", RIGHT, lambda point: span(point.steps["num_steps"].nlargest(1), whole)),
)
STEP_NOTE = (
    "One value is the mean step of a window of consecutive steps, between two readings of the clock; percentiles "
    "are taken inside each trial, then the median over trials. They describe and decide nothing."
)


def describe_loops(analysis: Analysis) -> Iterator[str]:
    """The finding and its table; nothing where the sweep has one loop."""
    first, against, effects = analysis.setting.loop, one_device(analysis.run), analysis.loop_effects
    if not effects:
        return
    parts = []
    for loop in dict.fromkeys(effect.other.setting.loop for effect in effects):
        ratios = _medians(effect.ratios for effect in effects if effect.other.setting.loop is loop)
        quotients = _medians(effect.quotients for effect in effects if effect.other.setting.loop is loop)
        part = f"{span(ratios, ratio)} as fast as {loop.label}" if ratios else f"in no block beside {loop.label}"
        if quotients:
            part += f" (a strategy's speed-up against {against} was {span(quotients, ratio)} that under {loop.label})"
        parts.append(part)
    blocks = span((effect.ratios.n for effect in effects if effect.ratios), whole)
    text = f"With strategy, batch and block the same, {first.label} trained {', and '.join(parts)}"
    yield f"{text}; medians over blocks, n = {blocks}."
    columns: tuple[Column[LoopEffect], ...] = (
        Column("strategy", LEFT, lambda effect: strategy_code(analysis.run.sweep, effect.cell)),
        field("batch", RIGHT, "cell.global_batch_size"),
        field("other loop", LEFT, "other.setting.loop"),
        field(f"`{first}` times as fast", RIGHT, "ratios", _median),
        field("range over blocks", RIGHT, "ratios", extent),
        field(f"speed-up, `{first}`", RIGHT, "speedups", _median),
        field("speed-up, other loop", RIGHT, "other_speedups", _median),
        field("quotient", RIGHT, "quotients", _median),
        field("blocks", RIGHT, "ratios", lambda ratios: whole(ratios.n)),
    )
    yield table(columns, effects)


def _median(summary: Summary) -> str:
    return ratio(summary.median)


def _medians(summaries: Iterable[Summary | None]) -> list[float]:
    return [summary.median for summary in summaries if summary]
