"""How sure: what the blocks of a run can decide and what they cannot."""

from collections.abc import Iterator

from tasks.analysis.analysis import Analysis
from tasks.analysis.pairs import MIN_ACCURACY_BLOCKS, MIN_VERDICT_BLOCKS, Pair
from tasks.analysis.summary import MIN_INTERVAL_VALUES, MIN_RANGE_VALUES, Spread, Summary
from tasks.reporting.labels import undecided
from tasks.reporting.markdown import LEFT, RIGHT, Column, Edition, bullets, field, folded, table
from tasks.reporting.numerals import ABSENT, digits, percentage_points, plural, ratio, shown


def _range(ratios: Summary) -> str:
    """Smallest to largest: never called an interval, whose level a verdict's own rule would have to set."""
    return ABSENT if ratios.spread is Spread.NONE else f"{digits(ratios.low)} to {ratio(ratios.high)}"


PAIRS = (
    Column[Pair]("pair", LEFT, lambda pair: f"{pair.strategy} v {pair.against}", "pair"),
    field("verdict", LEFT, "num_blocks", lambda n: f"inconclusive: {undecided(n)}"),
    field("batch", RIGHT, "global_batch_size", brief="batch"),
    field("times as fast", RIGHT, "ratios", lambda ratios: ratio(ratios.median), "times as fast"),
    field("range over blocks", RIGHT, "ratios", _range),
    field("blocks", RIGHT, "num_blocks", brief="blocks"),
)
ACCURACIES = (
    field("batch", RIGHT, "global_batch_size"),
    field("largest difference of two strategies, same block", RIGHT, "largest_difference", percentage_points),
    field("standard deviation between strategies, same seed", RIGHT, "between_strategies", percentage_points),
    field("standard deviation between seeds, same strategy", RIGHT, "between_seeds", percentage_points),
    field("strategies", RIGHT, "num_strategies"),
    field("blocks", RIGHT, "num_blocks"),
)


def describe_certainty(analysis: Analysis, edition: Edition) -> Iterator[str]:
    """The declared pairs and the spread of accuracies."""
    yield bullets((_on_speed(analysis), _on_accuracy(analysis)))
    if analysis.pairs:
        summary = f"The {plural(len(analysis.pairs), 'declared pair')}, block by block"
        yield folded(summary, table(PAIRS, analysis.pairs, edition.is_brief))
    if not edition.is_brief:
        yield folded("Accuracy: strategies against seeds", table(ACCURACIES, analysis.accuracy_spreads))


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
    text = "Accuracy: every block trains all strategies with one seed. In one block and at one batch, strategies differ"
    text += f" by at most {shown(largest('largest_difference'), percentage_points)}"
    if largest("between_seeds") is None:
        text += "; one block has one seed, so that the spread over seeds is not seen"
    else:
        text += (
            f"; standard deviation between strategies at most {shown(largest('between_strategies'), percentage_points)}"
        )
        text += f", between seeds at most {shown(largest('between_seeds'), percentage_points)}, by batch size"
    return f"{text}. Equivalence needs a test over at least {MIN_ACCURACY_BLOCKS} whole trainings of each: not decided."
