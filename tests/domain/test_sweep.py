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
        ({"strategies": (Strategy.MIRRORED, Strategy.MIRRORED)}, "strategies names mirrored twice"),
        ({"global_batch_sizes": ()}, "global_batch_sizes is empty"),
        ({"global_batch_sizes": (64, 128, 64)}, "global_batch_sizes names 64 twice"),
        ({"global_batch_sizes": (64, 0)}, "global_batch_size=0 must be at least 1"),
        ({"global_batch_sizes": (-64,)}, "global_batch_size=-64 must be at least 1"),
        ({"num_epochs": 0}, "num_epochs=0 must be a whole number from 1 to 10000"),
        ({"num_epochs": 10**20}, "must be a whole number from 1 to 10000"),
        ({"min_blocks": 0}, "min_blocks=0 must be a whole number from 1 to 1000"),
        ({"max_blocks": 10**8}, "max_blocks=100000000 must be a whole number from 1 to 1000"),
        (
            {"min_blocks": 7, "max_blocks": 6},
            "max_blocks=6 is less than min_blocks=7; raise it, or lower min_blocks",
        ),
        ({"num_whole_blocks": 0}, "num_whole_blocks=0 must be at least 1, or null for all blocks"),
        ({"short_epochs": 0}, "short_epochs=0 must be a whole number from 1 to 10000"),
        ({"half_width": 5.0}, "half_width=5.0 must lie between 0 and 1; use .05 for 5 %"),
        ({"half_width": 0.0}, "half_width=0.0 must lie between 0 and 1"),
        ({"half_width": float("nan")}, "half_width=nan must lie between 0 and 1"),
        ({"budget_minutes": 0.0}, "budget_minutes=0.0 must be greater than 0 and at most a week, 10080"),
        ({"budget_minutes": 10_081.0}, "budget_minutes=10081.0 must be greater than 0 and at most a week, 10080"),
        ({"budget_minutes": float("nan")}, "budget_minutes=nan must be greater than 0"),
        ({"num_replicas": 0}, "num_replicas=0 must be a whole number from 1"),
        ({"cores_per_replica": -1}, "cores_per_replica=-1 must be a whole number from 1"),
        ({"max_train_examples": 0}, "max_train_examples=0 must be at least 1, or null"),
        ({"dataset": "imagenet"}, "dataset='imagenet' is not known; use one of mnist, fashion_mnist, or a path"),
        ({"learning_rate": 0.0}, "learning_rate=0.0 must lie between 0 and 1"),
        ({"target_accuracy": 98.5}, "use .985 for 98.5 %"),
        ({"seed": -1}, "seed=-1 must be a whole number from 0 to 2147483648"),
        ({"seed": 10**20}, "must be a whole number from 0 to 2147483648"),
        (
            {"trial_timeout_seconds": float("inf")},
            "trial_timeout_seconds=inf must be greater than 0",
        ),
        ({"trial_timeout_seconds": 0.0}, "trial_timeout_seconds=0.0 must be greater than 0"),
        ({"trial_timeout_seconds": float("nan")}, "trial_timeout_seconds=nan must be greater than 0"),
        ({"num_hosts": 2, "strategies": (Strategy.MIRRORED,)}, "num_hosts=2 needs multi_worker_mirrored, the strategy"),
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


def test_batch_that_does_not_divide_over_the_replicas_names_a_batch_that_does() -> None:
    with pytest.raises(ValueError, match="global_batch_size=65 does not divide over num_replicas=2; use a multiple"):
        Sweep(global_batch_sizes=(65,)).check(TWO_CORES, DATA)


def test_odd_batch_is_fine_where_only_one_device_trains() -> None:
    Sweep(strategies=(Strategy.ONE_DEVICE,), global_batch_sizes=(65,)).check(TWO_CORES, DATA)


def test_batch_larger_than_the_data_is_refused() -> None:
    with pytest.raises(ValueError, match="global_batch_size=256 is larger than the 100 training examples"):
        Sweep(max_train_examples=100, global_batch_sizes=(256,)).check(TWO_CORES, DATA)


def test_more_slices_than_cores_are_refused_with_a_number_that_fits() -> None:
    with pytest.raises(ValueError, match="needs 4 physical cores, this machine offers 2; use num_replicas=1"):
        Sweep(cores_per_replica=2).check(TWO_CORES, DATA)


def test_more_replicas_than_gpus_are_refused() -> None:
    machine = Devices(cores=(0, 1, 2, 3), gpus=("A100",))
    with pytest.raises(ValueError, match="num_replicas=2 is more than the 1 GPUs of this machine; use at most 1"):
        Sweep().check(machine, DATA)
    Sweep(device=DeviceType.CPU_SLICE).check(machine, DATA)
    Sweep(num_replicas=1).check(machine, DATA)


def test_reduction_that_changes_nothing_is_refused() -> None:
    asked = {"reductions": (Reduction.ONE_DEVICE,), "strategies": (ONE, MIRRORED)}
    with pytest.raises(ValueError, match="reduction=one_device changes nothing for mirrored on CPU slices under the"):
        Sweep(**asked).check(TWO_CORES, DATA)  # type: ignore[arg-type]
    Sweep(**asked, loops=(Loop.STEP,)).check(TWO_CORES, DATA)  # type: ignore[arg-type]
    Sweep(**asked).check(Devices(cores=(0,), gpus=("A100",) * 2), DATA)  # type: ignore[arg-type]


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
    assert [label for role, label in members(sweep) if role == "baseline"] == [
        f"one_device, batch {batch}, step" for batch in (64, 256, 16)
    ]
    assert [label for role, label in members(sweep) if role == "reference"] == [
        f"one_device, batch {batch}, step" for batch in (64, 256)
    ]


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


def test_reference_is_as_wide_as_all_slices_together() -> None:
    sweep = Sweep(num_replicas=3, cores_per_replica=2)
    assert {role: sweep.cores_of(role) for role in (Role.MEASURED, Role.BASELINE, Role.REFERENCE)} == {
        Role.MEASURED: 2,
        Role.BASELINE: 2,
        Role.REFERENCE: 6,
    }


def test_gpus_are_preferred_where_there_are_some() -> None:
    assert TWO_CORES.preferred is DeviceType.CPU_SLICE
    assert Devices(cores=(0,), gpus=("H100",)).preferred is DeviceType.GPU


def test_examples_are_capped_by_the_data() -> None:
    assert Sweep(max_train_examples=3000).examples_of(DATA) == 3000
    with pytest.raises(ValueError, match="max_train_examples=90000 is more than the 60000 training examples"):
        Sweep(max_train_examples=90_000).check(TWO_CORES, DATA)
    assert Sweep().examples_of(DATA) == 60_000


def test_unknown_choice_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"strategy='tpu' is not known; use one of one_device, mirrored, multi_worker"):
        parse_choice(Strategy, "tpu", "strategy")


def test_over_two_hosts_each_machine_needs_half_of_the_devices_and_nothing_is_as_wide_as_both() -> None:
    sweep = Sweep(strategies=(Strategy.ONE_DEVICE, Strategy.MULTI_WORKER_MIRRORED), num_hosts=2)
    sweep.check(Devices(cores=(0,)), DATA)
    roles = {role for role, _ in sweep.members(DeviceType.CPU_SLICE)}
    assert roles == {Role.MEASURED, Role.BASELINE}
    with pytest.raises(Refusal, match="num_replicas=2 x cores_per_replica=1 needs 2 physical cores"):
        Sweep(num_hosts=2).check(Devices(cores=(0,)), DATA)
