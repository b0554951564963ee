"""A night without a server: planned, measured, measured again, judged."""

import logging
import math
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from flows import locations, night, verdicts
from flows.blocks import review
from flows.judging import final_state
from flows.night import judge, plan_night
from flows.opening import OpenRun
from tasks.analysis.coverage import RunState
from tasks.detection.nights import NightState, Tonight
from tasks.domain.cell import Arm
from tasks.domain.device import DeviceType
from tasks.domain.refusal import Refusal
from tasks.domain.trial import Role, Trial
from tasks.results import schema
from tasks.results.events import Event, Events, Kind
from tasks.results.history import Ending, History, night_of
from tasks.results.store import RunFolder
from tests.analysis.example_runs import (
    ENVIRONMENT,
    MIRRORED,
    ONE,
    grid,
    make_failure,
    make_result,
    make_run,
    plan,
    record_of,
)
from tests.examples import DATA

BEGAN = date(2026, 1, 1)
PAIRS, NOISE = 6, 0.02
SWEEP = grid(PAIRS, strategies=(ONE, MIRRORED), global_batch_sizes=(64,), num_epochs=1, versus="/c/python")
NAMES = ("one_device, batch 64", "mirrored, batch 64")


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STRATBENCH_ROOT", str(tmp_path))
    monkeypatch.setattr("flows.blocks.describe_environment", lambda: ENVIRONMENT)
    monkeypatch.setattr(verdicts, "NUM_SIMULATED", 1)
    return tmp_path


def go_through(number: int, slowdown: float = 0.0, fails: Callable[[Trial], bool] = lambda trial: False) -> Tonight:
    """That night from its first block to its verdict; tonight's arm of `mirrored` is slower by that share."""
    name = f"nightly-{BEGAN + timedelta(days=number)}"
    run = make_run(SWEEP, run_name=name, night=BEGAN + timedelta(days=number), end=None)
    folder = RunFolder(locations.run(name))
    folder.create(run)
    opened = OpenRun(run, folder, DATA, DeviceType.CPU_SLICE, None)
    while not (state := review(opened)).has_ended:
        for place, trial in enumerate(state.trials):
            chance = random.Random(f"{number}:{trial.key}")
            is_slow = trial.strategy is MIRRORED and trial.arm is Arm.HERE
            seconds = 12.0 * math.exp(chance.gauss(0.0, NOISE)) * (1 + slowdown * is_slow)
            outcome = make_failure(trial) if fails(trial) else make_result(trial, seconds, (0.98,))
            folder.put(record_of(run, outcome, 100 * trial.block + place))
    ended = night_of(state.analysis.run, state.tables)
    assert ended.ending is Ending.ENDED
    History(locations.results()).append_night(ended)
    return judge(ended).tonight


def repeat(numbers: range) -> None:
    """Nights as the first one, but for their noise."""
    first = History(locations.results()).nights([column.name for column in schema.TRIALS])[0]
    for number in numbers:
        chance, rows = random.Random(number), first.trials.to_pylist()
        day = BEGAN + timedelta(days=number)
        for row in rows:
            row["training_seconds"] *= math.exp(chance.gauss(0.0, NOISE))
        trials = type(first.trials).from_pylist(rows, first.trials.schema)
        History(locations.results()).append_night(replace(first, day=day, run_name=f"nightly-{day}", trials=trials))


def roles(number: int) -> Counter[str]:
    folder = RunFolder(locations.run(f"nightly-{BEGAN + timedelta(days=number)}"))
    return Counter(folder.read().trials["role"].to_pylist())


