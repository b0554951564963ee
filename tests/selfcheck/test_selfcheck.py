"""The selfcheck: it passes as the product is, and fails where a rule is broken on purpose."""

import json
import math
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tasks.analysis import statistics
from tasks.analysis.pairs import declare
from tasks.analysis.statistics import ALPHA, Comparison, Decisions, Verdict, judge_family, log_ratios
from tasks.domain.device import DeviceType
from tasks.domain.exit_code import ExitCode
from tasks.domain.refusal import Refusal
from tasks.domain.strategy import Strategy
from tasks.domain.sweep import Sweep
from tasks.domain.trial import Role
from tasks.planning.stopping import Finished
from tasks.selfcheck import simulation
from tasks.selfcheck.selfcheck import BANDS, Figure, Finding, judge_real, main, measure
from tasks.selfcheck.simulation import MIRRORED, Noise, declared_differences, run_families, simulate_seconds, slowed

NUM_ROWS = sum(map(len, BANDS.values()))
POWER = {Figure.FOUND_3, Figure.FOUND_5, Figure.FOUND_10, Figure.FOUND_20}
CELLS = {
    (Strategy.ONE_DEVICE, Role.MEASURED): simulation.ONE_DEVICE,
    (Strategy.MIRRORED, Role.MEASURED): simulation.MIRRORED,
    (Strategy.MULTI_WORKER_MIRRORED, Role.MEASURED): simulation.MULTI_WORKER,
    (Strategy.ONE_DEVICE, Role.REFERENCE): simulation.REFERENCE,
}


def test_simulated_pairs_are_the_declared_ones() -> None:
    """Whichever of the two is set against the other."""
    declared = Counter(
        (cell.global_batch_size, frozenset({CELLS[cell.strategy, Role.MEASURED], CELLS[against.strategy, role]}))
        for cell, against, role in declare(Sweep(), DeviceType.CPU_SLICE)
    )
    batches = Sweep().global_batch_sizes
    assert declared == Counter((batch, frozenset(pair)) for batch in batches for pair in simulation.PAIRS)
    assert len(batches) == simulation.NUM_BATCHES


def failing(num_families: int = 400) -> set[Figure]:
    return {finding.figure for finding in measure(num_families, seed=1) if not finding.is_within}


def test_product_passes_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(num_families=400) is ExitCode.OK
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + NUM_ROWS + 1 + 2
    assert lines[0].split()[-4:] == ["normal", "t3", "outliers", "drift"]
    assert lines[-1] == "Every figure lies within its band."


def test_json_holds_every_figure_and_the_seed_repeats_it(capsys: pytest.CaptureFixture[str]) -> None:
    answers = []
    for seed in (7, 7, 8):
        assert main(num_families=100, seed=seed, as_json=True) is ExitCode.OK
        answers.append(json.loads(capsys.readouterr().out))
    assert answers[0] == answers[1]
    assert answers[0]["findings"] != answers[2]["findings"]
    assert (answers[0]["num_families"], answers[0]["seed"], answers[0]["failures"]) == (100, 7, [])
    assert len(answers[0]["findings"]) == 4 * NUM_ROWS + 1
    assert {row["figure"] for row in answers[0]["findings"]} == set(Figure)


@pytest.mark.parametrize(
    ("count", "seed", "sentence"),
    [
        (99, 1, "num_families=99 must be a whole number from 100 to 20000"),
        (20_001, 1, "num_families=20001 must be a whole number from 100 to 20000"),
        (100, -1, "seed=-1 must be a whole number from 0"),
    ],
)
def test_nonsense_is_refused(count: int, seed: int, sentence: str) -> None:
    with pytest.raises(Refusal, match=sentence):
        main(count, seed)


