"""A night without a server: planned, measured, measured again, judged."""

import logging
import math
import random
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import cycle
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
from tasks.domain.sweep import Sweep
from tasks.domain.trial import Role, Trial
from tasks.results import schema
from tasks.results.events import Event, Events, Kind
from tasks.results.history import Ending, History, Night, night_of
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


def begin(number: int, sweep: Sweep = SWEEP) -> OpenRun:
    """That night's run, of which nothing is recorded yet."""
    day = BEGAN + timedelta(days=number)
    run = make_run(sweep, run_name=f"nightly-{day}", night=day, end=None)
    folder = RunFolder(locations.run(run.run_name))
    folder.create(run)
    return OpenRun(run, folder, DATA, DeviceType.CPU_SLICE, None)


def record(opened: OpenRun, trials: Iterable[Trial], seconds: Callable[[Trial], float | None]) -> None:
    """A record for each, of so many seconds; without any, of a failure."""
    for place, trial in enumerate(trials):
        took = seconds(trial)
        outcome = make_failure(trial) if took is None else make_result(trial, took, (0.98,))
        opened.folder.put(record_of(opened.run, outcome, 100 * trial.block + place))


def is_mirrored_tonight(trial: Trial) -> bool:
    return trial.strategy is MIRRORED and trial.arm is Arm.HERE


def go_through(number: int, slowdown: float = 0.0, fails: Callable[[Trial], bool] = lambda trial: False) -> Tonight:
    """That night from its first block to its verdict; tonight's arm of `mirrored` is slower by that share."""

    def seconds(trial: Trial) -> float | None:
        noise = random.Random(f"{number}:{trial.key}").gauss(0.0, NOISE)
        return None if fails(trial) else 12.0 * math.exp(noise) * (1 + slowdown * is_mirrored_tonight(trial))

    opened = begin(number)
    while not (state := review(opened)).has_ended:
        record(opened, state.trials, seconds)
    ended = night_of(state.analysis.run, state.tables)
    assert ended.ending is Ending.ENDED
    History(locations.results()).append_night(ended)
    return judge(ended).tonight


def measured() -> tuple[Night, ...]:
    """The nights of the history with all that is known of their trials."""
    return History(locations.results()).nights([column.name for column in schema.TRIALS])


def alter(night: Night, factors: Iterable[float], **changes: object) -> None:
    """Append that night as another one, whose trials took so many times as long."""
    rows = night.trials.to_pylist()
    for row, factor in zip(rows, factors, strict=False):
        row["training_seconds"] *= factor
    trials = type(night.trials).from_pylist(rows, night.trials.schema)
    History(locations.results()).append_night(replace(night, trials=trials, **changes))


def repeat(numbers: range) -> None:
    """Nights as the first one, but for their noise."""
    first = measured()[0]
    for number in numbers:
        chance, day = random.Random(number), BEGAN + timedelta(days=number)
        noise = (math.exp(chance.gauss(0.0, NOISE)) for _ in range(first.trials.num_rows))
        alter(first, noise, day=day, run_name=f"nightly-{day}")


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


def test_second_look_does_not_enter_the_runs_own_report() -> None:
    opened = begin(0)
    trials = plan(opened.run)
    record(opened, trials, lambda trial: 12.0)
    assert review(opened).has_ended
    again = replace(next(filter(is_mirrored_tonight, trials)), role=Role.AGAIN, block=PAIRS + 1)
    record(opened, [again], lambda trial: 99.0)
    coverage = review(opened).analysis.coverage
    assert coverage.state is RunState.COMPLETE
    assert (coverage.valid, coverage.num_begun) == (4 * PAIRS, PAIRS)


def test_second_look_waits_for_the_trials_that_are_going_on() -> None:
    go_through(0)
    repeat(range(1, 10))
    opened = begin(10)
    *trials, last = plan(opened.run)
    record(opened, trials, lambda trial: 18.0 if is_mirrored_tonight(trial) else 12.0)
    assert not review(opened, taken=[last.key]).trials
    assert opened.folder.describe().end is None
    record(opened, [last], lambda trial: 12.0)
    second = review(opened).trials
    assert {trial.cell.label for trial in second if trial.role is Role.AGAIN and trial.arm is Arm.HERE} == {NAMES[1]}


def test_trials_that_fail_are_not_measured_again(root: Path) -> None:
    tonight = go_through(0, fails=is_mirrored_tonight)
    assert [verdict.state for verdict in tonight.verdicts] == [NightState.NO_BASELINE, NightState.FAILED]
    state = final_state(tonight, root)
    assert (state.is_failed(), state.name) == (True, "Failed")


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
    (night,) = measured()
    labels = tuple(cell.label for cell in others.cells)
    for day, name, cells in ((today, "nightly-today", night.cells), (BEGAN, "nightly-others", labels)):
        alter(night, cycle((1.0, 1.5)), day=day, run_name=name, cells=cells)
    assert plan_night(asked, today, logger).max_blocks == 6, "runs of the cells before tonight differ by 2 %"
    assert plan_night(asked, today + timedelta(days=1), logger).max_blocks == 20, "tonight's by far more"


def test_second_run_of_a_day_follows_on_the_first_whatever_it_is_called() -> None:
    go_through(0)
    repeat(range(1, 11))
    begun = {name: datetime(2026, 1, 12, hour, tzinfo=UTC) for hour, name in ((2, "nightly-x"), (14, "after-fix"))}
    last = measured()[10]
    first, second = (replace(last, day=at.date(), run_name=name, created_at=at) for name, at in begun.items())
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


def test_first_look_leaves_a_quarter_of_the_time_for_the_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.blocks.time.monotonic", lambda: 0.0)
    for day, has_time in ((None, True), (BEGAN, False)):
        opened = begin(int(has_time), replace(SWEEP, budget_minutes=100.0))
        opened.folder.update(replace(opened.run, night=day))
        record(opened, [trial for trial in plan(opened.run) if trial.block == 1], lambda trial: 12.0)
        assert review(replace(opened, deadline=60 * 20.0)).has_ended is not has_time, "20 minutes are left of 100"
