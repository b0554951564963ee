"""The planner: what a block holds, which block comes next, and what is expected of the rest."""

from collections import Counter
from dataclasses import replace

import pytest

from tasks.domain.cell import Arm
from tasks.domain.device import DeviceType
from tasks.domain.loop import Loop
from tasks.domain.strategy import Strategy
from tasks.domain.sweep import Sweep
from tasks.domain.trial import Role, Trial
from tasks.planning.planner import Again, Recorded, forecast, next_trials, plan_block
from tasks.planning.stopping import Finished
from tests.examples import DATA

CPU = DeviceType.CPU_SLICE
ONE, MIRRORED, WORKERS = Strategy
SINGLE = Sweep(strategies=(ONE,), global_batch_sizes=(64,))
"""One trial a block, beside the discarded one."""
RATES = {(Role.MEASURED, SINGLE.cells[0]): 6000.0}
"""A whole block takes 8 + 4096 / 6000 + 8 + 5 x 10 = 66.68 s, a short one 40 s less."""


def grid(num_blocks: int, **fields: object) -> Sweep:
    """Exactly so many whole blocks."""
    bounds = {"min_blocks": num_blocks, "max_blocks": num_blocks, "num_whole_blocks": None}
    return Sweep(**(bounds | fields))  # type: ignore[arg-type]


def ask(sweep: Sweep, done: list[Trial], **known: object) -> tuple[Trial, ...] | Finished:
    return next_trials(sweep, CPU, DATA, Recorded(keys={trial.key for trial in done}, **known))  # type: ignore[arg-type]


def asked(sweep: Sweep, done: list[Trial], **known: object) -> tuple[Trial, ...]:
    step = ask(sweep, done, **known)
    assert not isinstance(step, Finished), step
    return step


def drive(sweep: Sweep, **known: object) -> list[Trial]:
    """Everything that the planner asks for until it is finished, each trial recorded in turn."""
    done: list[Trial] = []
    while not isinstance(step := ask(sweep, done, **known), Finished):
        done.extend(step)
    return done


def block(sweep: Sweep, number: int, is_whole: bool = True) -> list[Trial]:
    return list(plan_block(sweep, CPU, DATA, number, is_whole))


def test_every_member_once_a_block_with_the_blocks_seed() -> None:
    done = drive(grid(3, seed=7))
    assert len(done) == 3 * 14
    assert Counter((t.block, t.role, t.cell) for t in done).most_common(1)[0][1] == 1
    assert [(t.block, t.seed) for t in done] == [(1, 7)] * 14 + [(2, 8)] * 14 + [(3, 9)] * 14
    assert Counter(t.role for t in done) == {"measured": 27, "reference": 9, "baseline": 3, "discarded": 3}


def test_discarded_trial_comes_first_and_is_short() -> None:
    done = drive(grid(3, num_epochs=5))
    assert [number for number, trial in enumerate(done) if trial.role is Role.DISCARDED] == [0, 14, 28]
    first = done[0]
    assert (first.cell, first.num_epochs, first.num_train_examples) == (Sweep().cells[0], 1, 64 * 64)
    assert block(grid(1, max_train_examples=1000), 1)[0].num_train_examples == 1000


def test_order_is_shuffled_by_a_logged_seed() -> None:
    def order(seed: int, number: int) -> list[tuple[Role, Strategy, int]]:
        return [(t.role, t.strategy, t.global_batch_size) for t in block(Sweep(seed=seed), number)]

    assert order(1, 1) == order(1, 1)
    assert len({tuple(order(1, number)) for number in range(1, 9)}) > 5
    assert order(1, 1) != order(2, 1)
    assert sorted(order(1, 1)) == sorted(order(5, 3))


def test_first_blocks_are_whole_and_what_is_only_set_against_is_always_short() -> None:
    done = drive(Sweep(num_epochs=5, min_blocks=4, max_blocks=4, num_whole_blocks=2, short_epochs=2))
    epochs = {number: {(t.role, t.num_epochs) for t in done if t.block == number} for number in (1, 2, 3, 4)}
    others = {(Role.REFERENCE, 2), (Role.BASELINE, 2), (Role.DISCARDED, 1)}
    assert epochs[1] == epochs[2] == {(Role.MEASURED, 5), *others}
    assert epochs[3] == epochs[4] == {(Role.MEASURED, 2), *others}


def test_only_what_is_missing_is_asked_for_again() -> None:
    sweep = grid(2)
    first = asked(sweep, [])
    assert asked(sweep, list(first[:4])) == first[4:]
    assert asked(sweep, list(first[4:])) == first[:4]
    assert {trial.block for trial in asked(sweep, list(first[1:]))} == {2}  # not for the sake of the discarded one


