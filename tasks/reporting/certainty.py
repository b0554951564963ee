"""How sure: what the blocks of a run can decide and what they cannot."""

from tasks.analysis.accuracy import MIN_ACCURACY_BLOCKS
from tasks.analysis.analysis import Analysis
from tasks.analysis.pairs import MIN_VERDICT_BLOCKS
from tasks.analysis.summary import MIN_INTERVAL_VALUES, MIN_RANGE_VALUES, Spread, Summary
from tasks.reporting.document import Block, Bullets, Folded, Section, Table
from tasks.reporting.numerals import ABSENT, digits, percentage_points, plural, ratio
from tasks.reporting.verdicts import verdict_of


def describe_certainty(analysis: Analysis) -> Section:
    """The section with the declared pairs and the spread of accuracies."""
    blocks: list[Block] = [Bullets((_on_speed(analysis), _on_accuracy(analysis)))]
    if analysis.pairs:
        blocks.append(Folded(f"The {plural(len(analysis.pairs), 'declared pair')}, block by block", _pairs(analysis)))
    blocks.append(Folded("Accuracy: strategies against seeds", _accuracies(analysis)))
    return Section("How sure", tuple(blocks), is_in_short=True)


def _on_speed(analysis: Analysis) -> str:
    n = analysis.num_blocks
    if n == 0:
        return "Speed: nothing was measured, so that nothing is known."
    if n == 1:
        text = "Speed: each point was trained once. The noise from run to run is not seen, so that no difference can be"
        text += " told from it"
    elif n < MIN_RANGE_VALUES:
        text = f"Speed: {plural(n, 'block')}, too few to show any spread"
    else:
        name = "range" if n < MIN_INTERVAL_VALUES else "interval"
        text = f"Speed: {plural(n, 'block')}; the table shows the {name} of each point"
    if n < MIN_VERDICT_BLOCKS:
        text += f". A verdict of faster or slower needs at least {MIN_VERDICT_BLOCKS} blocks"
    else:
        text += ". That many blocks would do for a verdict, but this version describes pairs and tests none"
    if analysis.block_noise is not None:
        text += f". Seen from block to block: {digits(100 * analysis.block_noise)} % (standard deviation of ln seconds"
        text += " inside a point, pooled over the points)"
    return f"{text}."


def _on_accuracy(analysis: Analysis) -> str:
    differences = [s.largest_difference for s in analysis.accuracy_spreads if s.largest_difference is not None]
    seeds = [s.between_seeds for s in analysis.accuracy_spreads if s.between_seeds is not None]
    strategies = [s.between_strategies for s in analysis.accuracy_spreads if s.between_strategies is not None]
    if not differences:
        return "Accuracy: no block has two strategies with a valid trial at the same batch size."
    text = "Accuracy: every block trains all strategies with one seed. In one block and at one batch, strategies differ"
    text += f" by at most {percentage_points(max(differences))}"
    if seeds:
        text += f"; standard deviation between strategies at most {percentage_points(max(strategies))}, between seeds"
        text += f" at most {percentage_points(max(seeds))}, by batch size"
    else:
        text += "; one block has one seed, so that the spread over seeds is not seen"
    return f"{text}. Equivalence needs a test over at least {MIN_ACCURACY_BLOCKS} whole trainings of each: not decided."


def _pairs(analysis: Analysis) -> Table:
    header = ("pair", "verdict", "batch", "times as fast", "range over blocks", "blocks")
    rows = tuple(
        (
            f"{pair.strategy} v {pair.against}",
            verdict_of(pair),
            f"{pair.global_batch_size}",
            ABSENT if pair.ratios is None else ratio(pair.ratios.median),
            _range(pair.ratios),
            f"{pair.num_blocks}",
        )
        for pair in analysis.pairs
    )
    return Table(header, rows, num_text_columns=2)


def _range(ratios: Summary | None) -> str:
    """Smallest to largest: never called an interval, whose level a verdict's own rule would have to set."""
    if ratios is None or ratios.spread is Spread.NONE:
        return ABSENT
    return f"{digits(ratios.low)} to {ratio(ratios.high)}"


def _accuracies(analysis: Analysis) -> Table:
    header = (
        "batch",
        "largest difference of two strategies, same block",
        "standard deviation between strategies, same seed",
        "standard deviation between seeds, same strategy",
        "strategies",
        "blocks",
    )
    rows = tuple(
        (
            f"{spread.global_batch_size}",
            *(
                ABSENT if value is None else percentage_points(value)
                for value in (spread.largest_difference, spread.between_strategies, spread.between_seeds)
            ),
            f"{spread.num_strategies}",
            f"{spread.num_blocks}",
        )
        for spread in analysis.accuracy_spreads
    )
    return Table(header, rows, num_text_columns=0)
