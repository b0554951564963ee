"""Pairs: the declared family, and what is compared inside blocks."""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.analysis.analysis import Analysis
from tasks.analysis.pairs import Pair, declare
from tasks.analysis.statistics import AccuracyVerdict, Verdict
from tasks.domain.cell import Arm
from tasks.domain.device import DeviceType
from tasks.domain.loop import Loop
from tasks.domain.outcome import TrialResult
from tasks.domain.reduction import Reduction
from tasks.domain.sweep import Sweep
from tasks.domain.trial import Role, Trial
from tests.analysis.example_runs import (
    MIRRORED,
    ONE,
    WORKERS,
    Outcome,
    analyze_example,
    cell_of,
    grid,
    make_failure,
    make_result,
    measured_only,
    realistic,
)

TWO = {"strategies": (ONE, MIRRORED), "global_batch_sizes": (64,), "num_epochs": 1}
MEASURED, BASELINE, REFERENCE = Role.MEASURED, Role.BASELINE, Role.REFERENCE


def ratios(pair: Pair) -> list[float]:
    return [math.exp(difference) for difference in pair.comparison.differences]


def paced(epochs: dict[tuple[str, Role], tuple[float, ...]]) -> Callable[[Trial], Outcome]:
    """Trainings whose epochs take the given seconds; short ones take the first of them."""

    def outcome(trial: Trial) -> TrialResult:
        result, seconds = realistic(trial), epochs.get((trial.strategy, trial.role), (9.0,) * trial.num_epochs)
        timed = zip(result.epochs, seconds, strict=False)
        return dataclasses.replace(
            result, epochs=tuple(dataclasses.replace(epoch, training_seconds=value) for epoch, value in timed)
        )

    return outcome


def test_family_is_every_two_strategies_and_each_against_the_same_hardware_unsplit(tmp_path: Path) -> None:
    analysis = analyze_example(tmp_path, grid(strategies=(WORKERS, MIRRORED, ONE), num_epochs=1))
    pairs, accuracies = analysis.pairs, analysis.accuracy_pairs
    assert [(p.strategy, p.against) for p in accuracies] == [(WORKERS, ONE), (MIRRORED, ONE), (MIRRORED, WORKERS)]
    assert len(pairs) == 15
    assert [(p.cell.strategy, p.against.strategy, p.against_role) for p in pairs if p.cell.global_batch_size == 64] == [
        (WORKERS, ONE, MEASURED),
        (MIRRORED, ONE, MEASURED),
        (MIRRORED, WORKERS, MEASURED),
        (WORKERS, ONE, REFERENCE),
        (MIRRORED, ONE, REFERENCE),
    ]


def test_family_follows_from_the_sweep_whatever_was_recorded(tmp_path: Path) -> None:
    assert [role for *_, role in declare(Sweep(), DeviceType.GPU)] == [MEASURED] * 9
    empty = analyze_example(tmp_path, Sweep(), lambda trial: None, end=None).pairs
    assert (len(empty), {pair.comparison.n for pair in empty}) == (15, {0})


def test_grid_without_one_device_is_set_against_baselines(tmp_path: Path) -> None:
    sweep = grid(strategies=(MIRRORED, WORKERS), global_batch_sizes=(64,), num_epochs=1)
    pairs = analyze_example(tmp_path, sweep).pairs
    assert [(p.cell.strategy, p.against.strategy, p.against_role) for p in pairs] == [
        (WORKERS, MIRRORED, MEASURED),
        (MIRRORED, ONE, REFERENCE),
        (MIRRORED, ONE, BASELINE),
        (WORKERS, ONE, REFERENCE),
        (WORKERS, ONE, BASELINE),
    ]
    assert {(pair.against.global_batch_size, pair.comparison.n) for pair in pairs} == {(64, 1)}


def test_versus_compares_each_cell_with_itself_elsewhere_and_nothing_else(tmp_path: Path) -> None:
    def outcome(trial: Trial) -> Outcome:
        return make_result(trial, 60.0 if trial.arm is Arm.HERE else 48.0)

    analysis = analyze_example(tmp_path, grid(6, versus="/other/python", num_epochs=1), outcome)
    pairs = analysis.pairs
    here = [cell for cell in analysis.run.sweep.cells if cell.arm is Arm.HERE]
    assert [pair.against for pair in pairs] == here
    assert [pair.cell for pair in pairs] == [dataclasses.replace(cell, arm=Arm.OTHER) for cell in here]
    assert [pair.comparison.ratio for pair in pairs] == pytest.approx([1.25] * 9)
    assert {pair.comparison.verdict for pair in pairs} == {Verdict.FASTER}
    for point in analysis.points:  # each against one device of its own environment
        assert point.median("speedup") == (None if point.strategy is ONE else pytest.approx(1.0))
    assert (len(analysis.points), analysis.baselines, analysis.references) == (18, (), ())


def test_pairs_stay_inside_a_setting() -> None:
    axes = {"loops": (Loop.FUSED, Loop.KERAS_FIT), "xla": (False, True), "skip_unsupported": True}
    family = list(declare(grid(global_batch_sizes=(64, 128), **axes), DeviceType.CPU_SLICE))
    assert all(cell.setting == against.setting for cell, against, _ in family)
    assert all(cell.global_batch_size == against.global_batch_size for cell, against, _ in family)
    # Keras fit trains two strategies without XLA, one with it, which is not split
    assert len(family) == 2 * (5 + 5 + 2)


