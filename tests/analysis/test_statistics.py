"""The tests and intervals: textbook figures, hand-made blocks and definitions written out the long way."""

import math
from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
from scipy import stats

from tasks.analysis import statistics
from tasks.analysis.statistics import (
    AccuracyVerdict,
    Estimate,
    Verdict,
    estimate,
    estimate_quotient,
    expected_half_width,
    holm,
    judge_accuracy,
    judge_family,
    log_ratios,
    order_statistic_interval,
    sign_flip_p,
    widest_half_width,
)
from tasks.analysis.summary import Summary, summarize

SLEEP = np.array([1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4])
"""Student 1908, R's `sleep`: t = 4.0621, p = .002833, interval .7001142 to 2.4598858."""
MAIZE = np.array([49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48], dtype=float)
"""Darwin's plants, Fisher 1935, section 21: 1726 of 32768 flips are as extreme, p = .05267; by t .0497."""
STEADY = np.array([0.01, -0.01] * 3)
"""Mean 0, standard error .01 / sqrt 5."""


def test_ratio_says_how_many_times_as_fast() -> None:
    assert log_ratios(np.array([10.0, 5.0]), np.array([20.0, 5.0])) == pytest.approx([math.log(2), 0])


def test_paired_t_test_is_students() -> None:
    (found,) = judge_family([SLEEP])
    assert found.p_value == pytest.approx(0.002833, abs=5e-7)
    assert (math.log(found.low), math.log(found.high)) == pytest.approx((0.7001142, 2.4598858), abs=5e-8)
    assert (found.n, found.ratio, found.level) == (10, pytest.approx(math.exp(1.58)), 0.95)
    assert (found.verdict, found.blocks_needed) == (Verdict.FASTER, None)
    assert found.differences == tuple(SLEEP)
    assert judge_family([-SLEEP])[0].verdict is Verdict.SLOWER


def test_exact_sign_flip_is_fishers() -> None:
    assert sign_flip_p(MAIZE) == pytest.approx(1726 / 32768)
    (found,) = judge_family([MAIZE / 100])
    assert found.sign_flip_p == pytest.approx(0.05267, abs=5e-6)
    assert found.p_value == pytest.approx(0.0497, abs=5e-5)


@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_sign_flip_is_the_enumeration(n: int) -> None:
    values = np.random.default_rng(n).normal(0.3, 1, n).round(1)
    sums = [abs(sum(s * v for s, v in zip(signs, values, strict=True))) for signs in product((1, -1), repeat=n)]
    assert sign_flip_p(values) == np.mean(np.array(sums) >= abs(values.sum()) - 1e-9)


@pytest.mark.parametrize(("n", "p_value"), [(0, None), (22, 2 / 2**22), (23, None)])
def test_sign_flip_stops_where_it_would_take_too_long(n: int, p_value: float | None) -> None:
    assert sign_flip_p(np.ones(n)) == p_value


def test_holm_on_a_hand_made_family() -> None:
    # .005 <= .05/4, .01 <= .05/3, then .03 > .05/2 decides the rest
    rejected, alphas = holm(np.array([0.01, 0.04, 0.03, 0.005]))
    assert rejected.tolist() == [True, False, False, True]
    assert alphas == pytest.approx([0.05 / 3, 0.025, 0.025, 0.0125])


def holm_by_definition(p_values: list[float]) -> tuple[list[bool], list[float]]:
    count, rejected, alphas, alpha = len(p_values), [False] * len(p_values), [0.0] * len(p_values), 0.0
    is_open = True
    for step, index in enumerate(sorted(range(count), key=lambda i: p_values[i])):
        if is_open:
            alpha = 0.05 / (count - step)
            is_open = p_values[index] <= alpha
        rejected[index], alphas[index] = is_open, alpha
    return rejected, alphas


def test_holm_is_its_definition_and_families_do_not_mix() -> None:
    stacked = np.random.default_rng(1).beta(0.3, 2, size=(500, 7))
    rejected, alphas = holm(stacked)
    assert 0.1 < rejected.mean() < 0.9
    for family, found, at in zip(stacked, rejected, alphas, strict=True):
        expected = holm_by_definition(family.tolist())
        assert (found.tolist(), at.tolist()) == (expected[0], pytest.approx(expected[1]))


def test_interval_excludes_one_exactly_where_holm_rejects() -> None:
    source, seen = np.random.default_rng(2), []
    for _ in range(300):
        family = [source.normal(source.choice([0, 0.05, 0.2]), 0.05, source.integers(6, 12)) for _ in range(6)]
        found = judge_family(family)
        rejected, _ = holm(np.array([pair.p_value for pair in found]))
        assert [not pair.low <= 1 <= pair.high for pair in found] == rejected.tolist()
        seen += rejected.tolist()
    assert 0.1 < np.mean(seen) < 0.9


