import pytest

from tasks.domain.device import Devices, DeviceType
from tasks.domain.loop import Loop
from tasks.domain.precision import Precision
from tasks.domain.reduction import Reduction
from tasks.domain.refusal import Refusal
from tasks.domain.strategy import Strategy
from tasks.domain.sweep import Sweep, parse_choice
from tasks.domain.trial import Role
from tests.examples import DATA

TWO_CORES = Devices(cores=(0, 1))
ONE, MIRRORED, WORKERS = Strategy


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"strategies": ()}, "strategies is empty; name at least one of one_device, mirrored, multi_worker_mirrored"),
        ({"strategies": (MIRRORED, MIRRORED)}, "strategies names mirrored twice"),
        ({"global_batch_sizes": ()}, "global_batch_sizes is empty"),
        ({"global_batch_sizes": (64, 128, 64)}, "global_batch_sizes names 64 twice"),
        ({"global_batch_sizes": (64, 0)}, "global_batch_size=0 must be at least 1"),
        ({"num_epochs": 0}, "num_epochs=0 must be a whole number from 1 to 10000"),
        ({"min_blocks": 0}, "min_blocks=0 must be a whole number from 1 to 1000"),
        ({"max_blocks": 10**8}, "max_blocks=100000000 must be a whole number from 1 to 1000"),
        ({"min_blocks": 7, "max_blocks": 6}, "max_blocks=6 is less than min_blocks=7; raise it, or lower min_blocks"),
        ({"num_whole_blocks": 0}, "num_whole_blocks=0 must be at least 1, or null for all blocks"),
        ({"short_epochs": 0}, "short_epochs=0 must be a whole number from 1 to 10000"),
        ({"half_width": 5.0}, "half_width=5.0 must lie between 0 and 1; use .05 for 5 %"),
        ({"half_width": float("nan")}, "half_width=nan must lie between 0 and 1"),
        ({"budget_minutes": 0.0}, "budget_minutes=0.0 must be greater than 0 and at most a week, 10080"),
        ({"budget_minutes": float("nan")}, "budget_minutes=nan must be greater than 0"),
        ({"num_replicas": 0}, "num_replicas=0 must be a whole number from 1"),
        ({"cores_per_replica": -1}, "cores_per_replica=-1 must be a whole number from 1"),
        ({"max_train_examples": 0}, "max_train_examples=0 must be at least 1, or null"),
        ({"dataset": "imagenet"}, "dataset='imagenet' is not known; use one of mnist, fashion_mnist, or a path"),
        ({"learning_rate": 0.0}, "learning_rate=0.0 must lie between 0 and 1"),
        ({"target_accuracy": 98.5}, "use .985 for 98.5 %"),
        ({"seed": -1}, "seed=-1 must be a whole number from 0 to 2147483648"),
        ({"trial_timeout_seconds": float("inf")}, "trial_timeout_seconds=inf must be greater than 0"),
        ({"num_hosts": 2, "strategies": (MIRRORED,)}, "num_hosts=2 needs multi_worker_mirrored, the strategy"),
        ({"num_hosts": 2, "num_replicas": 3}, "num_replicas=3 does not divide over num_hosts=2; use a multiple of 2"),
        ({"num_hosts": 2, "versus": "/x/python"}, "num_hosts=2 and versus exclude each other; use num_hosts=1"),
        ({"num_hosts": 0}, "num_hosts=0 must be a whole number from 1 to 1024"),
        (
            {"loops": (Loop.KERAS_FIT,), "xla": (True,), "strategies": (ONE, MIRRORED)},
            "mirrored, batch 64, keras_fit, XLA cannot work: Keras does not compile by XLA under MirroredStrategy",
        ),
        (
            {"loops": (Loop.STEP,), "steps_per_call": (8,)},
            "the step loop makes one call a step; leave it out of the grid, or set skip_unsupported",
        ),
        ({"loops": ()}, "loops is empty; name at least one of fused, step, keras_fit"),
        ({"precisions": (Precision.FLOAT32,) * 2}, "precisions names float32 twice"),
        ({"xla": (True, True)}, "xla names True twice"),
        ({"steps_per_call": (0,)}, "steps_per_call=0 must be at least 1"),
        (
            {"strategies": (ONE, MIRRORED), "reductions": (Reduction.RING,)},
            "reduction=ring is known to multi_worker_mirrored only, of which none is asked for; leave it out",
        ),
        (
            {"reductions": (Reduction.RING,)},
            "strategy=mirrored cannot work with any of the loops and reductions that are asked for",
        ),
        (
            {"loops": (Loop.KERAS_FIT,), "skip_unsupported": True},
            "strategy=multi_worker_mirrored cannot work with any of the loops",
        ),
    ],
)
def test_nonsense_is_refused_by_name_value_and_way_out(wrong: dict[str, object], sentence: str) -> None:
    with pytest.raises(Refusal) as refused:
        Sweep(**wrong)  # type: ignore[arg-type]
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)


