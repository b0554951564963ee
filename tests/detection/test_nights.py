"""Nights replayed from rows of the history."""

import math
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from tasks.detection.nights import Cut, NightState, Tonight, judge_nights
from tasks.domain.cell import Arm
from tasks.domain.exit_code import ExitCode
from tasks.results.events import Event, Kind
from tasks.results.history import Ending
from tests.detection.example_nights import (
    LABELS,
    NUM_BLOCKS,
    NUM_NIGHTS,
    Change,
    Row,
    accept,
    altered,
    day,
    judge,
    make_nights,
    replay,
    slower,
    states,
)


def test_quiet_nights_are_ok_and_named_by_their_cells() -> None:
    tonight = replay()
    assert states(tonight) == [NightState.OK, NightState.OK]
    assert tuple(verdict.label for verdict in tonight.verdicts) == LABELS
    assert (tonight.run_name, tonight.num_nights, tonight.has_control) == ("nightly-019", NUM_NIGHTS, True)
    for verdict in tonight.verdicts:
        assert (verdict.num_pairs, verdict.since, verdict.cuts) == (NUM_BLOCKS, day(10), ())
        assert verdict.value == pytest.approx(1, abs=0.03)
        assert verdict.low is not None
        assert verdict.high is not None
        assert verdict.low < 1 < verdict.high


def test_change_is_suspect_and_the_next_night_regressed() -> None:
    assert states(replay(slower(19), again=[19])) == [NightState.OK, NightState.SUSPECT]
    told = replay(slower(19), 21, again=[19])
    assert states(told) == [NightState.OK, NightState.REGRESSED]
    assert told.verdicts[1].since == day(20)
    assert told.verdicts[1].value == pytest.approx(1.15, abs=0.03)
    assert told.verdicts[1].change == pytest.approx(1.15, abs=0.03)


def test_far_out_and_not_measured_again_is_inconclusive_and_not_green() -> None:
    assert states(replay(slower(19))) == [NightState.OK, NightState.INCONCLUSIVE]


def test_change_is_dated_among_the_nights_about_it_and_not_by_what_was_before() -> None:
    """Neither by a larger change that went, nor by a smaller one that lasts longer."""

    def episodes(night: int, row: Row) -> Row | None:
        share = 0.3 if 20 <= night < 30 else 0.1 if night >= 58 else 0.0
        return slower(0, share)(night, row)

    def two_levels(night: int, row: Row) -> Row | None:
        return slower(0, 0.12 if night >= 58 else 0.02 if night >= 25 else 0.0)(night, row)

    for change, again in ((episodes, [20, 58]), (two_levels, [58])):
        verdict = replay(change, 60, again=again).verdicts[1]
        assert (verdict.state, verdict.step) == (NightState.REGRESSED, day(58))


def test_machine_that_grows_slow_for_both_is_no_regression_but_one_of_the_platform() -> None:
    tonight = replay(slower(18, 0.4, arms=("here", "other")))
    assert states(tonight) == [NightState.OK, NightState.OK]
    machine = tonight.platform[0]
    assert (machine.label, machine.cell, machine.state) == ("node", None, NightState.REGRESSED)
    assert machine.states[18:] == (NightState.SUSPECT, NightState.REGRESSED)
    assert machine.change == pytest.approx(math.sqrt(1.4), abs=0.02)  # the mean of two cells' ln seconds
    assert tonight.exit_code is ExitCode.REGRESSED
    assert replay().platform[0].state is NightState.OK


def test_without_a_control_the_machine_and_the_software_are_one() -> None:
    tonight = replay(slower(19), 21, again=[19], arms=[Arm.HERE])
    assert not tonight.has_control
    assert states(tonight) == [NightState.OK, NightState.REGRESSED]
    assert tonight.verdicts[1].value == pytest.approx(11.5, abs=0.3)
    assert tonight.platform == ()


def test_upgrade_that_makes_slower_is_regressed_and_does_not_cut() -> None:
    upgrade = altered(19, "here", tensorflow_version="2.22.0", commit="c9")
    tonight = replay(lambda night, row: slower(19)(night, upgrade(night, row)), 22, again=[19])
    assert states(tonight)[1] == NightState.REGRESSED
    assert tonight.verdicts[1].cuts == ()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (altered(15, machine_fingerprint="m2"), "machine_fingerprint was m1, now m2"),
        (altered(15, gpu_driver="580.1"), "gpu_driver was none, now 580.1"),
        (altered(15, dataset_digest="d2"), "dataset_digest was d1, now d2"),
        (altered(15, "other", commit="c5"), "control's commit was c0, now c5"),
        (altered(15, "other", num_parameters=99), "num_parameters was 225034, now 99"),
    ],
)
def test_change_of_what_both_arms_share_or_of_the_control_begins_a_new_baseline(change: Change, said: str) -> None:
    tonight = replay(change)
    assert states(tonight) == [NightState.NO_BASELINE] * 2
    assert [verdict.cuts for verdict in tonight.verdicts] == [(Cut(day=day(15), why=said),)] * 2


def test_control_of_another_name_begins_a_new_baseline_whatever_its_rows_say() -> None:
    def renamed(old: str | None, new: str) -> Tonight:
        return judge([replace(night, control=new if n >= 15 else old) for n, night in enumerate(make_nights())])

    tonight = renamed("0.1.0-g1-r1", "0.1.0-g1-r2")
    said = "control's environment was 0.1.0-g1-r1, now 0.1.0-g1-r2"
    assert [v.cuts for v in (*tonight.verdicts, *tonight.platform)] == [(Cut(day=day(15), why=said),)] * 3
    assert states(renamed(None, "0.1.0-g1-r1")) == [NightState.OK] * 2, "not known of older nights"