def test_it_fails_without_holm(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(statistics, "holm", lambda p_values: (p_values <= ALPHA, np.full(p_values.shape, ALPHA)))
    assert Figure.FAMILY in failing()
    assert main(num_families=400) is ExitCode.INVALID
    sentences = capsys.readouterr().out.split("\n\n")[1].splitlines()
    assert sentences[0].startswith("normal noise of 5.0%: equal families with any pair called faster or slower: ")
    assert sentences[0].endswith("which is outside of 0.0 to 7.0 %")


def test_it_fails_where_blocks_are_mixed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulation, "log_ratios", lambda own, other: log_ratios(own, np.roll(other, 1, axis=-1)))
    assert failing() >= {Figure.BLOCKS, Figure.EQUAL, Figure.FOUND_10}


@pytest.mark.parametrize(
    ("name", "value", "figure"),
    [
        ("EQUIVALENCE_MARGIN", 0.10, Figure.AT_MARGIN),
        ("EQUIVALENCE_MARGIN", 0.025, Figure.EQUAL),
        ("MARGIN", 0.0, Figure.TRIFLE),
        ("MARGIN", 0.06, Figure.FOUND_5),
        ("ALPHA", 0.20, Figure.FAMILY),
        ("ALPHA", 0.005, Figure.FOUND_5),
        ("MIN_VERDICT_BLOCKS", 19, Figure.FOUND_20),
    ],
)
def test_it_fails_with_another_constant(
    monkeypatch: pytest.MonkeyPatch, name: str, value: float, figure: Figure
) -> None:
    monkeypatch.setattr(statistics, name, value)
    assert figure in failing()


@pytest.mark.parametrize(
    ("change", "figures"),
    [
        (lambda found, means: {"verdict": np.full(means.shape, Verdict.INCONCLUSIVE)}, POWER | {Figure.EQUAL}),
        (lambda found, means: {"verdict": np.full(means.shape, Verdict.SLOWER)}, {Figure.FAMILY, Figure.TRIFLE}),
        (lambda found, means: {"verdict": np.full(means.shape, Verdict.EQUIVALENT)}, {Figure.AT_MARGIN}),
        (lambda found, means: {"p_value": found.p_value / 2}, {Figure.SINGLE}),
        (lambda found, means: {"p_value": np.minimum(found.p_value * 4, 1)}, {Figure.SINGLE}),
        (
            lambda found, means: {"low": means + (found.low - means) / 2, "high": means + (found.high - means) / 2},
            {Figure.COVERED, Figure.COVERED_AS_STATED},
        ),
        (
            lambda found, means: {"low": 2 * found.low - means, "high": 2 * found.high - means},
            {Figure.COVERED_AS_STATED},
        ),
    ],
    ids=["never decides", "always slower", "always equivalent", "p halved", "p fourfold", "too narrow", "too wide"],
)
def test_it_fails_where_a_rule_never_or_always_fires(
    monkeypatch: pytest.MonkeyPatch, change: Callable[[Decisions, Any], dict[str, Any]], figures: set[Figure]
) -> None:
    def decide(num_blocks: Any, means: Any, deviations: Any) -> Decisions:
        decisions = statistics.decide(num_blocks, means, deviations)
        return decisions._replace(**change(decisions, means))

    monkeypatch.setattr(simulation, "decide", decide)
    assert failing() >= figures


def test_it_fails_where_the_stop_rule_looks_at_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    stop = Finished("enough")
    monkeypatch.setattr(simulation, "next_block", lambda _, num_blocks, **known: num_blocks < 6 or stop)
    assert Figure.BLOCKS in failing()


def test_a_band_allows_for_chance() -> None:
    def finding(value: float) -> Finding:
        return Finding(
            figure=Figure.FAMILY, noise=Noise.T3, deviation=0.05, value=value, error=0.01, low=0.02, high=0.07
        )

    assert [finding(value).is_within for value in (-0.02, 0.0, 0.05, 0.099, 0.101)] == [False, True, True, True, False]
    assert finding(0.2).sentence == (
        "t3 noise of 5.0%: equal families with any pair called faster or slower: 20.0 % (standard error 1.0), "
        "which is outside of 2.0 to 7.0 %"
    )


@pytest.mark.parametrize("noise", [Noise.NORMAL, Noise.T3])
def test_noise_has_the_stated_deviation(noise: Noise) -> None:
    seconds = simulate_seconds(noise, 0.05, 2000, 20, np.random.default_rng(1))
    assert seconds.shape == (2000, 3, 4, 20)
    assert np.log(seconds).std() == pytest.approx(0.05, rel=0.05)


