"""Verdicts in words."""

from typing import assert_never

from tasks.analysis.analysis import Analysis
from tasks.analysis.pairs import MIN_VERDICT_BLOCKS, Pair, Verdict
from tasks.reporting.numerals import (
    plural,
)


def verdict_of(pair: Pair) -> str:
    """The pair's verdict in words; what is inconclusive is said to be so, with what would decide it."""
    match pair.verdict:
        case Verdict.FASTER | Verdict.SLOWER | Verdict.EQUIVALENT:
            return str(pair.verdict)
        case Verdict.INCONCLUSIVE:
            return f"inconclusive: {undecided(pair.num_blocks)}"
        case _:
            assert_never(pair.verdict)


def undecided(num_blocks: int) -> str:
    """Why so many blocks decide nothing about speed."""
    if num_blocks < MIN_VERDICT_BLOCKS:
        return f"{plural(num_blocks, 'block')}, at least {MIN_VERDICT_BLOCKS} needed"
    return f"{plural(num_blocks, 'block')} would do, but this version tests no pair"


def standing(analysis: Analysis) -> str:
    """How many pairs are decided, or why none is."""
    decided = sum(pair.verdict is not Verdict.INCONCLUSIVE for pair in analysis.pairs)
    if decided:
        return f"Verdicts: {decided} of {plural(len(analysis.pairs), 'declared pair')}."
    return f"Verdicts: none ({undecided(analysis.num_blocks)})."


def certainty(analysis: Analysis) -> str:
    """One sentence on what the blocks decide."""
    verdicts = [pair for pair in analysis.pairs if pair.verdict is not Verdict.INCONCLUSIVE]
    if verdicts:
        parts = [
            f"{pair.strategy.label} is {pair.verdict} than {pair.against.label}"
            if pair.verdict is not Verdict.EQUIVALENT
            else f"{pair.strategy.label} is equivalent to {pair.against.label}"
            for pair in verdicts
        ]
        batches = [f" at batch {pair.global_batch_size}" for pair in verdicts]
        return "Decided: " + "; ".join(part + batch for part, batch in zip(parts, batches, strict=True)) + "."
    if analysis.num_blocks == 1:
        return f"One block cannot separate a difference from noise: no verdict ({undecided(1)})."
    if analysis.num_blocks < MIN_VERDICT_BLOCKS:
        return f"This describes what was seen and decides nothing: no verdict ({undecided(analysis.num_blocks)})."
    return f"This describes what was seen: no verdict ({undecided(analysis.num_blocks)})."