def test_model_that_tonight_alone_has_is_judged() -> None:
    larger = altered(18, "here", num_parameters=99)
    tonight = replay(lambda night, row: slower(18, 0.3)(night, larger(night, row)), again=[18])
    assert states(tonight) == [NightState.OK, NightState.REGRESSED]


def test_first_empty_partial_and_crashed_nights_are_told_apart_and_none_is_green() -> None:
    def last(change: Change) -> Tonight:
        return replay(lambda night, row: change(night, row) if night == NUM_NIGHTS - 1 else row)

    def of_one(fields: Row | None) -> Change:
        return lambda night, row: row if row["strategy"] == "one_device" else None if fields is None else row | fields

    assert states(replay(num_nights=1)) == [NightState.NO_BASELINE] * 2
    assert states(last(of_one(None)))[1] == NightState.NOT_MEASURED
    assert states(last(lambda night, row: row if row["block"] <= 2 else None)) == [NightState.INCONCLUSIVE] * 2
    assert states(last(of_one({"status": "failed", "training_seconds": None})))[1] == NightState.FAILED
    assert states(last(of_one({"status": "invalid"})))[1] == NightState.INVALID
    assert states(last(lambda night, row: None)) == [NightState.NOT_MEASURED] * 2
    assert states(replay(last=Ending.STOPPED)) == [NightState.INCONCLUSIVE] * 2
    assert states(replay(last=Ending.CRASHED)) == [NightState.FAILED] * 2


def test_machine_with_too_few_blocks_is_inconclusive_and_not_unmeasured() -> None:
    stopped = replay(lambda night, row: row if night < 19 or row["block"] <= 2 else None, last=Ending.STOPPED)
    assert stopped.platform[0].state is NightState.INCONCLUSIVE
    assert stopped.state is NightState.INCONCLUSIVE


def test_night_that_was_stopped_is_no_baseline_and_hides_no_regression() -> None:
    assert replay(slower(18), again=[18], last=Ending.STOPPED).verdicts[1].state is NightState.INCONCLUSIVE
    stopped = replay(slower(17), again=[17], last=Ending.STOPPED)
    assert (stopped.verdicts[1].standing, stopped.exit_code) == (NightState.REGRESSED, ExitCode.REGRESSED)


@pytest.mark.parametrize("status", ["failed", "invalid"])
def test_night_that_was_stopped_with_enough_pairs_is_inconclusive_whatever_its_last_training_was(status: str) -> None:
    def cancelled(night: int, row: Row) -> Row | None:
        is_last = night == NUM_NIGHTS - 1 and row["block"] == NUM_BLOCKS and row["arm"] == "other"
        return row | ({"status": status, "training_seconds": None} if is_last else {})

    assert states(replay(cancelled, last=Ending.STOPPED)) == [NightState.INCONCLUSIVE] * 2


def test_cell_that_is_no_longer_asked_for_is_left_out() -> None:
    tonight = replay(altered(15, dataset="fashion_mnist"))
    assert [verdict.label for verdict in tonight.verdicts] == [f"{label}, dataset fashion_mnist" for label in LABELS]
    assert {verdict.num_nights for verdict in tonight.verdicts} == {4}


def test_accepted_change_is_the_new_baseline_and_its_undo_brings_it_back() -> None:
    accepted = accept(12, LABELS[1])
    undone = Event(kind=Kind.UNDO, at=datetime(2026, 5, 2, tzinfo=UTC), by="bob", why="no", undoes=accepted.id)
    slow = slower(12, 0.3)
    red = replay(slow, 25, again=[12]).verdicts[1]
    assert (red.state, red.since, red.step) == (NightState.REGRESSED, day(13), day(12))
    tonight = replay(slow, 25, again=[12], events=[accepted])
    assert states(tonight) == [NightState.OK, NightState.OK]
    assert tonight.verdicts[0].cuts == ()
    assert tonight.verdicts[1].cuts == (Cut(day=day(12), why="accepted by ann: meant"),)
    assert tonight.verdicts[1].num_nights == 12
    assert replay(slow, 25, again=[12], events=[accepted, undone]).verdicts[1] == red


def test_regression_that_nobody_accepts_is_red_after_sixty_nights_and_says_what_changed_with_it() -> None:
    upgrade = altered(15, "here", tensorflow_version="2.22.0")
    red = replay(lambda night, row: slower(15)(night, upgrade(night, row)), 80, again=[15]).verdicts[1]
    assert (red.state, red.since, red.step) == (NightState.REGRESSED, day(16), day(15))
    assert red.difference == ("tensorflow_version was 2.21.0, now 2.22.0",)


@pytest.mark.parametrize("num_nights", [31, 32, 36], ids=["suspected", "confirmed", "stands"])
def test_change_that_follows_on_another_one_is_dated_when_it_was_noticed(num_nights: int) -> None:
    def turned(night: int, row: Row) -> Row | None:
        if row["arm"] == "here":
            row = row | {"commit": "c9" if night >= 19 else "c0", "keras_version": "4" if night >= 30 else "3"}
        return slower(19)(night, row) if night < 30 else slower(30, -0.15)(night, row)

    found = replay(turned, num_nights, again=[19, 30]).verdicts[1]
    assert (found.step, found.difference) == (day(30), ("keras_version was 3, now 4",))
    if num_nights == 31:
        assert (found.state, found.standing, found.worst) == ("SUSPECT", "REGRESSED", "REGRESSED")
    else:
        assert (found.state, found.standing) == ("IMPROVED", "IMPROVED")


def test_every_state_has_an_exit_code_and_no_history_no_verdict() -> None:
    assert judge_nights([]) is None
    codes = {state: state.exit_code for state in NightState}
    assert codes[NightState.OK] is ExitCode.OK
    assert len(set(codes.values())) == len(NightState)