@pytest.mark.parametrize(("was_whole", "num_whole_blocks"), [(True, 1), (False, None)])
def test_block_that_was_begun_is_ended_as_it_was_begun(was_whole: bool, num_whole_blocks: int | None) -> None:
    sweep = Sweep(num_whole_blocks=num_whole_blocks)
    begun = block(sweep, 2, was_whole)
    recorded = next(trial for trial in begun[1:] if trial.role is Role.MEASURED)
    rest = asked(sweep, [*block(sweep, 1), recorded])
    assert set(rest) == set(begun) - {recorded}
    assert {trial.num_epochs for trial in rest if trial.role is Role.MEASURED} == {5 if was_whole else 1}


def test_trials_that_both_kinds_of_block_share_decide_no_kind_and_are_not_repeated() -> None:
    sweep = Sweep(num_whole_blocks=1)
    shared = [trial for trial in block(sweep, 2) if trial.role is not Role.MEASURED]
    rest = asked(sweep, [*block(sweep, 1), *shared])
    assert rest == tuple(trial for trial in block(sweep, 2, is_whole=False) if trial.role is Role.MEASURED)


def test_blocks_are_added_until_the_widest_pair_is_narrow_enough() -> None:
    sweep = replace(SINGLE, min_blocks=3, num_whole_blocks=2, half_width=0.05)
    done = [trial for number in (1, 2, 3) for trial in block(sweep, number, is_whole=number < 3)]
    stopped = ask(sweep, done, half_width=0.05)
    assert stopped == Finished("the widest pair's half-width is 5 %, 5 % were wanted")
    for unknown in (0.051, None):
        assert [trial.num_epochs for trial in asked(sweep, done, half_width=unknown)] == [1, 1]
    assert {trial.block for trial in asked(sweep, done[:4], half_width=0.01)} == {3}  # fewer than min_blocks


def test_whole_blocks_that_were_asked_for_are_trained_however_narrow_the_pairs_and_never_more_than_the_most() -> None:
    done = drive(replace(SINGLE, min_blocks=2, num_whole_blocks=4), half_width=0.001)
    assert [trial.num_epochs for trial in done if trial.role is Role.MEASURED] == [5, 5, 5, 5]
    sweep = replace(SINGLE, min_blocks=2, max_blocks=3)
    assert len(done := drive(sweep, half_width=0.9)) == 6
    assert ask(sweep, done) == Finished("3 blocks are recorded, the most that were asked for")


def test_within_a_budget_the_first_trial_comes_alone_and_gives_the_pace() -> None:
    sweep = replace(SINGLE, budget_minutes=5.0)
    (first,) = asked(sweep, [], seconds_left=300.0)
    assert first.role is Role.DISCARDED
    rest = asked(sweep, [first], seconds_left=290.0, examples_per_second={(Role.DISCARDED, first.cell): 6000.0})
    assert [(trial.role, trial.num_epochs) for trial in rest] == [(Role.MEASURED, 5)]
    assert asked(sweep, [first], seconds_left=290.0) == rest  # also where the first one left no pace


@pytest.mark.parametrize(
    ("seconds_left", "num_epochs"),
    [(94.0, 5), (93.0, 1), (26.7, 1), (26.6, None)],
)
def test_whole_block_is_run_where_the_short_ones_behind_it_fit(seconds_left: float, num_epochs: int | None) -> None:
    sweep = replace(SINGLE, min_blocks=3, budget_minutes=5.0)  # 66.68 s, and behind it one block of 26.68 s
    step = ask(sweep, block(sweep, 1), seconds_left=seconds_left, examples_per_second=RATES)
    if num_epochs is None:
        assert step == Finished("the time budget is used up after 1 blocks")
    else:
        assert not isinstance(step, Finished)
        assert step[1].num_epochs == num_epochs


def test_cells_without_a_record_are_expected_to_train_as_the_slowest() -> None:
    sweep = replace(SINGLE, global_batch_sizes=(64, 128), budget_minutes=60.0)
    first, second = sweep.cells
    rates = {(Role.MEASURED, first): 6000.0, (Role.DISCARDED, first): 4096.0}
    found = forecast(sweep, CPU, DATA, Recorded(examples_per_second=rates))
    # 3 x 8 s beside the training, 1 s of the discarded trial, 60,000 examples an epoch at 6,000 and at 4,096 a second
    assert found.seconds == pytest.approx((24 + 1 + 5 * (10 + 14.6484375), 24 + 1 + 10 + 14.6484375))
    rates |= {(Role.MEASURED, second): 12_000.0}
    found = forecast(sweep, CPU, DATA, Recorded(examples_per_second=rates))
    assert found.seconds == pytest.approx((24 + 1 + 5 * (10 + 5), 24 + 1 + 10 + 5))


