"""Pairs: the declared family, and no verdict without a test."""

from pathlib import Path

import pytest

from tasks.analysis.analysis import analyze
from tasks.analysis.pairs import Verdict
from tasks.domain.sweep import Sweep
from tests.analysis.example_runs import MIRRORED, ONE, WORKERS, make_result, make_run, read_example


def test_family_is_every_two_strategies_at_every_batch_size_one_device_second(tmp_path: Path) -> None:
    run = make_run(Sweep(strategies=(WORKERS, MIRRORED, ONE)))
    pairs = analyze(run, read_example(tmp_path, run)).pairs
    assert len(pairs) == 9
    assert [(p.strategy, p.against) for p in pairs if p.global_batch_size == 64] == [
        (WORKERS, ONE),
        (MIRRORED, ONE),
        (MIRRORED, WORKERS),
    ]


def test_ratios_are_taken_inside_blocks(tmp_path: Path) -> None:
    seconds = {(ONE, 1): 60.0, (ONE, 2): 80.0, (MIRRORED, 1): 30.0, (MIRRORED, 2): 50.0}
    run = make_run(Sweep(strategies=(ONE, MIRRORED), global_batch_sizes=(64,), num_blocks=2))
    tables = read_example(tmp_path, run, lambda t: make_result(t, seconds[t.strategy, t.block]))
    (pair,) = analyze(run, tables).pairs
    assert pair.ratios
    assert pair.ratios.values == pytest.approx((2.0, 1.6))
    assert pair.num_blocks == 2


@pytest.mark.parametrize("num_blocks", [1, 2, 3, 5, 6])
def test_no_number_of_blocks_gives_a_verdict_before_pairs_are_tested(tmp_path: Path, num_blocks: int) -> None:
    run = make_run(Sweep(global_batch_sizes=(64,), num_blocks=num_blocks))
    pairs = analyze(run, read_example(tmp_path, run)).pairs
    assert {(pair.verdict, pair.num_blocks) for pair in pairs} == {(Verdict.INCONCLUSIVE, num_blocks)}
