"""How sure: every declared pair with its interval and verdict, and what the blocks of a run can decide."""

from collections.abc import Iterator
from math import exp

from tasks.analysis.analysis import Analysis
from tasks.analysis.equivalence import TOLERANCES, Check
from tasks.analysis.pairs import AccuracyPair, Pair
from tasks.analysis.statistics import (
    ACCURACY_MARGIN,
    ALPHA,
    EQUIVALENCE_MARGIN,
    MARGIN,
    MIN_VERDICT_BLOCKS,
    AccuracyComparison,
    Comparison,
)
from tasks.analysis.summary import summarize
from tasks.domain.trial import Role
from tasks.reporting.grid import setting_names
from tasks.reporting.labels import strategy_code, undecided, unsplit, verdict_name
from tasks.reporting.markdown import LEFT, RIGHT, Column, Edition, bullets, escape, field, folded, table
from tasks.reporting.numerals import (
    ABSENT,
    between,
    digits,
    extent,
    p_value,
    percentage_points,
    plural,
    ratio_with_interval,
    scientific,
    share,
    shown,
    signed_points,
    span,
    whole,
)


def describe_certainty(analysis: Analysis, edition: Edition) -> Iterator[str]:
    """What the rules are, and the declared pairs of speed and accuracy."""
    yield bullets((_on_speed(analysis), _on_accuracy(analysis), _on_equivalence(analysis), ON_ERRORS))
    if analysis.pairs:
        summary = f"The {plural(len(analysis.pairs), 'declared pair')}, block by block"
        yield folded(summary, table(_pairs(analysis), analysis.pairs, edition.is_brief))
    if analysis.accuracy_pairs and not edition.is_brief:
        yield folded("Accuracy: strategies in pairs, by seed", table(ACCURACIES, analysis.accuracy_pairs))


ON_ERRORS = (
    "How often these rules err: `stratbench selfcheck` measures it on synthetic trainers, and with `--real-blocks` on "
    "equal trainings of this machine."
)


def _pairs(analysis: Analysis) -> tuple[Column[Pair], ...]:
    sweep = analysis.run.sweep

    def name(pair: Pair) -> str:
        if sweep.versus:
            return f"{strategy_code(sweep, pair.cell)}: other v here"
        against = unsplit(analysis.run) if pair.against_role is Role.REFERENCE else strategy_code(sweep, pair.against)
        return f"{strategy_code(sweep, pair.cell)} v {against}"

    return (
        Column("pair", LEFT, name, "pair"),
        field("batch", RIGHT, "cell.global_batch_size", brief="batch"),
        *setting_names(sweep),
        field("verdict", LEFT, "comparison", verdict_name, "verdict"),
        field("times as fast (interval)", RIGHT, "comparison", ratio_with_interval, "times as fast"),
        field("level of the interval", RIGHT, "comparison.level", lambda level: f"{100 * level:.2f} %"),
        field("p (paired t)", RIGHT, "comparison.p_value", p_value),
        field("p (sign flips, exact)", RIGHT, "comparison", _sign_flip),
        field("p (equivalence)", RIGHT, "comparison.equivalence_p", p_value),
        field("range over blocks", RIGHT, "comparison.differences", lambda values: extent(summarize(map(exp, values)))),
        field("blocks", RIGHT, "comparison.n", brief="blocks"),
    )


def _sign_flip(comparison: Comparison) -> str:
    if comparison.sign_flip_p is None:
        return ABSENT
    text = p_value(comparison.sign_flip_p)
    return text if comparison.can_sign_flip_decide else f"{text} (cannot decide at {comparison.n} blocks)"


def _on_speed(analysis: Analysis) -> str:
    n, width = analysis.num_blocks, analysis.half_width
    if n == 0:
        return "Speed: nothing was measured, so that nothing is known."
    text = "Speed: a pair is two trainings of the same block, over the epochs that both trained. A paired t-test on ln "
    text += f"ratios, Holm's rule over all declared pairs at {share(ALPHA)}; faster or slower only beyond "
    text += f"{share(MARGIN)}; equivalent by two one-sided tests within {share(EQUIVALENCE_MARGIN)}"
    if n < MIN_VERDICT_BLOCKS:
        return f"{text}. No verdict: {undecided(n)}."
    if width is not None:
        text += f". Precision: the widest pair's half-width is {digits(100 * width)} % "
        text += f"({share(analysis.run.sweep.half_width)} wanted; 95 % interval of that pair alone, narrower than "
        text += "Holm's)"
    end = f". Why no more blocks: {escape(analysis.run.end.reason)}" if analysis.run.end else ""
    return f"{text}{end}."


def _accuracy_interval(comparison: AccuracyComparison) -> str:
    if comparison.low is None or comparison.high is None:
        return ABSENT
    return between(comparison.low, comparison.high, signed_points)


ACCURACIES: tuple[Column[AccuracyPair], ...] = (
    Column("pair", LEFT, lambda pair: f"{pair.strategy} v {pair.against}"),
    field("verdict", LEFT, "comparison.verdict"),
    field("mean difference", RIGHT, "comparison.mean", signed_points),
    field("90 % interval", RIGHT, "comparison", _accuracy_interval),
    field("p (equivalence)", RIGHT, "comparison.p_value", p_value),
    field("batch sizes", RIGHT, "num_batch_sizes"),
    field("seeds", RIGHT, "comparison.n"),
)


def _on_accuracy(analysis: Analysis) -> str:
    text = "Accuracy: final test accuracy of whole trainings, paired by seed and averaged over the batch sizes; two "
    text += f"one-sided tests within {percentage_points(ACCURACY_MARGIN)}"
    verdicts = [pair.comparison.verdict for pair in analysis.accuracy_pairs]
    counted = ", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in dict.fromkeys(verdicts))
    return f"{text}: {counted}." if verdicts else f"{text}: one strategy, nothing to compare."


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