GPUS = Devices(cores=(0, 1, 2, 3), gpus=("A100",) * 2)
ONE_GPU = Devices(cores=(0, 1, 2, 3), gpus=("V100",), gpu_precisions=(Precision.FLOAT32, Precision.MIXED_FLOAT16))
CPU_SLICE = {"device": DeviceType.CPU_SLICE}
UNSPLIT = {"strategies": (ONE, MIRRORED), "reductions": (Reduction.ONE_DEVICE,)}


@pytest.mark.parametrize(
    ("asked", "machine", "sentence"),
    [
        (
            {"global_batch_sizes": (65,)},
            TWO_CORES,
            "global_batch_size=65 does not divide over num_replicas=2; use a multiple of 2",
        ),
        (
            {"max_train_examples": 100, "global_batch_sizes": (256,)},
            TWO_CORES,
            "global_batch_size=256 is larger than the 100 training examples",
        ),
        (
            {"max_train_examples": 90_000},
            TWO_CORES,
            "max_train_examples=90000 is more than the 60000 training examples",
        ),
        (
            {"max_train_examples": 3000, "steps_per_call": (48,)},
            TWO_CORES,
            "steps_per_call=48 is more than the 47 steps of an epoch at batch 64; use at most 47",
        ),
        (
            {"cores_per_replica": 2},
            TWO_CORES,
            "num_replicas=2 x cores_per_replica=2 needs 4 physical cores, this machine offers 2; use num_replicas=1",
        ),
        ({"num_hosts": 2}, Devices(cores=(0,)), "num_replicas=2 x cores_per_replica=1 needs 2 physical cores"),
        (
            {"device": DeviceType.GPU},
            TWO_CORES,
            "device=gpu is asked for, but this machine shows no GPU; use device=cpu",
        ),
        ({}, ONE_GPU, "num_replicas=2 is more than the 1 GPUs of this machine; use at most 1, or device=cpu_slice"),
        (
            {"reductions": (Reduction.NCCL,)},
            TWO_CORES,
            "reduction=nccl needs GPUs, device=cpu_slice has none; use reducti",
        ),
        (UNSPLIT, TWO_CORES, "reduction=one_device changes nothing for mirrored on CPU slices under the fused loop"),
        (
            {"precisions": (Precision.MIXED_BFLOAT16,), "num_replicas": 1},
            ONE_GPU,
            "precision=mixed_bfloat16 is not computed by the hardware of this machine's GPUs; use one of float32",
        ),
        (
            {"precisions": (Precision.MIXED_FLOAT16,)} | CPU_SLICE,
            ONE_GPU,
            "this machine's CPU; use one of float32, float64",
        ),
    ],
)
def test_what_the_machine_or_its_data_cannot_serve_is_refused(
    asked: dict[str, object], machine: Devices, sentence: str
) -> None:
    with pytest.raises(Refusal) as refused:
        Sweep(**asked).check(machine, DATA)
    assert sentence in str(refused.value)


