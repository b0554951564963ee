"""Statistics: what paired blocks say of speed and accuracy, and how many of them would decide.

Differences are of shape (blocks,). Functions that take them raise ValueError where one is not finite.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Floats = NDArray[np.float64]

ALPHA = 0.05
"""Largest chance of a false faster or slower in a whole family; also the level of each test of equivalence."""
MIN_VERDICT_BLOCKS = 6
"""Fewer blocks give no verdict on speed."""
MARGIN = 0.03
"""A ratio is called faster or slower only beyond this distance from 1, as a share."""
EQUIVALENCE_MARGIN = 0.05
"""Equivalent: the ratio is shown to lie within this distance from 1, as a share (symmetric in logarithms)."""
ACCURACY_MARGIN = 0.003
"""Largest difference of test accuracies that does not matter, as a share of the test examples."""
MIN_ACCURACY_BLOCKS = 3
"""Whole trainings of each strategy below which equivalence of accuracy is not decidable."""
DECISION_POWER = 0.9
"""Wanted chance that the number of blocks that is called needed decides."""
LEVEL, MIN_INTERVAL_BLOCKS = 0.95, 3
"""Of an interval that describes one quantity alone, and the blocks below which that of a ratio is left out."""
EXPECTED_NOISE = 0.05
"""Standard deviation of one trial's ln seconds from run to run that is planned with."""
MOST_BLOCKS = 200
"""No larger number of blocks is called needed."""
MOST_FLIPPED = 22
"""Blocks up to which every sign is flipped: 2^22 sums."""
LEAST_ERROR = 1e-12
"""Standard errors of ln ratios are taken as at least this, so that differences without any variance are certain."""
NOISE_CONFIDENCE = 0.8
"""The pooled noise is planned with at its upper bound of this one-sided level."""


class Verdict(StrEnum):
    """What may be said of the speed of one against another."""

    FASTER = "faster"
    """Holm rejects equality, and the ratio is above 1 + MARGIN."""
    SLOWER = "slower"
    """Holm rejects equality, and the ratio is below 1 / (1 + MARGIN)."""
    EQUIVALENT = "equivalent"
    """Two one-sided tests show the ratio within EQUIVALENCE_MARGIN."""
    INCONCLUSIVE = "inconclusive"
    """None of them, or fewer than MIN_VERDICT_BLOCKS blocks."""


class AccuracyVerdict(StrEnum):
    """What may be said of the accuracy of one against another."""

    EQUIVALENT = "equivalent"
    """The 90 % interval lies within ACCURACY_MARGIN."""
    DIFFERENT = "different"
    """The 90 % interval lies wholly outside of ACCURACY_MARGIN."""
    INCONCLUSIVE = "inconclusive"
    """The 90 % interval contains an end of ACCURACY_MARGIN."""
    NOT_DECIDABLE = "not decidable"
    """Fewer than MIN_ACCURACY_BLOCKS pairs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """How many times as much, with an interval."""

    ratio: float | None
    """The geometric mean over the blocks; None without a block."""
    low: float | None = None
    """Lower end of the ratio's interval; None where there are too few blocks for one, as is high."""
    high: float | None = None
    """Upper end of the ratio's interval."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison(Estimate):
    """One declared pair, judged inside its family: how many times as fast; below MIN_VERDICT_BLOCKS no interval."""

    differences: tuple[float, ...]
    """ln of how many times as fast, one a block; above 0 is faster."""
    n: int
    """Blocks in which both trials are valid."""
    level: float | None
    """Level of the interval as a share: 1 - the alpha at which Holm decided this pair; None without an interval, as the
    three that follow."""
    p_value: float | None
    """Of the paired t-test, two-sided, before Holm."""
    equivalence_p: float | None
    """Of the two one-sided t-tests, the larger."""
    sign_flip_p: float | None
    """Exact, two-sided, under flipped signs, before Holm; None also above MOST_FLIPPED blocks."""
    can_sign_flip_decide: bool
    """Whether so many blocks could ever reject by flipped signs in this family: 2 / 2^n <= ALPHA / pairs."""
    verdict: Verdict
    blocks_needed: int | None
    """Blocks in all that would probably decide; None if decided, not knowable or more than MOST_BLOCKS."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AccuracyComparison:
    """One pair's accuracies, paired by seed."""

    differences: tuple[float, ...]
    """Accuracy minus the other's, as shares, one a seed."""
    n: int
    """Seeds in which both trainings are valid."""
    mean: float | None
    """As a share; None without a seed."""
    low: float | None = None
    """Lower end of the mean's 90 % interval, as a share; None below MIN_ACCURACY_BLOCKS, as are high and p_value."""
    high: float | None = None
    """Upper end of the mean's 90 % interval, as a share."""
    p_value: float | None = None
    """Of the two one-sided t-tests, the larger."""
    verdict: AccuracyVerdict = AccuracyVerdict.NOT_DECIDABLE


