from collections import Counter

from tasks.domain.device import DeviceType
from tasks.domain.loop import Loop
from tasks.domain.strategy import Strategy
from tasks.domain.sweep import Sweep
from tasks.domain.trial import Trial
from tasks.planning.planner import Finished, next_trials, plan_block
from tests.domain.test_sweep import DATA

CPU = DeviceType.CPU_SLICE


def drive(sweep: Sweep) -> list[Trial]:
    """Everything that the planner asks for until it is finished, each trial recorded in turn."""
    done: list[Trial] = []
    while not isinstance(step := next_trials(sweep, CPU, DATA, {trial.key for trial in done}), Finished):
        done.extend(step)
    return done


def test_every_point_once_a_block() -> None:
    done = drive(Sweep(num_blocks=3))
    assert len(done) == 27
    assert Counter((t.block, t.strategy, t.global_batch_size) for t in done).most_common(1)[0][1] == 1
    assert [t.block for t in done] == [1] * 9 + [2] * 9 + [3] * 9


def test_block_trains_every_cell_with_its_own_seed() -> None:
    assert {(t.block, t.seed) for t in drive(Sweep(num_blocks=3, seed=7))} == {(1, 7), (2, 8), (3, 9)}


def test_order_is_shuffled_by_a_logged_seed() -> None:
    def order(seed: int, block: int) -> list[tuple[Strategy, int]]:
        return [(t.strategy, t.global_batch_size) for t in plan_block(Sweep(seed=seed), CPU, DATA, block)]

    assert order(1, 1) == order(1, 1)
    assert len({tuple(order(1, block)) for block in range(1, 9)}) > 5
    assert order(1, 1) != order(2, 1)
    assert sorted(order(1, 1)) == sorted(order(5, 3))


def test_only_what_is_missing_is_asked_for_again() -> None:
    sweep = Sweep(num_blocks=2)
    first = next_trials(sweep, CPU, DATA, ())
    assert not isinstance(first, Finished)
    rest = next_trials(sweep, CPU, DATA, {t.key for t in first[:4]})
    assert rest == first[4:]


def test_replicas_by_strategy() -> None:
    shape = {
        t.strategy: (t.num_workers, t.replicas_per_worker, t.num_replicas) for t in plan_block(Sweep(), CPU, DATA, 1)
    }
    assert shape == {
        Strategy.ONE_DEVICE: (1, 1, 1),
        Strategy.MIRRORED: (1, 2, 2),
        Strategy.MULTI_WORKER_MIRRORED: (2, 1, 2),
    }


def test_cpu_settings_never_reach_a_gpu() -> None:
    for trial in plan_block(Sweep(), DeviceType.GPU, DATA, 1):
        assert (trial.cores_per_replica, trial.micro_batch_size) == (None, None)
    for trial in plan_block(Sweep(cores_per_replica=2), CPU, DATA, 1):
        assert (trial.cores_per_replica, trial.micro_batch_size) == (2, 64)
    for trial in plan_block(Sweep(loops=(Loop.STEP,)), CPU, DATA, 1):
        assert (trial.micro_batch_size, trial.steps_per_call) == (None, 1)