def test_change_is_measured_again_at_once_and_confirmed_by_the_next_night() -> None:
    first = go_through(0)
    assert roles(0) == {"measured": 4 * PAIRS, "discarded": PAIRS}
    assert [(verdict.label, verdict.state) for verdict in first.verdicts] == [
        (name, NightState.NO_BASELINE) for name in NAMES
    ]
    repeat(range(1, 10))
    suspect = go_through(10, slowdown=0.2)
    assert roles(10) == {"measured": 4 * PAIRS, "again": 2 * 2 * PAIRS, "discarded": 3 * PAIRS}
    assert [verdict.state for verdict in suspect.verdicts] == [NightState.OK, NightState.SUSPECT]
    found = go_through(11, slowdown=0.2)
    assert roles(11) == {"measured": 4 * PAIRS, "discarded": PAIRS}
    assert [verdict.state for verdict in found.verdicts] == [NightState.OK, NightState.REGRESSED]
    state = final_state(found, Path("reports/x"))
    assert (state.name, state.message) == ("Regressed", "1 OK, 1 REGRESSED; report: reports/x")
    assert state.is_completed()


def test_second_look_does_not_enter_the_runs_own_report(root: Path) -> None:
    run = make_run(SWEEP, run_name="nightly-a", night=BEGAN, end=None)
    folder = RunFolder(root / "runs" / "nightly-a")
    folder.create(run)
    opened = OpenRun(run, folder, DATA, DeviceType.CPU_SLICE, None)
    while not (state := review(opened)).has_ended:
        for place, trial in enumerate(state.trials):
            folder.put(record_of(run, make_result(trial, 12.0, (0.98,)), 100 * trial.block + place))
    last = next(trial for trial in plan(run) if trial.arm is Arm.HERE)
    again = replace(last, role=Role.AGAIN, block=PAIRS + 1)
    folder.put(record_of(run, make_result(again, 99.0, (0.98,)), 10_000))
    state = review(opened)
    assert state.analysis.coverage.state is RunState.COMPLETE
    assert (state.analysis.coverage.valid, state.analysis.coverage.num_begun) == (4 * PAIRS, PAIRS)


def test_second_look_waits_for_the_trials_that_are_going_on() -> None:
    go_through(0)
    repeat(range(1, 10))
    day = BEGAN + timedelta(days=10)
    run = make_run(SWEEP, run_name="nightly-a", night=day, end=None)
    folder = RunFolder(locations.run("nightly-a"))
    folder.create(run)
    opened = OpenRun(run, folder, DATA, DeviceType.CPU_SLICE, None)
    *trials, last = plan(run)
    for place, trial in enumerate(trials):
        is_slow = trial.strategy is MIRRORED and trial.arm is Arm.HERE
        folder.put(record_of(run, make_result(trial, 18.0 if is_slow else 12.0, (0.98,)), place))
    assert not review(opened, taken=[last.key]).trials
    assert folder.describe().end is None
    folder.put(record_of(run, make_result(last, 12.0, (0.98,)), 1_000))
    second = review(opened).trials
    assert {trial.cell.label for trial in second if trial.role is Role.AGAIN and trial.arm is Arm.HERE} == {NAMES[1]}


def test_trials_that_fail_are_not_measured_again(root: Path) -> None:
    tonight = go_through(0, fails=lambda trial: trial.strategy is MIRRORED and trial.arm is Arm.HERE)
    assert [verdict.state for verdict in tonight.verdicts] == [NightState.NO_BASELINE, NightState.FAILED]
    assert final_state(tonight, root).is_failed()
    assert final_state(tonight, root).name == "Failed"