class Decisions(NamedTuple):
    """What `decide` finds: arrays of one shape (..., pairs), NaN where there are too few blocks."""

    level: Floats
    p_value: Floats
    low: Floats
    """In ln ratios, as is high."""
    high: Floats
    equivalence_p: Floats
    verdict: NDArray[np.str_]
    """A Verdict each."""


def log_ratios(seconds: Floats, against: Floats) -> Floats:
    """ln of how many times as fast as `against`, block by block; both have their blocks along the last axis."""
    return np.log(against) - np.log(seconds)


def holm(p_values: Floats) -> tuple[NDArray[np.bool_], Floats]:
    """Which of the families along the last axis are rejected, and the alpha at which each was decided.

    Step-down (Holm 1979): the k-th smallest of m p values against ALPHA / (m - k + 1) until the first failure, which
    decides those behind it too. NaN is a declared pair without a test: it counts in m and is not rejected.
    """
    count = p_values.shape[-1]
    order = np.argsort(p_values, axis=-1)
    alphas = ALPHA / (count - np.arange(count))
    # Not <=, instead of >, so that NaN fails.
    failed = np.logical_or.accumulate(~(np.take_along_axis(p_values, order, axis=-1) <= alphas), axis=-1)
    steps = np.minimum(np.arange(count), count - failed.sum(axis=-1, keepdims=True))
    ranks = np.argsort(order, axis=-1)
    return np.take_along_axis(~failed, ranks, axis=-1), np.take_along_axis(alphas[steps], ranks, axis=-1)


def decide(num_blocks: NDArray[np.int_], means: Floats, deviations: Floats) -> Decisions:
    """Judge whole families at once: arrays of shape (..., pairs), every declared pair of a family on the last axis.

    `means` and `deviations` (n - 1 in the denominator) are those of the ln ratios of `num_blocks` blocks. Paired
    t-test (Student 1908) with Holm (1979); equivalence by two one-sided tests (Schuirmann 1987).
    """
    is_tested = num_blocks >= MIN_VERDICT_BLOCKS
    freedom = np.maximum(num_blocks, 2) - 1.0
    error = np.maximum(deviations / np.sqrt(freedom + 1), LEAST_ERROR)
    p_value = np.where(is_tested, 2 * stats.t.sf(np.abs(means) / error, freedom), np.nan)
    inside = (math.log1p(EQUIVALENCE_MARGIN) - np.abs(means)) / error
    equivalence_p = np.where(is_tested, stats.t.sf(inside, freedom), np.nan)
    is_rejected, alpha = holm(p_value)
    half = np.where(is_tested, stats.t.isf(alpha / 2, freedom) * error, np.nan)
    margin = math.log1p(MARGIN)
    calls = [is_rejected & (means > margin), is_rejected & (means < -margin), equivalence_p <= ALPHA]
    verdict = np.select(calls, [Verdict.FASTER, Verdict.SLOWER, Verdict.EQUIVALENT], Verdict.INCONCLUSIVE)
    level = np.where(is_tested, 1 - alpha, np.nan)
    return Decisions(level, p_value, means - half, means + half, equivalence_p, verdict)


