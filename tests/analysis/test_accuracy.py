"""Accuracy: differences of strategies beside the spread of seeds."""

from pathlib import Path

import pytest

from tasks.analysis.accuracy import AccuracyVerdict, sampling_error
from tasks.analysis.analysis import Analysis, analyze
from tasks.domain.sweep import Sweep
from tests.analysis.example_runs import MIRRORED, ONE, make_result, make_run, read_example

FINAL = {(ONE, 1): 0.990, (ONE, 2): 0.986, (MIRRORED, 1): 0.991, (MIRRORED, 2): 0.985}


def analyze_finals(path: Path, num_blocks: int) -> Analysis:
    run = make_run(Sweep(strategies=(ONE, MIRRORED), global_batch_sizes=(64,), num_blocks=num_blocks))
    tables = read_example(path, run, lambda t: make_result(t, 50.0, (0.9, 0.9, 0.9, 0.9, FINAL[t.strategy, t.block])))
    return analyze(run, tables)


def test_spreads_of_hand_made_accuracies(tmp_path: Path) -> None:
    (spread,) = analyze_finals(tmp_path, 2).accuracy_spreads
    assert spread.largest_difference == pytest.approx(0.001)
    assert spread.between_strategies == pytest.approx(0.001 / 2**0.5)
    # variances .004^2 / 2 and .006^2 / 2
    assert spread.between_seeds == pytest.approx(((0.004**2 + 0.006**2) / 4) ** 0.5)
    assert (spread.num_strategies, spread.num_blocks) == (2, 2)


def test_one_block_shows_no_spread_over_seeds(tmp_path: Path) -> None:
    (spread,) = analyze_finals(tmp_path, 1).accuracy_spreads
    assert spread.between_seeds is None
    assert spread.largest_difference == pytest.approx(0.001)


def test_pairs_are_differences_by_seed_without_a_verdict(tmp_path: Path) -> None:
    (pair,) = analyze_finals(tmp_path, 2).accuracy_pairs
    assert pair.differences
    assert pair.differences.values == pytest.approx((0.001, -0.001))
    assert pair.verdict is AccuracyVerdict.INCONCLUSIVE


def test_sampling_error_is_binomial() -> None:
    assert sampling_error(0.99, 10_000) == pytest.approx(0.000995, abs=1e-6)
