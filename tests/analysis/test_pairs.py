"""Pairs: the declared family, and what is compared inside blocks."""

from pathlib import Path

import pytest

from tasks.domain.loop import Loop
from tasks.domain.reduction import Reduction
from tasks.domain.sweep import Sweep
from tests.analysis.example_runs import MIRRORED, ONE, WORKERS, analyze_example, make_result


def test_family_is_every_two_strategies_at_every_batch_size_one_device_second(tmp_path: Path) -> None:
    pairs = analyze_example(tmp_path, Sweep(strategies=(WORKERS, MIRRORED, ONE), num_epochs=1)).pairs
    assert len(pairs) == 9
    assert [(p.cell.strategy, p.against.strategy) for p in pairs if p.cell.global_batch_size == 64] == [
        (WORKERS, ONE),
        (MIRRORED, ONE),
        (MIRRORED, WORKERS),
    ]


def test_pairs_stay_inside_a_setting(tmp_path: Path) -> None:
    sweep = Sweep(num_epochs=1, loops=(Loop.FUSED, Loop.KERAS_FIT), xla=(False, True), skip_unsupported=True)
    pairs = analyze_example(tmp_path, sweep).pairs
    assert all(pair.cell.setting == pair.against.setting for pair in pairs)
    assert all(pair.cell.global_batch_size == pair.against.global_batch_size for pair in pairs)
    assert len(pairs) == 3 * (3 + 3 + 1)  # Keras fit trains two strategies without XLA, one with it


def test_each_reduction_is_an_arm(tmp_path: Path) -> None:
    sweep = Sweep(
        strategies=(ONE, MIRRORED),
        global_batch_sizes=(64,),
        num_epochs=1,
        reductions=(Reduction.AUTO, Reduction.HIERARCHICAL_COPY),
    )
    pairs = analyze_example(tmp_path, sweep).pairs
    assert [(pair.cell.reduction, pair.against.reduction) for pair in pairs] == [
        (Reduction.AUTO, None),
        (Reduction.HIERARCHICAL_COPY, None),
        (Reduction.HIERARCHICAL_COPY, Reduction.AUTO),
    ]
    assert [pair.num_blocks for pair in pairs] == [1, 1, 1]


def test_ratios_are_taken_inside_blocks(tmp_path: Path) -> None:
    seconds = {(ONE, 1): 60.0, (ONE, 2): 80.0, (MIRRORED, 1): 30.0, (MIRRORED, 2): 50.0}
    sweep = Sweep(strategies=(ONE, MIRRORED), global_batch_sizes=(64,), num_blocks=2)
    (pair,) = analyze_example(tmp_path, sweep, lambda t: make_result(t, seconds[t.strategy, t.block])).pairs
    assert pair.ratios
    assert pair.ratios.values == pytest.approx((2.0, 1.6))
    assert pair.num_blocks == 2


@pytest.mark.parametrize(("num_blocks", "between_seeds"), [(1, None), (2, ((0.004**2 + 0.006**2) / 4) ** 0.5)])
def test_spreads_of_hand_made_accuracies(tmp_path: Path, num_blocks: int, between_seeds: float | None) -> None:
    final = {(ONE, 1): 0.990, (ONE, 2): 0.986, (MIRRORED, 1): 0.991, (MIRRORED, 2): 0.985}
    sweep = Sweep(strategies=(ONE, MIRRORED), global_batch_sizes=(64,), num_epochs=1, num_blocks=num_blocks)
    analysis = analyze_example(tmp_path, sweep, lambda t: make_result(t, 50.0, (final[t.strategy, t.block],)))
    (spread,) = analysis.accuracy_spreads
    assert spread.largest_difference == pytest.approx(0.001)
    assert spread.between_strategies == pytest.approx(0.001 / 2**0.5)
    # variances .004^2 / 2 and .006^2 / 2; one block has one seed
    assert spread.between_seeds == (None if between_seeds is None else pytest.approx(between_seeds))
    assert (spread.num_strategies, spread.num_blocks) == (2, num_blocks)