def judge_family(differences: Sequence[ArrayLike]) -> tuple[Comparison, ...]:
    """Every declared pair of a family, each by its ln of how many times as fast.

    Pairs with too few blocks count in Holm's m. The interval has the level at which Holm decided the pair, so it
    excludes 1 exactly where Holm rejects.
    """
    family = [_checked(values) for values in differences]
    if not family:
        return ()
    counts = np.array([len(values) for values in family])
    means = np.array([values.mean() if len(values) else 0.0 for values in family])
    deviations = np.array([_deviation(values) for values in family])
    found = decide(counts, means, deviations)
    noise = _noise_bound(counts, deviations)
    return tuple(
        Comparison(
            differences=tuple(values.tolist()),
            n=n,
            ratio=math.exp(mean) if n else None,
            low=_number(np.exp(found.low[pair])),
            high=_number(np.exp(found.high[pair])),
            level=_number(found.level[pair]),
            p_value=_number(found.p_value[pair]),
            equivalence_p=_number(found.equivalence_p[pair]),
            sign_flip_p=sign_flip_p(values) if n >= MIN_VERDICT_BLOCKS else None,
            can_sign_flip_decide=2.0 ** (1 - n) <= ALPHA / len(family),
            verdict=(verdict := Verdict(found.verdict[pair])),
            blocks_needed=_blocks_to_decide(n, mean, noise, len(family)) if verdict is Verdict.INCONCLUSIVE else None,
        )
        for pair, (values, n, mean) in enumerate(zip(family, counts.tolist(), means.tolist(), strict=True))
    )


def sign_flip_p(differences: ArrayLike) -> float | None:
    """Exact two-sided p of the mean under all 2^n flips of signs (Fisher 1935); None for none or over MOST_FLIPPED."""
    values = _checked(differences)
    if not 1 <= len(values) <= MOST_FLIPPED:
        return None
    # The first sign stays: its flips are the mirror image, and the test has two sides.
    sums = values[:1]
    for value in values[1:]:
        sums = np.concatenate((sums + value, sums - value))
    rounding = 1e-12 * np.abs(values).sum()
    return float(np.mean(np.abs(sums) >= abs(values.sum()) - rounding))


def half_widths(num_blocks: NDArray[np.int_], deviations: Floats) -> Floats:
    """Half-widths of 95 % t intervals of ratios, as shares; arrays of one shape, 2 blocks or more."""
    errors = deviations / np.sqrt(num_blocks)
    return np.asarray(np.expm1(stats.t.isf(ALPHA / 2, num_blocks - 1) * errors), dtype=np.float64)


def widest_half_width(family: Sequence[ArrayLike]) -> float | None:
    """The largest of the pairs' `half_widths`; None without a pair, or if one has fewer than 2 blocks."""
    pairs = [_checked(differences) for differences in family]
    if not pairs or min(map(len, pairs)) < 2:
        return None
    return float(half_widths(np.array([len(pair) for pair in pairs]), np.array([*map(_deviation, pairs)])).max())


def expected_half_width(num_blocks: int) -> float | None:
    """The half-width to expect where each trial's ln seconds have the standard deviation EXPECTED_NOISE."""
    if num_blocks < 2:
        return None
    return float(half_widths(np.array(num_blocks), np.array(EXPECTED_NOISE * math.sqrt(2))))


def judge_accuracy(differences: ArrayLike) -> AccuracyComparison:
    """Accuracy differences in shares, one a seed, by two one-sided t-tests (Schuirmann 1987)."""
    values = _checked(differences)
    n, seen = len(values), tuple(values.tolist())
    if n < MIN_ACCURACY_BLOCKS:
        return AccuracyComparison(differences=seen, n=n, mean=float(values.mean()) if n else None)
    mean, error = float(values.mean()), max(_deviation(values) / math.sqrt(n), LEAST_ERROR)
    half = float(stats.t.isf(ALPHA, n - 1)) * error
    low, high = mean - half, mean + half
    p_value = float(stats.t.sf((ACCURACY_MARGIN - abs(mean)) / error, n - 1))
    verdict = AccuracyVerdict.INCONCLUSIVE
    if low >= -ACCURACY_MARGIN and high <= ACCURACY_MARGIN:
        verdict = AccuracyVerdict.EQUIVALENT
    elif low > ACCURACY_MARGIN or high < -ACCURACY_MARGIN:
        verdict = AccuracyVerdict.DIFFERENT
    return AccuracyComparison(differences=seen, n=n, mean=mean, low=low, high=high, p_value=p_value, verdict=verdict)


