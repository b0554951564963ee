"""Histories as they are when something went wrong: nothing raises, nothing is green that was not measured."""

from dataclasses import replace

import pytest

from tasks.detection.nights import NightState
from tasks.domain.cell import Arm
from tasks.domain.exit_code import ExitCode
from tests.detection.example_nights import (
    LABELS,
    NUM_NIGHTS,
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

OK, NO_BASELINE, REGRESSED = NightState.OK, NightState.NO_BASELINE, NightState.REGRESSED
LAST = NUM_NIGHTS - 1


def test_one_cell_alone_has_a_history() -> None:
    tonight = replay(lambda night, row: row if row["strategy"] == "mirrored" else None)
    assert [(verdict.label, verdict.state) for verdict in tonight.verdicts] == [(LABELS[1], OK)]
    assert tonight.platform[0].state is OK


def test_history_without_a_single_trial_is_not_measured() -> None:
    tonight = replay(lambda night, row: None)
    assert (tonight.verdicts, tonight.platform, tonight.exit_code) == ((), (), ExitCode.NOT_MEASURED)
    assert tonight.noise is None


def test_night_with_second_looks_only_is_inconclusive() -> None:
    tonight = replay(lambda night, row: row if night < LAST or row["role"] == "again" else None, again=[LAST])
    assert states(tonight) == [NightState.NOT_MEASURED, NightState.INCONCLUSIVE]


@pytest.mark.parametrize("seconds", [None, float("nan"), 0.0])
def test_seconds_that_are_none_are_no_measurement(seconds: float | None) -> None:
    tonight = replay(altered(LAST, training_seconds=seconds))
    assert states(tonight) == [NightState.INCONCLUSIVE] * 2
    assert tonight.platform == ()


def test_night_whose_trainings_all_failed_is_no_cut() -> None:
    lost = {"status": "failed", "training_seconds": None, "num_parameters": None, "tensorflow_version": None}
    tonight = replay(altered(15, last=15, **lost))
    assert states(tonight) == [OK, OK]
    assert tonight.verdicts[0].states[15] == NightState.FAILED
    assert (tonight.verdicts[0].cuts, tonight.verdicts[0].num_nights) == ((), NUM_NIGHTS - 2)


def test_night_whose_control_did_not_train_is_inconclusive_and_no_cut() -> None:
    tonight = replay(lambda night, row: row if (night, row["arm"]) != (15, "other") else None)
    assert states(tonight) == [OK, OK]
    assert tonight.verdicts[0].states[15] == NightState.INCONCLUSIVE
    assert tonight.verdicts[0].cuts == tonight.platform[0].cuts == ()


def test_cell_that_the_control_lacks_some_nights_moves_no_machine() -> None:
    def uneven(night: int, row: Row) -> Row | None:
        is_slow = row["strategy"] == "mirrored"
        if is_slow and row["arm"] == "other" and night >= LAST - 1:
            return row | {"status": "failed", "training_seconds": None}
        return row | {"training_seconds": row["training_seconds"] * (4 if is_slow else 1)}

    (machine,) = replay(uneven).platform
    assert machine.state is OK
    assert machine.value == pytest.approx(20, rel=0.05)  # the geometric mean of 10 and 40


def test_cell_that_is_added_later_has_no_baseline_and_cuts_nothing() -> None:
    tonight = replay(lambda night, row: row if row["strategy"] == "one_device" or night >= 15 else None)
    assert states(tonight) == [OK, NO_BASELINE]
    assert tonight.platform[0].state is OK
    assert [verdict.cuts for verdict in (*tonight.verdicts, *tonight.platform)] == [()] * 3


def test_cell_that_changes_hosts_begins_anew_and_what_was_accepted_stays() -> None:
    def moved(night: int, row: Row) -> Row | None:
        return slower(12, 0.3)(night, row | {"hostname": "old" if night < 30 else "new"})

    def visited(night: int, row: Row) -> Row | None:
        return slower(12, 0.3)(night, row | {"hostname": "new" if night == 20 else "old"})

    tonight = replay(moved, 35, again=[12], events=[accept(12, LABELS[1])])
    assert [verdict.label for verdict in tonight.verdicts] == [f"{label}, hostname new" for label in LABELS]
    assert states(tonight) == [NO_BASELINE] * 2
    assert states(replay(visited, 35, again=[12])) == [OK, REGRESSED]
    for name in (LABELS[1], f"{LABELS[1]}, hostname old", f"{LABELS[1]}, hostname old, dataset mnist"):
        assert states(replay(visited, 35, events=[accept(12, name)])) == [OK, OK], name
    for name in (f"{LABELS[1]}, hostname new", f"{LABELS[1]}, keras_fit", "mirrored, batch 12", "nothing"):
        assert states(replay(moved, 25, again=[12], events=[accept(12, name)])) == [OK, REGRESSED], name


def test_regression_on_a_host_that_trains_no_more_stays_red_until_it_is_accepted() -> None:
    def moved(night: int, row: Row) -> Row | None:
        return slower(12, 0.3)(night, row | {"hostname": "old" if night < 14 else "new"})

    label = f"{LABELS[1]}, hostname old"
    tonight = replay(moved, 30, again=[12])
    found = {verdict.label: verdict for verdict in tonight.verdicts}
    assert set(found) == {label, *(f"{name}, hostname new" for name in LABELS)}
    assert (found[label].state, found[label].standing) == (NightState.NOT_MEASURED, REGRESSED)
    assert found[label].worst is REGRESSED
    accepted = replay(moved, 30, again=[12], events=[accept(12, label)])
    assert label not in {verdict.label for verdict in accepted.verdicts}


def test_acceptance_on_a_day_without_a_night_begins_with_the_next_one() -> None:
    nights = [night for night in make_nights(slower(12, 0.3), 30) if night.day != day(12)]
    tonight = judge(nights, [accept(12), accept(99)])
    assert {cut.day for verdict in tonight.verdicts for cut in verdict.cuts} == {day(13)}


def test_two_nightly_runs_on_one_day_are_two_nights() -> None:
    nights = make_nights(slower(19), 21, again=[19])
    tonight = judge([*nights[:20], replace(nights[20], day=day(19))])
    assert states(tonight) == [OK, REGRESSED]
    assert tonight.verdicts[1].days[-2:] == (day(19), day(19))


def test_nights_of_any_number_of_pairs_are_comparable_and_fewer_than_four_are_none() -> None:
    tonight = replay(lambda night, row: row if row["block"] <= 3 + night % 4 or night == LAST else None)
    assert states(tonight) == [OK, OK]
    assert tonight.verdicts[0].num_nights == 14
    assert tonight.verdicts[0].states[16] == NightState.INCONCLUSIVE


def test_noise_is_that_of_a_run_whatever_a_night_was_measured_against() -> None:
    with_control, without = make_nights(), make_nights(arms=[Arm.HERE])
    mixed = [*without[:-1], with_control[-1]]
    assert [judge(nights).noise for nights in (mixed, with_control, without)] == pytest.approx([0.02] * 3, rel=0.2)
