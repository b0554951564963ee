"""A run between two blocks: what it does next, and what it says of that."""

from dataclasses import replace
from pathlib import Path

import pytest

from flows import blocks
from flows.blocks import review
from flows.opening import OpenRun
from tasks.analysis.coverage import RunState
from tasks.domain.device import DeviceType
from tasks.domain.refusal import Refusal
from tasks.domain.sweep import Sweep
from tasks.domain.trial import Role, Trial
from tests.analysis.example_runs import ENVIRONMENT, MIRRORED, Outcome, fill, make_failure, make_run, plan, record_of
from tests.examples import DATA
from tests.reporting.reports import paced, pair


def open_example(path: Path, sweep: Sweep, num_blocks: int, deadline: float | None = None) -> OpenRun:
    """A run of which so many blocks are recorded."""

    def outcome_of(trial: Trial) -> Outcome:
        return paced(1.8)(trial) if trial.block <= num_blocks else None

    run = make_run(sweep, end=None)
    return OpenRun(run, fill(path, run, outcome_of), DATA, DeviceType.CPU_SLICE, deadline)


def test_first_block_is_a_discarded_trial_and_every_member_of_the_grid(tmp_path: Path) -> None:
    state = review(open_example(tmp_path, pair(), 0))
    assert state.trials[0].role is Role.DISCARDED
    assert sorted(trial.role for trial in state.trials[1:]) == ["baseline", "measured", "measured", "reference"]
    assert {trial.block for trial in state.trials} == {1}
    assert state.message == "block 1: 5 trials. What they cost is known after the first trial"
    assert not state.has_ended


def test_each_following_block_is_announced_with_what_it_will_buy(tmp_path: Path) -> None:
    """Five trials, of which one begins every minute."""
    state = review(open_example(tmp_path, pair(max_blocks=20, num_whole_blocks=3, num_epochs=2), 1))
    assert {trial.block for trial in state.trials} == {2}
    assert state.message == (
        "block 2: 5 trials. Expected: 3 whole blocks of about 4.9 min and 8 short ones of about 4.6 min, 51 min in "
        "all; the widest pair then known to about 5 % if runs differ by 5 %"
    )


def test_run_ends_by_itself_and_says_why_on_disk(tmp_path: Path) -> None:
    opened = open_example(tmp_path, pair(max_blocks=20), 6)
    state = review(opened)
    assert state.has_ended
    assert state.message == (
        "finished: the widest pair is known to 1.16 %, 5 % were wanted. Bought: 6 blocks, 6 of them whole: the widest "
        "pair is known to 1.16 % (95 %, that pair alone)"
    )
    end = opened.folder.describe().end
    assert end is not None
    assert (end.reason, end.num_blocks) == ("the widest pair is known to 1.16 %, 5 % were wanted", 6)
    assert state.analysis.run.end == end, "the report knows, too"


def test_precision_that_is_not_reached_asks_for_more_blocks_up_to_the_most(tmp_path: Path) -> None:
    wanted = pair(max_blocks=7, half_width=0.001)
    assert {trial.block for trial in review(open_example(tmp_path / "6", wanted, 6)).trials} == {7}
    state = review(open_example(tmp_path / "7", pair(7, half_width=0.001), 7))
    assert state.message.startswith("finished: 7 blocks are recorded, the most that were asked for. Bought: 7 blocks")


def test_budget_that_is_used_up_ends_the_run_after_a_whole_block(tmp_path: Path) -> None:
    state = review(open_example(tmp_path, pair(budget_minutes=1.0), 2, deadline=0.0))
    assert state.message.startswith("finished: the time budget is used up after 2 blocks. Bought: 2 blocks")


def test_what_is_missing_of_an_ended_run_is_measured_and_the_end_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "describe_environment", lambda: ENVIRONMENT)
    opened = open_example(tmp_path, pair(1), 1)
    assert review(opened).has_ended
    lost = next(trial for trial in plan(opened.run) if trial.strategy is MIRRORED)
    (tmp_path / "trials" / f"{lost.key}.parquet").unlink()
    state = review(opened)
    assert [trial.key for trial in state.trials if trial.role is not Role.DISCARDED] == [lost.key]
    assert opened.folder.describe().end is None
    assert state.analysis.coverage.state is RunState.PARTIAL, "the report knows, too"
    outcome = paced(1.8)(lost)
    assert outcome
    opened.folder.put(record_of(opened.run, outcome))
    assert review(opened).has_ended


def test_failed_and_damaged_trials_are_run_again_once_the_run_is_continued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "describe_environment", lambda: ENVIRONMENT)

    def outcome_of(trial: Trial) -> Outcome:
        return make_failure(trial) if trial.strategy is MIRRORED else paced(1.8)(trial)

    run = make_run(pair(1), end=None)
    folder = fill(tmp_path, run, outcome_of)
    opened = OpenRun(run, folder, DATA, DeviceType.CPU_SLICE, None)
    assert review(opened).has_ended, "a trial that fails is not tried again by itself"
    failed = next(trial for trial in plan(run) if trial.strategy is MIRRORED)
    again = replace(opened, retries={failed.key: 1})
    assert [trial.key for trial in review(again).trials if trial.role is not Role.DISCARDED] == [failed.key]
    outcome = paced(1.8)(failed)
    assert outcome
    folder.put(record_of(run, outcome), num_retries=1)
    state = review(again)
    assert (state.has_ended, state.analysis.coverage.state) == (True, RunState.COMPLETE)


def test_block_that_was_begun_on_another_machine_is_not_continued_here(tmp_path: Path) -> None:
    run = make_run(pair(2), end=None)
    folder = fill(tmp_path, run, lambda t: paced(1.8)(t) if t.block == 1 or t.strategy is MIRRORED else None)
    opened = OpenRun(run, folder, DATA, DeviceType.CPU_SLICE, None)
    with pytest.raises(Refusal, match="block 2 was begun on bench-1, in another state of its hardware than "):
        review(opened)
    (tmp_path / "other").mkdir()
    whole = fill(tmp_path / "other", run, lambda t: paced(1.8)(t) if t.block == 1 else None)
    assert review(replace(opened, folder=whole)).trials, "its next block may be measured anywhere"


def test_blocks_are_spread_over_machines_and_each_stays_on_its_own(tmp_path: Path) -> None:
    run = make_run(pair(3), end=None)
    folder = fill(tmp_path, run, lambda t: paced(1.8)(t) if t.block == 1 and t.strategy is MIRRORED else None)
    opened = OpenRun(run, folder, DATA, DeviceType.CPU_SLICE, None)
    other = replace(ENVIRONMENT, hostname="bench-2", machine_fingerprint="another")
    first = review(opened, machine=ENVIRONMENT, elsewhere=["bench-2"]).trials
    assert {trial.block for trial in first} == {1}, "bench-1 has begun it"
    going = {trial.key for trial in first}
    second = review(opened, machine=other, taken=going, elsewhere=["bench-1"]).trials
    assert {trial.block for trial in second} == {2}
    assert {trial.block for trial in review(opened, machine=other, elsewhere=["bench-1"]).trials} == {2}
    with pytest.raises(Refusal, match="block 1 was begun on bench-1"):
        review(opened, machine=other, elsewhere=["bench-3"])
    going |= {trial.key for trial in second}
    third = review(opened, machine=ENVIRONMENT, taken=going, elsewhere=["bench-2"]).trials
    assert {trial.block for trial in third} == {3}
    end = review(opened, machine=other, taken=going | {trial.key for trial in third}, elsewhere=["bench-1"])
    assert end.has_ended
    assert folder.describe().end is None, "it has not come to its end while trials are going on"
