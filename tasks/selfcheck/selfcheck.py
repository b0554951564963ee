"""Selfcheck: error rates and power of the product's own rules, measured on synthetic trainers and held to bands."""

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from tasks.analysis.statistics import ALPHA, MIN_VERDICT_BLOCKS, Floats, Verdict, judge_family
from tasks.domain.exit_code import ExitCode
from tasks.domain.refusal import Refusal
from tasks.domain.sweep import Sweep
from tasks.selfcheck.simulation import MIRRORED, Noise, Runs, run_families, simulate_seconds, slowed, true_ratios

FEWEST_FAMILIES, MOST_FAMILIES = 100, 20_000
"""Simulated runs of each kind; more make the figures finer."""
NUM_ERRORS = 3
"""A figure fails only where it lies so many of its standard errors outside of its band."""
LEAST_REAL_P = 0.001
"""Comparisons of equal real trials fail below this binomial p."""


class Figure(StrEnum):
    """What is measured, as a share unless it says otherwise; equal means that all true ratios are 1."""

    BLOCKS = "blocks until the stop rule ends an equal family (mean)"
    SINGLE = "equal pairs with a plain p below 5 %"
    FAMILY = "equal families with any pair called faster or slower"
    EQUAL = "equal pairs called equivalent"
    AT_MARGIN = "pairs with a true difference of 5 % called equivalent"
    FOUND_3 = "pairs with a true difference of 3 % called so, with its sign"
    FOUND_5 = "pairs with a true difference of 5 % called so, with its sign"
    FOUND_10 = "pairs with a true difference of 10 % called so, with its sign"
    FOUND_20 = "pairs with a true difference of 20 % called so, with its sign"
    COVERED = "intervals that contain the true ratio, at a difference of 10 %"
    COVERED_AS_STATED = "the same, minus the level stated beside them"
    TRIFLE = "pairs with a true difference of 2 % called faster or slower"


FOUND = {0.03: Figure.FOUND_3, 0.05: Figure.FOUND_5, 0.10: Figure.FOUND_10, 0.20: Figure.FOUND_20}
TRIFLE, TRIFLE_NOISE = 0.02, 0.005
"""A slow-down inside the margin, and a noise under which it is certain all the same."""
COVERED_AT = 0.10