def test_each_reduction_is_an_arm() -> None:
    family = declare(grid(**TWO, reductions=(Reduction.AUTO, Reduction.HIERARCHICAL_COPY)), DeviceType.CPU_SLICE)
    assert [(cell.reduction, against.reduction, role) for cell, against, role in family] == [
        (Reduction.AUTO, None, MEASURED),
        (Reduction.HIERARCHICAL_COPY, None, MEASURED),
        (Reduction.HIERARCHICAL_COPY, Reduction.AUTO, MEASURED),
        (Reduction.AUTO, None, REFERENCE),
        (Reduction.HIERARCHICAL_COPY, None, REFERENCE),
    ]


def test_ratios_are_taken_inside_blocks(tmp_path: Path) -> None:
    seconds = {(ONE, 1): 60.0, (ONE, 2): 80.0, (MIRRORED, 1): 30.0, (MIRRORED, 2): 50.0}
    outcome = measured_only(lambda t: make_result(t, seconds[t.strategy, t.block]))
    pair = analyze_example(tmp_path, grid(2, **TWO), outcome).pairs[0]
    assert ratios(pair) == pytest.approx([2.0, 1.6])
    assert (pair.comparison.n, pair.comparison.ratio) == (2, pytest.approx(3.2**0.5))


def test_trainings_of_unequal_length_are_compared_over_the_epochs_that_both_made(tmp_path: Path) -> None:
    epochs = {(ONE, MEASURED): (20.0, 30.0, 30.0), (MIRRORED, MEASURED): (10.0, 25.0, 15.0), (ONE, REFERENCE): (15.0,)}
    sweep = grid(2, **TWO | {"num_epochs": 3}, num_whole_blocks=1)
    analysis = analyze_example(tmp_path, sweep, paced(epochs))
    measured, unsplit = analysis.pairs
    assert ratios(measured) == pytest.approx([80 / 50, 20 / 10])  # a whole block, a short one
    assert ratios(unsplit) == pytest.approx([15 / 10, 15 / 10])


def test_pairs_have_as_many_blocks_as_both_have_trials(tmp_path: Path) -> None:
    def outcome(trial: Trial) -> Outcome:
        lost = {(MIRRORED, MEASURED, 2), (ONE, REFERENCE, 3)}
        return make_failure(trial) if (trial.strategy, trial.role, trial.block) in lost else realistic(trial)

    analysis = analyze_example(tmp_path, grid(3, **TWO), outcome)
    measured, unsplit = analysis.pairs
    assert (measured.comparison.n, unsplit.comparison.n) == (2, 1)
    assert analysis.half_width is None  # the widest pair is not known yet
    assert (analysis.num_blocks, analysis.coverage.num_begun) == (3, 3)


def test_widest_pair_is_that_of_the_whole_family(tmp_path: Path) -> None:
    def outcome(trial: Trial) -> Outcome:
        factor = {1: math.exp(0.1), 2: 1.0, 3: math.exp(-0.1)}[trial.block] if trial.role is REFERENCE else 1.0
        return make_result(trial, 60.0 * factor)

    analysis = analyze_example(tmp_path, grid(3, **TWO), outcome)
    # t(.975, 2) = 4.302653 x .1 / sqrt 3
    assert analysis.half_width == pytest.approx(math.expm1(0.2484138), abs=1e-6)


def test_pair_at_a_cell_is_found_by_what_it_is_set_against(tmp_path: Path) -> None:
    analysis, mirrored = analyze_example(tmp_path, grid(num_epochs=1)), cell_of(MIRRORED, 128)
    pair, unsplit = (analysis.pair_of(mirrored, ONE, is_unsplit) for is_unsplit in (False, True))
    assert pair
    assert unsplit
    assert (pair.against, pair.against_role) == (cell_of(ONE, 128), MEASURED)
    assert (unsplit.against, unsplit.against_role) == (cell_of(ONE, 128), REFERENCE)
    assert analysis.pair_of(mirrored, WORKERS) is analysis.pair_of(cell_of(ONE, 128), MIRRORED) is None


def scored(tmp_path: Path, num_blocks: int, final: dict[tuple[str, int, int], float], **fields: object) -> Analysis:
    """Two strategies with final accuracies by strategy, batch size and block; .98 where none is given."""

    def outcome(trial: Trial) -> Outcome:
        accuracy = final.get((trial.strategy, trial.global_batch_size, trial.block), 0.98)
        return make_result(trial, 50.0, (*(0.9,) * (trial.num_epochs - 1), accuracy))

    sweep = grid(num_blocks, strategies=(ONE, MIRRORED), global_batch_sizes=(64, 128), num_epochs=2, **fields)
    return analyze_example(tmp_path, sweep, measured_only(outcome))


def test_accuracies_are_averaged_over_the_batch_sizes_and_paired_by_seed(tmp_path: Path) -> None:
    final = {(MIRRORED, 64, 1): 0.982, (MIRRORED, 128, 1): 0.984, (ONE, 64, 2): 0.981, (MIRRORED, 128, 2): 0.979}
    (pair,) = scored(tmp_path, 2, final).accuracy_pairs
    assert (pair.strategy, pair.against, pair.num_batch_sizes) == (MIRRORED, ONE, 2)
    assert pair.comparison.differences == pytest.approx((0.003, -0.001))
    assert (pair.comparison.n, pair.comparison.mean) == (2, pytest.approx(0.001))
    assert pair.comparison.verdict is AccuracyVerdict.NOT_DECIDABLE


def test_accuracy_is_that_of_whole_trainings_alone(tmp_path: Path) -> None:
    final = {(MIRRORED, 64, block): 0.98 + 0.001 * block for block in (1, 2, 3)}
    (pair,) = scored(tmp_path, 6, final | {(MIRRORED, 64, 5): 0.1}, num_whole_blocks=3).accuracy_pairs
    assert pair.comparison.differences == pytest.approx((0.0005, 0.001, 0.0015))
    assert pair.comparison.verdict is AccuracyVerdict.EQUIVALENT
