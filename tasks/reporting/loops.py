"""What the loop does: every point under the first loop against the same under each other one."""

from collections.abc import Iterable, Iterator

from tasks.analysis.analysis import Analysis
from tasks.analysis.loops import LoopEffect
from tasks.analysis.summary import Summary
from tasks.reporting.labels import one_device, strategy_code
from tasks.reporting.markdown import LEFT, RIGHT, Column, field, table
from tasks.reporting.numerals import extent, ratio, span, whole


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