Band = tuple[float, float]
_FALSE, _LEVEL, _COVERED, _MOST, _ALL = (0.0, 0.07), (0.0, 0.05), (0.93, 1.0), (0.95, 1.0), (0.98, 1.0)
_AS_STATED = (-0.005, 0.01)
_SAME: dict[Figure, tuple[Band, ...]] = {
    Figure.SINGLE: ((0.03, 0.07), _FALSE, _FALSE, _FALSE),
    Figure.FAMILY: (_FALSE,) * 4,
    Figure.AT_MARGIN: (_LEVEL,) * 4,
    Figure.FOUND_20: (_ALL,) * 4,
    Figure.COVERED: (_COVERED,) * 4,
    Figure.COVERED_AS_STATED: ((-0.005, 0.005), _AS_STATED, _AS_STATED, _AS_STATED),
}
BANDS: dict[float, dict[Figure, tuple[Band, ...]]] = {
    0.05: {
        **_SAME,
        Figure.BLOCKS: ((15.3, 17.3), (15.4, 17.4), (19.5, 20.0), (17.8, 19.8)),
        Figure.EQUAL: ((0.63, 0.75), (0.70, 0.82), (0.26, 0.37), (0.57, 0.69)),
        Figure.FOUND_3: ((0.04, 0.11), (0.07, 0.17), (0.02, 0.07), (0.03, 0.10)),
        Figure.FOUND_5: ((0.27, 0.38), (0.42, 0.53), (0.14, 0.23), (0.24, 0.35)),
        Figure.FOUND_10: (_MOST, (0.94, 1.0), (0.73, 0.83), (0.94, 1.0)),
    },
    0.03: {
        **_SAME,
        Figure.BLOCKS: ((7.7, 9.7), (8.4, 10.4), (19.3, 20.0), (11.3, 13.3)),
        Figure.EQUAL: ((0.79, 0.91), (0.82, 0.94), (0.45, 0.57), (0.70, 0.82)),
        Figure.FOUND_3: ((0.04, 0.13), (0.10, 0.21), (0.05, 0.14), (0.04, 0.12)),
        Figure.FOUND_5: ((0.31, 0.42), (0.50, 0.61), (0.29, 0.40), (0.29, 0.41)),
        Figure.FOUND_10: (_MOST, _MOST, (0.84, 0.94), _MOST),
    },
}
"""Lowest and highest honest value for each `Noise` in its order, by the standard deviation of one trial's ln seconds.

False calls have their nominal level; the others surround what 10,000 families showed.
"""
TRIFLE_BAND = (0.0, 0.02)


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One measured figure and its band."""

    figure: Figure
    noise: Noise
    deviation: float
    """Of one trial's ln seconds."""
    value: float
    error: float
    """Standard error of `value` over the simulated families."""
    low: float
    """Of the band."""
    high: float

    @property
    def is_within(self) -> bool:
        """Whether `value` lies in the band, but for chance."""
        return self.low - NUM_ERRORS * self.error <= self.value <= self.high + NUM_ERRORS * self.error

    @property
    def texts(self) -> tuple[str, str, str, str]:
        """Value, standard error and both ends of the band, for people."""
        unit, form = (1, ".2f") if self.figure is Figure.BLOCKS else (100, ".1f")
        value, error, low, high = (format(unit * x, form) for x in (self.value, self.error, self.low, self.high))
        return value, error, low, high

    @property
    def sentence(self) -> str:
        """What is wrong, where it is not within."""
        value, error, low, high = self.texts
        unit = "" if self.figure is Figure.BLOCKS else " %"
        return (
            f"{self.noise} noise of {self.deviation:.1%}: {self.figure}: {value}{unit} "
            f"(standard error {error}), which is outside of {low} to {high}{unit}"
        )


def measure(num_families: int, seed: int) -> Iterator[Finding]:
    """Every figure under every noise; the same seed gives the same figures.

    The standard error is that of the mean over families, whose pairs share trials; for a share of whole families it is
    the binomial one.
    """
    sweep = Sweep()
    for deviation, bands in BANDS.items():
        for place, noise in enumerate(Noise):
            source = np.random.default_rng([seed, place, round(1000 * deviation)])
            seconds = simulate_seconds(noise, deviation, num_families, sweep.max_blocks, source)
            for figure, samples in _figures(seconds, sweep):
                yield _finding(figure, noise, deviation, samples, bands[figure][place])
    source = np.random.default_rng([seed, len(Noise)])
    seconds = simulate_seconds(Noise.NORMAL, TRIFLE_NOISE, num_families, sweep.max_blocks, source)
    is_slowed = true_ratios(MIRRORED, TRIFLE) != 0
    calls = _is_called(run_families(slowed(seconds, MIRRORED, TRIFLE), sweep))[:, is_slowed].mean(axis=1)
    yield _finding(Figure.TRIFLE, Noise.NORMAL, TRIFLE_NOISE, calls, TRIFLE_BAND)


def main(num_families: int, seed: int = 1, as_json: bool = False) -> ExitCode:
    """Measure, print and judge: INVALID where a figure lies outside of its band. Raises Refusal on nonsense."""
    if not FEWEST_FAMILIES <= num_families <= MOST_FAMILIES:
        raise Refusal(f"num_families={num_families} must be a whole number from {FEWEST_FAMILIES} to {MOST_FAMILIES}")
    if seed < 0:
        raise Refusal(f"seed={seed} must be a whole number from 0")
    findings = list(measure(num_families, seed))
    failures = [finding.sentence for finding in findings if not finding.is_within]
    if as_json:
        rows = [asdict(finding) | {"is_within": finding.is_within} for finding in findings]
        answer = {"num_families": num_families, "seed": seed, "findings": rows, "failures": failures}
        print(json.dumps(answer, indent=2))
    else:
        print("\n".join([*_table(findings), "", *(failures or ["Every figure lies within its band."])]))
    return ExitCode.INVALID if failures else ExitCode.OK