def test_pairs_follow_from_the_noise_of_the_nights_before(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    logger = logging.getLogger("test")
    monkeypatch.setattr(logger, "info", said.append)
    asked = replace(SWEEP, min_blocks=4, max_blocks=20)
    first = plan_night(asked, BEGAN, logger)
    assert (first.min_blocks, first.max_blocks) == (14, 14)
    assert said[0].startswith("the night of 2026-01-01: 14 pairs of each cell, for runs that differ by 5.0% (assumed")
    go_through(0)
    repeat(range(1, 2))
    second = plan_night(asked, BEGAN + timedelta(days=1), logger)
    assert second.max_blocks == 6, "runs differ by 2 %"
    assert plan_night(replace(asked, max_blocks=5), BEGAN + timedelta(days=1), logger).max_blocks == 5
    with pytest.raises(Refusal, match="max_blocks=3 is too few for a night: a verdict takes 4 pairs; raise it"):
        plan_night(replace(asked, min_blocks=1, max_blocks=3), BEGAN, logger)
    assert "measured in the nights before" in said[-2]


def test_pairs_do_not_follow_from_the_night_itself_nor_from_other_cells() -> None:
    """A night that is continued keeps its number of blocks."""
    logger = logging.getLogger("test")
    asked = replace(SWEEP, min_blocks=4, max_blocks=20)
    go_through(0)
    today, others = BEGAN + timedelta(days=1), grid(PAIRS, strategies=(ONE,), global_batch_sizes=(256,), num_epochs=1)
    (measured,) = History(locations.results()).nights([column.name for column in schema.TRIALS])
    for day, name, cells in (
        (today, "nightly-today", measured.cells),
        (BEGAN, "nightly-others", tuple(cell.label for cell in others.cells)),
    ):
        rows = measured.trials.to_pylist()
        for number, row in enumerate(rows):
            row["training_seconds"] *= 1.5 if number % 2 else 1.0
        trials = type(measured.trials).from_pylist(rows, measured.trials.schema)
        noisy = replace(measured, day=day, run_name=name, cells=cells, trials=trials)
        History(locations.results()).append_night(noisy)
    assert plan_night(asked, today, logger).max_blocks == 6, "runs of the cells before tonight differ by 2 %"
    assert plan_night(asked, today + timedelta(days=1), logger).max_blocks == 20, "tonight's by far more"


def test_second_run_of_a_day_follows_on_the_first_whatever_it_is_called() -> None:
    go_through(0)
    repeat(range(1, 11))
    nights = History(locations.results()).nights([column.name for column in schema.TRIALS])
    begun = {name: datetime(2026, 1, 12, hour, tzinfo=UTC) for hour, name in ((2, "nightly-x"), (14, "after-fix"))}
    first, second = (replace(nights[10], day=at.date(), run_name=name, created_at=at) for name, at in begun.items())
    for each in (second, first):
        History(locations.results()).append_night(each)
    assert judge(first).tonight.num_nights == 12
    assert judge(second).tonight.num_nights == 13
    evidence = verdicts.read_evidence()
    assert evidence is not None
    assert evidence.tonight.run_name == "after-fix"


def test_night_is_measured_against_the_control_that_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    logger = logging.getLogger("test")
    own = replace(SWEEP, versus=None)
    assert plan_night(own, BEGAN, logger).versus is None
    name = "0.1.0-g01234567-r012345"
    event = Event(kind=Kind.CONTROL, at=datetime(2026, 1, 1, tzinfo=UTC), by="ann", why="first", control=name)
    Events(locations.results()).append(event)
    with pytest.raises(Refusal, match=f"control={name} is not built on this host"):
        plan_night(own, BEGAN, logger)
    monkeypatch.setattr(night, "interpreter", lambda given: Path("/controls") / given)
    assert plan_night(own, BEGAN, logger).versus == f"/controls/{name}"
    assert plan_night(SWEEP, BEGAN, logger).versus == SWEEP.versus, "one that is named goes before"


def test_first_look_leaves_a_quarter_of_the_time_for_the_second(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.blocks.time.monotonic", lambda: 0.0)
    sweep = replace(SWEEP, budget_minutes=100.0)
    for night_of_run, has_time in ((None, True), (BEGAN, False)):
        run = make_run(sweep, run_name=f"run-{has_time}", night=night_of_run, end=None)
        opened = OpenRun(run, RunFolder(root / run.run_name), DATA, DeviceType.CPU_SLICE, 60 * 20.0)
        opened.folder.create(run)
        for place, trial in enumerate(trial for trial in plan(run) if trial.block == 1):
            opened.folder.put(record_of(run, make_result(trial, 12.0, (0.98,)), 100 + place))
        assert review(opened).has_ended is not has_time, "20 minutes are left of 100"