def test_forecast_adds_blocks_until_the_expected_width_is_narrow_enough() -> None:
    found = forecast(SINGLE, CPU, DATA, Recorded(examples_per_second=RATES))
    # t(.975, 10) = 2.228 x .05 x sqrt(2 / 11) = .0475; ten blocks would give .0519
    assert (found.num_whole, found.num_short) == (3, 8)
    assert found.half_width == pytest.approx(0.04865, abs=1e-5)
    assert found.seconds == pytest.approx((66.6827, 26.6827), abs=1e-4)
    wider = forecast(replace(SINGLE, half_width=0.08), CPU, DATA, Recorded(examples_per_second=RATES))
    assert (wider.num_whole, wider.num_short, wider.half_width) == (3, 3, pytest.approx(0.07703, abs=1e-5))


@pytest.mark.parametrize(
    ("budget_minutes", "counts", "half_width"),
    [(5.0, (3, 3), 0.07703), (4.1, (2, 4), 0.07703), (4.0, (1, 6), 0.06758), (1.0, (1, 0), None), (1.6, (1, 1), None)],
)
def test_forecast_keeps_within_the_budget(
    budget_minutes: float, counts: tuple[int, int], half_width: float | None
) -> None:
    found = forecast(replace(SINGLE, budget_minutes=budget_minutes), CPU, DATA, Recorded(examples_per_second=RATES))
    assert (found.num_whole, found.num_short) == counts
    if half_width:
        assert found.half_width == pytest.approx(half_width, abs=1e-5)


def test_budget_is_not_spent_on_short_blocks_once_the_pairs_are_narrow_enough() -> None:
    sweep = replace(SINGLE, min_blocks=3, num_whole_blocks=3, budget_minutes=5.0)
    done = [trial for number in (1, 2, 3) for trial in block(sweep, number, is_whole=number < 3)]
    known = {"half_width": 0.01, "examples_per_second": RATES}
    assert asked(sweep, done, seconds_left=70.0, **known)[1].num_epochs == 5  # the third whole block fits
    assert isinstance(ask(sweep, done, seconds_left=60.0, **known), Finished)


def test_trials_have_the_shape_of_their_strategy_and_role() -> None:
    shapes = {
        (t.role, t.strategy, t.num_workers, t.replicas_per_worker, t.cores_per_replica)
        for t in block(Sweep(cores_per_replica=2), 1)
    }
    assert shapes == {
        *((Role.MEASURED, *shape) for shape in ((ONE, 1, 1, 2), (MIRRORED, 1, 2, 2), (WORKERS, 2, 1, 2))),
        (Role.REFERENCE, ONE, 1, 1, 4),  # the cores of all slices
        (Role.BASELINE, ONE, 1, 1, 2),
        (Role.DISCARDED, ONE, 1, 1, 2),
    }


def test_cpu_settings_never_reach_a_gpu() -> None:
    for trial in plan_block(Sweep(), DeviceType.GPU, DATA, 1):
        assert (trial.cores_per_replica, trial.micro_batch_size) == (None, None)
    assert {trial.micro_batch_size for trial in block(Sweep(), 1)} == {64}
    by_step = block(Sweep(loops=(Loop.STEP,)), 1)
    assert {(trial.micro_batch_size, trial.steps_per_call) for trial in by_step} == {(None, 1)}


def test_second_look_measures_the_named_cells_in_both_arms_after_the_last_block() -> None:
    sweep = grid(2, global_batch_sizes=(64, 128), versus="/other/python")
    far = sweep.cells[:1]
    done = drive(sweep, again=Again(cells=far, num_blocks=3))
    first, second = done[: 2 * 13], done[2 * 13 :]
    assert Counter(trial.role for trial in first) == {"measured": 24, "discarded": 2}
    assert Counter((trial.block, trial.role) for trial in second) == {
        (block, role): number for block in (3, 4, 5) for role, number in (("discarded", 1), ("again", 2))
    }
    assert {(trial.cell.strategy, trial.global_batch_size) for trial in second if trial.role is Role.AGAIN} == {
        (far[0].strategy, 64)
    }
    assert {trial.cell.arm for trial in second if trial.role is Role.AGAIN} == set(Arm)
    assert len({trial.key for trial in done}) == len(done)


def test_second_look_that_was_begun_is_completed_and_no_other_begun_without_time() -> None:
    sweep = grid(1, strategies=(ONE,), global_batch_sizes=(64,))
    done = drive(sweep)
    late = Again(cells=sweep.cells, num_blocks=2, seconds_left=10.0)
    assert isinstance(ask(sweep, done, again=late), Finished)
    begun = list(asked(sweep, done, again=replace(late, seconds_left=1000.0)))
    assert asked(sweep, [*done, begun[0]], again=replace(late, seconds_left=1000.0)) == tuple(begun[1:])
    assert isinstance(ask(sweep, [*done, *begun], again=late, examples_per_second=RATES), Finished)
    assert isinstance(ask(sweep, done, again=replace(late, cells=(), seconds_left=None)), Finished)
