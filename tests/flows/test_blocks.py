"""A run between two blocks: what it does next, and what it says of that."""

from collections.abc import Callable
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
from tasks.results.run import End
from tests.analysis.example_runs import ENVIRONMENT, MIRRORED, Outcome, fill, make_failure, make_run, plan, record_of
from tests.examples import DATA
from tests.reporting.reports import paced, pair

measured = paced(1.8)


def make_example(path: Path, sweep: Sweep, outcome_of: Callable[[Trial], Outcome]) -> OpenRun:
    """A run that goes on, with the records of these outcomes."""
    run = make_run(sweep, end=None)
    return OpenRun(run, fill(path, run, outcome_of), DATA, DeviceType.CPU_SLICE, None)


def open_example(path: Path, sweep: Sweep, num_blocks: int) -> OpenRun:
    """A run of which so many blocks are recorded."""
    return make_example(path, sweep, lambda trial: measured(trial) if trial.block <= num_blocks else None)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine is the one of the examples."""
    monkeypatch.setattr(blocks, "describe_environment", lambda: ENVIRONMENT)


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


@pytest.mark.parametrize(
    ("sweep", "deadline", "reason", "bought"),
    [
        (
            pair(max_blocks=20),
            None,
            "the widest pair's half-width is 1.16 %, 5 % were wanted",
            "6 blocks, 6 of them whole: the widest pair's half-width is 1.16 % (95 %, that pair alone)",
        ),
        (
            pair(7, half_width=0.001),
            None,
            "7 blocks are recorded, the most that were asked for",
            "7 blocks, 7 of them ",
        ),
        (pair(budget_minutes=1.0), 0.0, "the time budget is used up after 2 blocks", "2 blocks, 2 of them whole: "),
    ],
)
def test_run_ends_by_itself_and_says_why_on_disk(
    tmp_path: Path, sweep: Sweep, deadline: float | None, reason: str, bought: str
) -> None:
    opened = replace(open_example(tmp_path, sweep, num_blocks=int(bought[0])), deadline=deadline)
    state = review(opened)
    assert state.has_ended
    assert state.message.startswith(f"finished: {reason}. Bought: {bought}")
    assert opened.folder.describe().end == End(reason=reason, num_blocks=int(bought[0]))
    assert state.analysis.run.end == opened.folder.describe().end, "the report knows, too"


@pytest.mark.usefixtures("here")
def test_what_is_missing_of_an_ended_run_is_measured_and_the_end_taken_back(tmp_path: Path) -> None:
    opened = open_example(tmp_path, pair(1), 1)
    assert review(opened).has_ended
    lost = next(trial for trial in plan(opened.run) if trial.strategy is MIRRORED)
    (tmp_path / "trials" / f"{lost.key}.parquet").unlink()
    state = review(opened)
    assert [trial.key for trial in state.trials if trial.role is not Role.DISCARDED] == [lost.key]
    assert opened.folder.describe().end is None
    assert state.analysis.coverage.state is RunState.PARTIAL, "the report knows, too"
    opened.folder.put(record_of(opened.run, measured(lost)))
    assert review(opened).has_ended


@pytest.mark.usefixtures("here")
def test_failed_and_damaged_trials_are_run_again_once_the_run_is_continued(tmp_path: Path) -> None:
    opened = make_example(tmp_path, pair(1), lambda t: make_failure(t) if t.strategy is MIRRORED else measured(t))
    assert review(opened).has_ended, "a trial that fails is not tried again by itself"
    failed = next(trial for trial in plan(opened.run) if trial.strategy is MIRRORED)
    again = replace(opened, retries={failed.key: 1})
    assert [trial.key for trial in review(again).trials if trial.role is not Role.DISCARDED] == [failed.key]
    opened.folder.put(record_of(opened.run, measured(failed)), num_retries=1)
    state = review(again)
    assert (state.has_ended, state.analysis.coverage.state) == (True, RunState.COMPLETE)


def test_block_that_was_begun_on_another_machine_is_not_continued_here(tmp_path: Path) -> None:
    opened = make_example(tmp_path, pair(2), lambda t: measured(t) if t.block == 1 or t.strategy is MIRRORED else None)
    with pytest.raises(Refusal, match="block 2 was begun on bench-1, in another state of its hardware than "):
        review(opened)
    whole = open_example(tmp_path / "whole", pair(2), 1)
    assert review(whole).trials, "its next block may be measured anywhere"


def test_blocks_are_spread_over_machines_and_each_stays_on_its_own(tmp_path: Path) -> None:
    opened = make_example(tmp_path, pair(3), lambda t: measured(t) if t.block == 1 and t.strategy is MIRRORED else None)
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
    assert opened.folder.describe().end is None, "it has not come to its end while trials are going on"