def judge_real(pairs: Iterable[Sequence[float]]) -> ExitCode:
    """Print how often equal real trials gave a plain p below 5 %; INVALID where that is all but impossible.

    `pairs` hold the ln ratios of one point under two names, block by block: every six blocks are one comparison. The
    interval of the share is that of Clopper and Pearson 1934.
    """
    groups = [
        differences[first : first + MIN_VERDICT_BLOCKS]
        for differences in pairs
        for first in range(0, len(differences) - MIN_VERDICT_BLOCKS + 1, MIN_VERDICT_BLOCKS)
    ]
    if not groups:
        print(f"A/A: no comparison; {MIN_VERDICT_BLOCKS} blocks with both trials valid are needed")
        return ExitCode.INCONCLUSIVE
    found = [comparison for group in groups for comparison in judge_family([group])]
    test = stats.binomtest(sum((comparison.p_value or 0.0) < ALPHA for comparison in found), len(found), ALPHA)
    interval = test.proportion_ci(0.95, method="exact")
    print(
        f"A/A: {test.k} of {test.n} comparisons of {MIN_VERDICT_BLOCKS} blocks have p < 5 %: "
        f"{test.statistic:.1%} (exact 95 % interval {interval.low:.1%} to {interval.high:.1%}), p = {test.pvalue:.2g}"
    )
    return ExitCode.OK if test.pvalue >= LEAST_REAL_P else ExitCode.INVALID


def _figures(seconds: Floats, sweep: Sweep) -> Iterator[tuple[Figure, Floats]]:
    """Each figure with one value a family, from trials of equal cells."""
    equal = run_families(seconds, sweep)
    yield Figure.BLOCKS, equal.num_blocks
    yield Figure.SINGLE, (equal.decisions.p_value < ALPHA).mean(axis=1)
    yield Figure.FAMILY, np.asarray(_is_called(equal).any(axis=1), dtype=np.float64)
    yield Figure.EQUAL, (equal.decisions.verdict == Verdict.EQUIVALENT).mean(axis=1)
    for slowdown, figure in FOUND.items():
        decisions = run_families(slowed(seconds, MIRRORED, slowdown), sweep).decisions
        truth = true_ratios(MIRRORED, slowdown)
        is_found = decisions.verdict == np.where(truth < 0, Verdict.SLOWER, Verdict.FASTER)
        yield figure, is_found[:, truth != 0].mean(axis=1)
        if figure is Figure.FOUND_5:
            yield Figure.AT_MARGIN, (decisions.verdict == Verdict.EQUIVALENT)[:, truth != 0].mean(axis=1)
        if slowdown == COVERED_AT:
            is_covered = (decisions.low <= truth) & (truth <= decisions.high)
            yield Figure.COVERED, is_covered.mean(axis=1)
            yield Figure.COVERED_AS_STATED, (is_covered - decisions.level).mean(axis=1)


def _is_called(runs: Runs) -> NDArray[np.bool_]:
    return np.isin(runs.decisions.verdict, [Verdict.FASTER, Verdict.SLOWER])


def _finding(figure: Figure, noise: Noise, deviation: float, samples: Floats, band: Band) -> Finding:
    value, error = float(samples.mean()), float(samples.std()) / math.sqrt(len(samples))
    return Finding(figure=figure, noise=noise, deviation=deviation, value=value, error=error, low=band[0], high=band[1])


def _table(findings: list[Finding]) -> Iterator[str]:
    """One line a figure, one column a noise: the value and its band, in per cent but for blocks."""
    yield f"{'noise  figure (value and band in %)':<74}" + "".join(f"{noise:>24}" for noise in Noise)
    found = {(f.deviation, f.figure, f.noise): f for f in findings}
    for deviation, figure in dict.fromkeys((f.deviation, f.figure) for f in findings):
        line = f"{deviation:5.1%}  {figure:<67}"
        for noise in Noise:
            if finding := found.get((deviation, figure, noise)):
                value, _, low, high = finding.texts
                line += f"{f'{value} ({low}..{high})' + ('' if finding.is_within else ' !'):>24}"
        yield line
