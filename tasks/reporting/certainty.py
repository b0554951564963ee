"""How sure: what the blocks of a run can decide and what they cannot."""

from collections.abc import Iterator

from tasks.analysis.analysis import Analysis
from tasks.analysis.equivalence import TOLERANCES, Check
from tasks.analysis.pairs import MIN_ACCURACY_BLOCKS, MIN_VERDICT_BLOCKS, Pair
from tasks.analysis.summary import MIN_INTERVAL_VALUES, MIN_RANGE_VALUES
from tasks.domain.sweep import Sweep
from tasks.reporting.grid import setting_names
from tasks.reporting.labels import strategy_code, undecided
from tasks.reporting.markdown import LEFT, RIGHT, Column, Edition, bullets, field, folded, table
from tasks.reporting.numerals import digits, extent, percentage_points, plural, ratio, scientific, shown, span, whole

ACCURACIES = (
    field("largest difference of two strategies, same block", RIGHT, "largest_difference", percentage_points),
    field("standard deviation between strategies, same seed", RIGHT, "between_strategies", percentage_points),
    field("standard deviation between seeds, same strategy", RIGHT, "between_seeds", percentage_points),
    field("strategies", RIGHT, "num_strategies"),
    field("blocks", RIGHT, "num_blocks"),
)


def describe_certainty(analysis: Analysis, edition: Edition) -> Iterator[str]:
    """The declared pairs and the spread of accuracies."""
    sweep = analysis.run.sweep
    yield bullets((_on_speed(analysis), _on_accuracy(analysis), _on_equivalence(analysis)))
    if analysis.pairs:
        summary = f"The {plural(len(analysis.pairs), 'declared pair')}, block by block"
        yield folded(summary, table(_pairs(sweep), analysis.pairs, edition.is_brief))
    if not edition.is_brief:
        columns = field("batch", RIGHT, "global_batch_size"), *setting_names(sweep, "setting"), *ACCURACIES
        yield folded("Accuracy: strategies against seeds", table(columns, analysis.accuracy_spreads))


def _pairs(sweep: Sweep) -> tuple[Column[Pair], ...]:
    return (
        Column("pair", LEFT, lambda p: f"{strategy_code(sweep, p.cell)} v {strategy_code(sweep, p.against)}", "pair"),
        field("verdict", LEFT, "num_blocks", lambda n: f"inconclusive: {undecided(n)}"),
        field("batch", RIGHT, "cell.global_batch_size", brief="batch"),
        *setting_names(sweep),
        field("times as fast", RIGHT, "ratios", lambda ratios: ratio(ratios.median), "times as fast"),
        field("range over blocks", RIGHT, "ratios", extent),
        field("blocks", RIGHT, "num_blocks", brief="blocks"),
    )


def _on_speed(analysis: Analysis) -> str:
    n = analysis.num_blocks
    if n == 0:
        return "Speed: nothing was measured, so that nothing is known."
    if n == 1:
        text = "each point was trained once. The noise from run to run is not seen, so that no difference can be"
        text += " told from it"
    elif n < MIN_RANGE_VALUES:
        text = f"{plural(n, 'block')}, too few to show any spread"
    else:
        name = "range" if n < MIN_INTERVAL_VALUES else "interval"
        text = f"{plural(n, 'block')}; the table shows the {name} of each point"
    if n < MIN_VERDICT_BLOCKS:
        text += f". A verdict of faster or slower needs at least {MIN_VERDICT_BLOCKS} blocks"
    else:
        text += ". That many blocks would do for a verdict, but this version describes pairs and tests none"
    if analysis.block_noise is not None:
        text += f". Seen from block to block: {digits(100 * analysis.block_noise)} % (standard deviation of ln seconds"
        text += " inside a point, pooled over the points)"
    return f"Speed: {text}."


def _on_accuracy(analysis: Analysis) -> str:
    def largest(name: str) -> float | None:
        values = (getattr(spread, name) for spread in analysis.accuracy_spreads)
        return max((value for value in values if value is not None), default=None)

    if largest("largest_difference") is None:
        return "Accuracy: no block has two strategies with a valid trial at the same batch size."
    text = "Accuracy: every block trains all strategies with one seed. In one block and at one batch"
    text += f"{' and setting' if len(analysis.run.sweep.settings) > 1 else ''}, strategies differ"
    text += f" by at most {shown(largest('largest_difference'), percentage_points)}"
    if largest("between_seeds") is None:
        text += "; one block has one seed, so that the spread over seeds is not seen"
    else:
        text += (
            f"; standard deviation between strategies at most {shown(largest('between_strategies'), percentage_points)}"
        )
        text += f", between seeds at most {shown(largest('between_seeds'), percentage_points)}, by batch size"
    return f"{text}. Equivalence needs a test over at least {MIN_ACCURACY_BLOCKS} whole trainings of each: not decided."


def _on_equivalence(analysis: Analysis) -> str:
    """How far the trainings that should be the same were seen to begin the same."""
    equivalence = analysis.equivalence
    by_precision = ([c for c in equivalence.checks if c.precision is p] for p in analysis.run.sweep.precisions)
    parts = [_agreement(checks) for checks in by_precision if checks] or ["no trial could be checked"]
    parts.append(f"{equivalence.num_unchecked} without gradients or without a valid one-device trial to check them by")
    return f"The same training: {'; '.join(parts)}."


def _agreement(checks: list[Check]) -> str:
    """What was checked in one precision, which is the same for all."""
    precision, agreeing = checks[0].precision, [check for check in checks if check.is_passed]
    steps, tolerance = span((check.num_steps for check in checks), whole), scientific(TOLERANCES[precision])
    largest = shown(max((check.difference for check in agreeing), default=None), scientific)
    text = f"gradients and losses of {steps} steps at the initial weights agree with the block's one-device trial"
    text += f" within {largest} (tolerance {tolerance} in {precision}), n = {plural(len(checks), 'trial')} checked"
    return text if agreeing == checks else f"{text}, {len(checks) - len(agreeing)} of them invalid by disagreeing"