def test_declared_pairs_without_a_test_make_holm_stricter() -> None:
    alone = judge_family([SLEEP])[0]
    among = judge_family([SLEEP, SLEEP[:5], SLEEP[:0]])
    assert alone.level == 0.95
    assert among[0].level == pytest.approx(1 - 0.05 / 3)
    assert among[0].low < alone.low


@pytest.mark.parametrize("n", [0, 1, 2, 5])
def test_below_six_blocks_nothing_is_judged(n: int) -> None:
    found = judge_family([np.full(n, 0.2)])[0]
    assert (found.n, found.verdict) == (n, Verdict.INCONCLUSIVE)
    assert (found.low, found.high, found.level, found.p_value, found.equivalence_p, found.sign_flip_p) == (None,) * 6
    assert found.ratio == (pytest.approx(math.exp(0.2)) if n else None)
    assert found.blocks_needed == 6


def test_seven_blocks_by_hand() -> None:
    five, seven = judge_family([np.arange(1.0, 6) / 10, np.arange(1.0, 8) / 10])
    # mean .4, standard deviation sqrt(14/3)/10, t = 4.8990 with 6 degrees of freedom, p = .00271; t(.9875) = 2.9687
    assert (seven.p_value, seven.level, seven.verdict) == (pytest.approx(0.002714, abs=1e-6), 0.975, Verdict.FASTER)
    assert math.log(seven.low) == pytest.approx(0.4 - 2.96869 * 0.0816497, abs=1e-6)
    assert (seven.sign_flip_p, five.sign_flip_p) == (2 / 2**7, None)


def test_six_blocks_cannot_decide_two_pairs_by_sign_flips() -> None:
    assert judge_family([STEADY])[0].can_sign_flip_decide
    assert not judge_family([STEADY] * 2)[0].can_sign_flip_decide
    assert [judge_family([np.tile(STEADY, 2)[:n]] * 9)[0].can_sign_flip_decide for n in (8, 9)] == [False, True]


def test_equivalence_is_two_one_sided_tests() -> None:
    (found,) = judge_family([STEADY])
    # ln 1.05 / (.01 / sqrt 5) = 10.910 with 5 degrees of freedom
    assert found.equivalence_p == pytest.approx(5.6e-5, abs=1e-6)
    assert (found.verdict, found.p_value, found.ratio) == (Verdict.EQUIVALENT, 1.0, pytest.approx(1))
    both = [stats.ttest_1samp(MAIZE / 2000 + side * math.log(1.05), 0).pvalue / 2 for side in (1, -1)]
    assert judge_family([MAIZE / 2000])[0].equivalence_p == pytest.approx(max(both))


def test_a_certain_difference_inside_the_margin_is_equivalent_and_not_faster() -> None:
    family = [STEADY / 10 + math.log(1.02), STEADY / 10 + math.log(1.031), STEADY / 10 - math.log(1.031)]
    found = judge_family(family)
    assert all(pair.p_value < 1e-6 for pair in found)
    assert [pair.verdict for pair in found] == [Verdict.EQUIVALENT, Verdict.FASTER, Verdict.SLOWER]


def test_zero_variance_is_certain() -> None:
    faster, same, slower = judge_family([np.full(6, 0.2), np.zeros(6), np.full(6, -0.2)])
    assert [p.verdict for p in (faster, same, slower)] == [Verdict.FASTER, Verdict.EQUIVALENT, Verdict.SLOWER]
    assert (faster.p_value, same.p_value, same.equivalence_p) == (pytest.approx(0), 1, pytest.approx(0))
    assert (same.low, same.high, faster.low) == pytest.approx((1, 1, math.exp(0.2)))


def test_noise_is_pooled_over_the_family() -> None:
    wide = np.array([0.2, -0.1, 0.15, -0.12, 0.1, 0.1])
    alone, among = judge_family([wide])[0], judge_family([wide, STEADY, STEADY, STEADY])[0]
    assert alone.verdict is among.verdict is Verdict.INCONCLUSIVE
    assert alone.blocks_needed > among.blocks_needed > 6


def test_what_no_number_of_blocks_decides_says_so() -> None:
    noisy = np.array([1.0, -1, 1, -1, 1, -1]) + math.log(1.05)
    assert judge_family([noisy])[0].blocks_needed is None


@pytest.mark.parametrize(("power", "needed"), [(0.8, 34), (0.9, 44), (0.95, 54)])
def test_needed_blocks_are_those_of_g_power(monkeypatch: pytest.MonkeyPatch, power: float, needed: int) -> None:
    """For dz = .5, two-sided .05."""
    monkeypatch.setattr(statistics, "DECISION_POWER", power)
    assert [statistics._blocks_to_decide(6, side * 0.5, 1.0, 1) for side in (1, -1)] == [needed, needed]