@pytest.mark.parametrize(
    ("asked", "machine"),
    [
        ({"strategies": (ONE,), "global_batch_sizes": (65,)}, TWO_CORES),  # only one device trains
        ({"max_train_examples": 3000}, TWO_CORES),
        ({"strategies": (ONE, WORKERS), "num_hosts": 2}, Devices(cores=(0,))),  # each machine needs half
        (CPU_SLICE, ONE_GPU),
        ({"num_replicas": 1, "precisions": (Precision.MIXED_FLOAT16,)}, ONE_GPU),
        ({"reductions": (Reduction.NCCL,)}, GPUS),
        (UNSPLIT | {"loops": (Loop.STEP,)}, TWO_CORES),
        (UNSPLIT, GPUS),
    ],
)
def test_what_the_machine_can_serve_is_not_refused(asked: dict[str, object], machine: Devices) -> None:
    Sweep(**asked).check(machine, DATA)


def members(sweep: Sweep, device: DeviceType = DeviceType.CPU_SLICE) -> list[tuple[str, str]]:
    return [(role, cell.label) for role, cell in sweep.members(device)]


def test_block_trains_the_grid_then_what_its_points_are_set_against() -> None:
    sweep = Sweep()
    grid = [("measured", f"{s}, batch {b}") for b in (64, 128, 256) for s in (ONE, MIRRORED, WORKERS)]
    baseline = [("baseline", "one_device, batch 32")]  # one replica's share of 64; those of 128 and 256 are in the grid
    wide = [("reference", f"one_device, batch {batch}") for batch in (64, 128, 256)]
    assert members(sweep) == [*grid, *wide, *baseline]
    assert members(sweep, DeviceType.GPU) == [*grid, *baseline]  # a GPU cannot be widened


def test_points_without_one_device_get_baselines_of_both_batch_sizes() -> None:
    sweep = Sweep(strategies=(MIRRORED,), global_batch_sizes=(64, 256), loops=(Loop.STEP,), num_replicas=4)
    expected = [*(("reference", batch) for batch in (64, 256)), *(("baseline", batch) for batch in (64, 256, 16))]
    assert members(sweep)[2:] == [(role, f"one_device, batch {batch}, step") for role, batch in expected]


@pytest.mark.parametrize("changes", [{"strategies": (ONE,)}, {"num_replicas": 1}])
def test_what_is_not_split_is_set_against_nothing(changes: dict[str, object]) -> None:
    sweep = Sweep(**changes)  # type: ignore[arg-type]
    assert [cell for _, cell in sweep.members(DeviceType.CPU_SLICE)] == list(sweep.cells)


def test_each_point_is_trained_by_both_environments_and_nothing_else_is() -> None:
    sweep = Sweep(versus="/other/python", global_batch_sizes=(64,))
    assert members(sweep) == [
        ("measured", f"{strategy}, batch 64{arm}")
        for strategy in (ONE, MIRRORED, WORKERS)
        for arm in ("", ", other environment")
    ]


def test_only_the_grid_trains_every_epoch_and_only_in_whole_blocks() -> None:
    sweep = Sweep(num_epochs=5, short_epochs=2)
    assert {role: (sweep.epochs_of(role, True), sweep.epochs_of(role, False)) for role in Role} == {
        Role.MEASURED: (5, 2),
        Role.BASELINE: (2, 2),
        Role.REFERENCE: (2, 2),
        Role.AGAIN: (2, 2),
        Role.DISCARDED: (2, 2),
    }
    assert Sweep(num_epochs=1, short_epochs=2).epochs_of(Role.MEASURED, False) == 1


def test_gpus_are_preferred_where_there_are_some() -> None:
    assert TWO_CORES.preferred is DeviceType.CPU_SLICE
    assert Devices(cores=(0,), gpus=("H100",)).preferred is DeviceType.GPU


def test_unknown_choice_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"strategy='tpu' is not known; use one of one_device, mirrored, multi_worker"):
        parse_choice(Strategy, "tpu", "strategy")


def test_nothing_is_as_wide_as_two_hosts() -> None:
    sweep = Sweep(strategies=(ONE, WORKERS), num_hosts=2)
    assert {role for role, _ in sweep.members(DeviceType.CPU_SLICE)} == {Role.MEASURED, Role.BASELINE}
