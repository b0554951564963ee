"""Loops: what each does to a point and to a strategy's speed-up, taken inside blocks."""

from pathlib import Path

import pytest

from tasks.analysis.loops import LoopEffect
from tasks.domain.loop import Loop
from tasks.domain.trial import Role, Trial
from tests.analysis.example_runs import (
    MIRRORED,
    ONE,
    WORKERS,
    Outcome,
    analyze_example,
    grid,
    make_failure,
    make_result,
    measured_only,
)

FUSED, STEP, FIT = Loop.FUSED, Loop.STEP, Loop.KERAS_FIT
FIELDS = {"strategies": (ONE, MIRRORED), "global_batch_sizes": (64,), "num_epochs": 1}
SWEEP = grid(2, **FIELDS, loops=(FUSED, FIT))
SECONDS = {
    (ONE, FUSED): (60.0, 60.0),
    (MIRRORED, FUSED): (30.0, 40.0),
    (ONE, FIT): (90.0, 80.0),
    (MIRRORED, FIT): (120.0, 100.0),
}
"""By block."""


@measured_only
def timed(trial: Trial) -> Outcome:
    return make_result(trial, SECONDS[trial.strategy, trial.loop][trial.block - 1])


def values(effect: LoopEffect) -> list[tuple[float, ...]]:
    summaries = effect.ratios, effect.speedups, effect.other_speedups, effect.quotients
    return [summary.values if summary else () for summary in summaries]


def test_effects_are_taken_inside_blocks(tmp_path: Path) -> None:
    single, mirrored = analyze_example(tmp_path, SWEEP, timed).loop_effects
    assert values(single) == [pytest.approx((1.5, 80 / 60)), (), (), ()]
    assert not single.is_turned
    expected = (4.0, 2.5), (2.0, 1.5), (0.75, 0.8), (2 / 0.75, 1.5 / 0.8)
    assert values(mirrored) == [pytest.approx(ratios) for ratios in expected]
    assert mirrored.is_turned
    assert (mirrored.cell.setting.loop, mirrored.other.setting.loop) == (FUSED, FIT)


def test_order_that_holds_is_not_turned(tmp_path: Path) -> None:
    analysis = analyze_example(tmp_path, SWEEP, lambda t: make_result(t, 60.0 if t.strategy is ONE else 40.0))
    assert [effect.is_turned for effect in analysis.loop_effects] == [False, False]


def test_speedups_side_by_side_are_of_the_same_blocks(tmp_path: Path) -> None:
    def outcome(trial: Trial) -> Outcome:
        is_lost = (trial.strategy, trial.loop, trial.block, trial.role) == (ONE, FIT, 1, Role.MEASURED)
        return make_failure(trial) if is_lost else timed(trial)

    _, mirrored = analyze_example(tmp_path, SWEEP, outcome).loop_effects
    expected = (4.0, 2.5), (1.5,), (0.8,), (1.5 / 0.8,)
    assert values(mirrored) == [pytest.approx(ratios) for ratios in expected]


def test_cell_that_a_loop_cannot_train_has_no_effect(tmp_path: Path) -> None:
    sweep = grid(loops=(FUSED, STEP, FIT), num_epochs=1, global_batch_sizes=(64,), skip_unsupported=True)
    effects = analyze_example(tmp_path, sweep).loop_effects
    assert [(effect.other.setting.loop, effect.cell.strategy) for effect in effects] == [
        *((STEP, strategy) for strategy in (ONE, MIRRORED, WORKERS)),
        *((FIT, strategy) for strategy in (ONE, MIRRORED)),
    ]


def test_only_the_loop_differs_between_the_two(tmp_path: Path) -> None:
    axes = {"loops": (FUSED, STEP), "xla": (True, False), "steps_per_call": (32, 1), "skip_unsupported": True}
    sweep = grid(**FIELDS, **axes)
    effects = analyze_example(tmp_path, sweep, lambda trial: make_result(trial, 30.0)).loop_effects
    assert {(e.cell.setting.is_xla_enabled, e.other.setting.is_xla_enabled) for e in effects} == {(True, True)}
    assert {(e.cell.setting.steps_per_call, e.other.setting.steps_per_call) for e in effects} == {(32, 1)}
