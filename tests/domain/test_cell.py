import pytest

from tasks.domain.cell import Arm, Cell, Setting
from tasks.domain.loop import Loop
from tasks.domain.precision import Precision
from tasks.domain.reduction import Reduction
from tasks.domain.strategy import Strategy
from tasks.domain.sweep import Sweep

ONE, MIRRORED, WORKERS = Strategy


def test_grid_goes_by_setting_then_batch_then_strategy() -> None:
    sweep = Sweep(loops=(Loop.STEP, Loop.FUSED), global_batch_sizes=(64, 128), strategies=(ONE, MIRRORED))
    assert [cell.label for cell in sweep.cells] == [
        "one_device, batch 64, step",
        "mirrored, batch 64, step",
        "one_device, batch 128, step",
        "mirrored, batch 128, step",
        "one_device, batch 64",
        "mirrored, batch 64",
        "one_device, batch 128",
        "mirrored, batch 128",
    ]


def test_each_reduction_goes_to_the_strategies_that_know_it() -> None:
    sweep = Sweep(reductions=(Reduction.AUTO, Reduction.RING, Reduction.HIERARCHICAL_COPY), global_batch_sizes=(64,))
    assert [(cell.strategy, cell.reduction) for cell in sweep.cells] == [
        (ONE, None),
        (MIRRORED, Reduction.AUTO),
        (MIRRORED, Reduction.HIERARCHICAL_COPY),
        (WORKERS, Reduction.AUTO),
        (WORKERS, Reduction.RING),
    ]


def test_steps_per_call_follow_the_loop_unless_asked() -> None:
    loops = Sweep(loops=tuple(Loop), skip_unsupported=True)
    assert [setting.steps_per_call for setting in loops.settings] == [32, 1, 1]
    assert [setting.steps_per_call for setting in Sweep(steps_per_call=(1, 8)).settings] == [1, 8]


def test_answers_are_for_the_first_setting_that_can_be_trained() -> None:
    setting = Sweep(loops=(Loop.STEP, Loop.FUSED), steps_per_call=(32, 1), skip_unsupported=True).setting
    assert (setting.loop, setting.steps_per_call) == (Loop.STEP, 1)


def test_what_cannot_work_is_left_out_only_if_asked() -> None:
    with pytest.raises(ValueError, match="multi_worker_mirrored, batch 64, keras_fit cannot work: Keras 3 does not"):
        Sweep(loops=(Loop.FUSED, Loop.KERAS_FIT))
    sweep = Sweep(loops=(Loop.FUSED, Loop.KERAS_FIT), skip_unsupported=True)
    assert len(sweep.cells) == 9 + 6
    assert {(cell.strategy, cell.setting.loop) for cell in sweep.skipped} == {(WORKERS, Loop.KERAS_FIT)}


def test_label_states_what_is_not_the_default() -> None:
    setting = Setting(precision=Precision.MIXED_BFLOAT16, is_xla_enabled=True, steps_per_call=8)
    cell = Cell(strategy=MIRRORED, reduction=Reduction.NCCL, global_batch_size=64, setting=setting)
    assert cell.label == "mirrored (nccl), batch 64, mixed_bfloat16, XLA, 8 steps a call"
    other = Cell(strategy=ONE, reduction=None, global_batch_size=64, arm=Arm.OTHER)
    assert other.label == "one_device, batch 64, other environment"