def test_half_widths() -> None:
    # t(.975, 9) = 2.2622 x .38896, the standard error of the textbook
    assert widest_half_width([SLEEP]) == pytest.approx(math.expm1((2.4598858 - 0.7001142) / 2), abs=1e-6)
    assert widest_half_width([STEADY, SLEEP, STEADY]) == widest_half_width([SLEEP])
    assert [widest_half_width(family) for family in ([], [SLEEP[:0]], [SLEEP, SLEEP[:1]])] == [None] * 3
    assert widest_half_width([np.zeros(2)]) == 0


def test_expected_half_width_of_a_plan() -> None:
    # t(.975, 5) = 2.5706 x .05 x sqrt(2 / 6) = .07421
    assert expected_half_width(6) == pytest.approx(0.07703, abs=1e-5)
    assert expected_half_width(1) is None


@pytest.mark.parametrize("judge", [sign_flip_p, judge_accuracy, estimate, order_statistic_interval])
def test_what_is_not_finite_is_refused(judge: Callable[..., object]) -> None:
    for value in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="a difference is not finite: leave out the blocks"):
            judge(np.array([0.1, value, 0.2]))
        for judge_all in (judge_family, widest_half_width):
            with pytest.raises(ValueError, match="not finite"):
                judge_all([STEADY, np.array([value])])


@pytest.mark.parametrize(
    ("differences", "verdict"),
    [
        ([], AccuracyVerdict.NOT_DECIDABLE),
        ([0.001, 0.001], AccuracyVerdict.NOT_DECIDABLE),
        ([0.001, -0.001, 0.0], AccuracyVerdict.EQUIVALENT),
        ([0.002, 0.0, 0.004], AccuracyVerdict.INCONCLUSIVE),
        ([0.010, 0.011, 0.012], AccuracyVerdict.DIFFERENT),
        ([-0.010, -0.011, -0.012], AccuracyVerdict.DIFFERENT),
        ([0.0, 0.0, 0.0], AccuracyVerdict.EQUIVALENT),
    ],
)
def test_accuracy_verdicts(differences: list[float], verdict: AccuracyVerdict) -> None:
    found = judge_accuracy(np.array(differences))
    assert (found.n, found.verdict) == (len(differences), verdict)
    assert (found.p_value is None) is (found.low is None) is (found.high is None) is (len(differences) < 3)


def test_accuracy_interval_by_hand() -> None:
    found = judge_accuracy(np.array([0.001, -0.001, 0.0]))
    # t(.95, 2) = 2.919986, standard error .001 / sqrt 3; .003 / that = 5.19615, p = .01755
    assert (found.mean, found.low, found.high) == pytest.approx((0, -0.00168585, 0.00168585), abs=1e-8)
    assert found.p_value == pytest.approx(0.017552, abs=1e-5)
    assert (judge_accuracy(np.array([0.1])).mean, judge_accuracy(np.array([])).mean) == (0.1, None)


@pytest.mark.parametrize(
    ("n", "low", "high", "coverage"),
    [
        (1, 1, 1, None),
        (4, 1, 4, None),
        (5, 1, 5, 0.9375),
        (6, 1, 6, 0.96875),
        (7, 1, 7, 0.984375),
        (10, 2, 9, 0.978516),
        (20, 6, 15, 0.958611),
    ],
)
def test_order_statistics_cover_the_median(n: int, low: int, high: int, coverage: float | None) -> None:
    summary = Summary(tuple(np.random.default_rng(4).permutation(np.arange(1.0, n + 1)).tolist()))
    assert (summary.n, summary.low, summary.high) == (n, low, high)
    assert summary.coverage == (coverage and pytest.approx(coverage, abs=1e-6))
    assert summary.median == (n + 1) / 2


def test_summary_of_nothing_is_nothing() -> None:
    assert summarize([]) is summarize([float("nan")]) is None


def ends(found: Estimate) -> tuple[float | None, ...]:
    return found.ratio, found.low, found.high


def test_descriptive_interval() -> None:
    assert ends(estimate(SLEEP)) == pytest.approx([math.exp(v) for v in (1.58, 0.7001142, 2.4598858)], abs=1e-6)
    assert ends(estimate(SLEEP[:2])) == (pytest.approx(math.exp(1.8)), None, None)
    assert ends(estimate(SLEEP[:0])) == (None, None, None)


def test_interval_of_a_quotient_is_welchs() -> None:
    own, other = np.array([0.1, 0.4, 0.2, 0.9]), np.array([0.3, 0.31, 0.29, 0.3, 0.33])
    expected = stats.ttest_ind(own, other, equal_var=False).confidence_interval(0.95)
    found = estimate_quotient(own, other)
    assert (found.low, found.high) == pytest.approx((math.exp(expected.low), math.exp(expected.high)))


def test_samples_without_variance_have_a_point_for_an_interval() -> None:
    found = estimate_quotient(np.full(3, 0.5), np.full(3, 0.25))
    assert ends(found) == pytest.approx((math.exp(0.25),) * 3)