def order_statistic_interval(values: ArrayLike) -> tuple[float, float, float | None]:
    """Low, high and exact coverage of a distribution-free interval for the median; below 5 values only their range.

    The narrowest symmetric pair of order statistics that covers with LEVEL, otherwise smallest to largest (David and
    Nagaraja, Order Statistics, section 7.1).
    """
    ordered = np.sort(_checked(values))
    n = len(ordered)
    if n < 5:
        return float(ordered[0]), float(ordered[-1]), None
    coverages = 1 - 2 * stats.binom.cdf(np.arange((n + 1) // 2), n, 0.5)
    dropped = max(int((coverages >= LEVEL).sum()) - 1, 0)
    return float(ordered[dropped]), float(ordered[n - 1 - dropped]), float(coverages[dropped])


def estimate(differences: ArrayLike) -> Estimate:
    """The ratio and, from 3 blocks on, its t interval on ln ratios at LEVEL, to describe and not to judge."""
    values = _checked(differences)
    ratio = math.exp(values.mean()) if len(values) else None
    if len(values) < MIN_INTERVAL_BLOCKS:
        return Estimate(ratio=ratio)
    low, high = stats.ttest_1samp(values, 0).confidence_interval(LEVEL)
    return Estimate(ratio=ratio, low=math.exp(low), high=math.exp(high))


def estimate_quotient(differences: ArrayLike, others: ArrayLike) -> Estimate:
    """exp of the difference of two independent samples' means, with the interval of Welch's t at LEVEL.

    Welch, The generalization of 'Student's' problem when several different population variances are involved,
    Biometrika 34 (1947): the variances may differ, and so may the numbers of blocks.
    """
    a, b = _checked(differences), _checked(others)
    if not len(a) or not len(b):
        return Estimate(ratio=None)
    low = high = mean = float(a.mean() - b.mean())
    if min(len(a), len(b)) < MIN_INTERVAL_BLOCKS:
        return Estimate(ratio=math.exp(mean))
    if a.var() or b.var():  # otherwise the degrees of freedom are 0 / 0, and the interval is a point
        low, high = stats.ttest_ind(a, b, equal_var=False).confidence_interval(LEVEL)
    return Estimate(ratio=math.exp(mean), low=math.exp(low), high=math.exp(high))


def _checked(values: ArrayLike) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    if not np.isfinite(array).all():
        raise ValueError("a difference is not finite: leave out the blocks in which one of the two has no valid trial")
    return array


def _deviation(values: Floats) -> float:
    return float(values.std(ddof=1)) if len(values) >= 2 else 0.0


def _number(value: np.float64) -> float | None:
    return None if np.isnan(value) else float(value)


def _noise_bound(counts: NDArray[np.int_], deviations: Floats) -> float | None:
    """Upper bound of the standard deviation that the pairs share (chi-square); None without a pair of two blocks.

    Pairs of one family share trials, so the bound is a little below its nominal level.
    """
    freedom = np.maximum(counts - 1, 0)
    squares = float((freedom * deviations**2).sum())
    return math.sqrt(squares / stats.chi2.ppf(1 - NOISE_CONFIDENCE, freedom.sum())) if freedom.sum() else None


def _blocks_to_decide(n: int, mean: float, noise: float | None, num_pairs: int) -> int | None:
    """Fewest blocks, more than n, that decide with DECISION_POWER if `mean` is true and Holm is at its first step."""
    if noise is None or n == 0:
        return MIN_VERDICT_BLOCKS if n < MIN_VERDICT_BLOCKS else None
    counts = np.arange(max(n + 1, MIN_VERDICT_BLOCKS), MOST_BLOCKS + 1)
    effect, margin = abs(mean), math.log1p(EQUIVALENCE_MARGIN)
    error = max(noise, LEAST_ERROR) / np.sqrt(counts)
    is_beyond = stats.norm.cdf((effect - math.log1p(MARGIN)) / error)
    rejects = np.minimum(_power(counts, effect, noise, ALPHA / num_pairs / 2), is_beyond)
    # Both tests hold at least so often (Bonferroni).
    sides = [_power(counts, margin + side * effect, noise, ALPHA) for side in (-1, 1)]
    decided = counts[np.maximum(rejects, sides[0] + sides[1] - 1) >= DECISION_POWER]
    return int(decided[0]) if len(decided) else None


def _power(counts: NDArray[np.int_], effect: float, noise: float, tail: float) -> Floats:
    """Chance that the one-sided t-test at `tail` rejects, for each of `counts` blocks.

    Noncentral t (Johnson, Kotz and Balakrishnan, Continuous Univariate Distributions 2, ch. 31).
    """
    # Beyond this the distribution function loses its digits, and the chance is 0 or 1 anyway.
    shift = np.clip(effect * np.sqrt(counts) / max(noise, LEAST_ERROR), -1e3, 1e3)
    return np.asarray(stats.nct.sf(stats.t.isf(tail, counts - 1), counts - 1, shift), dtype=np.float64)