def test_families_are_judged_as_the_product_judges_one() -> None:
    sweep = Sweep()
    seconds = slowed(simulate_seconds(Noise.DRIFT, 0.03, 20, 20, np.random.default_rng(2)), MIRRORED, 0.1)
    runs, differences = run_families(seconds, sweep), declared_differences(seconds)
    for row, (family, num_blocks) in enumerate(zip(differences, runs.num_blocks.astype(int), strict=True)):
        pairs = judge_family([pair[:num_blocks] for pair in family])
        assert [pair.verdict for pair in pairs] == runs.decisions.verdict[row].tolist()
        assert [math.log(pair.high) for pair in pairs] == pytest.approx(runs.decisions.high[row].tolist())
        wanted = [statistics.widest_half_width([pair[:n] for pair in family]) <= 0.05 for n in range(6, num_blocks + 1)]
        assert wanted == [False] * (len(wanted) - 1) + [num_blocks < 20 or wanted[-1]]


def pilot_and_needed(seed: int) -> tuple[Comparison, ...]:
    """A trainer slower by 10 % and an unslowed twin: 6 blocks, then as many as the first pair is said to need."""
    logarithms = np.random.default_rng(seed).normal(0, 0.05, (3, statistics.MOST_BLOCKS))
    one_device, slow, twin = np.exp(logarithms)
    family = log_ratios(np.stack((slow * 1.1, twin)), one_device)
    pilot = judge_family(list(family[:, :6]))
    needed = pilot[0].blocks_needed
    return pilot if needed is None else judge_family(list(family[:, :needed]))


def test_fake_trainer_is_found_with_the_blocks_that_the_product_asks_for() -> None:
    slow, twin = zip(*(pilot_and_needed(seed) for seed in range(200)), strict=True)
    assert np.mean([pair.verdict is Verdict.SLOWER for pair in slow]) >= 0.9
    assert np.mean([pair.verdict in (Verdict.FASTER, Verdict.SLOWER) for pair in twin]) <= 0.05
    assert 6 < np.mean([pair.n for pair in slow]) < 30


SAME, APART = [0.01, -0.01, 0.02, -0.02, 0.01, -0.01], [0.20, 0.21, 0.19, 0.20, 0.22, 0.18]
"""ln ratios of six blocks, of which the plain p is 1 and next to 0."""


@pytest.mark.parametrize(
    ("counts", "said", "code"),
    [
        ((0, 20), "0.0% (exact 95 % interval 0.0% to 16.8%), p = 0.62", ExitCode.OK),
        ((5, 100), "5.0% (exact 95 % interval 1.6% to 11.3%), p = 1", ExitCode.OK),
        # pbinom(4, 20, .05, lower.tail = FALSE) = .00257, pbinom(5, ...) = .00033
        ((5, 20), "25.0% (exact 95 % interval 8.7% to 49.1%), p = 0.0026", ExitCode.OK),
        ((6, 20), "30.0% (exact 95 % interval 11.9% to 54.3%), p = 0.00033", ExitCode.INVALID),
    ],
)
def test_equal_real_trials(
    capsys: pytest.CaptureFixture[str], counts: tuple[int, int], said: str, code: ExitCode
) -> None:
    num_apart, num_all = counts
    assert judge_real([APART] * num_apart + [SAME] * (num_all - num_apart)) is code
    out = capsys.readouterr().out
    assert out == f"A/A: {num_apart} of {num_all} comparisons of 6 blocks have p < 5 %: {said}\n"


def test_every_six_blocks_of_equal_real_trials_are_one_comparison(capsys: pytest.CaptureFixture[str]) -> None:
    judge_real([[*SAME, *APART, 0.5], SAME, SAME[:5]])
    assert capsys.readouterr().out.startswith("A/A: 1 of 3 comparisons of 6 blocks")
    assert judge_real([SAME[:5]]) is ExitCode.INCONCLUSIVE
