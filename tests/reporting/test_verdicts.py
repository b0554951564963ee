"""Verdicts of a night as lines of text."""

from dataclasses import replace
from pathlib import Path

from flows.judging import final_state
from tasks.detection.nights import judge_nights
from tasks.domain.exit_code import ExitCode
from tasks.reporting.verdicts import describe_tonight
from tasks.results.history import Ending
from tests.detection.example_nights import NUM_NIGHTS, Row, make_nights, replay, slower

LAST = NUM_NIGHTS - 1


def test_five_nights_that_tell_nothing_are_told_apart_and_none_is_green() -> None:
    def few(night: int, row: Row) -> Row | None:
        return row if night < LAST or row["block"] <= 5 else None

    def driver(night: int, row: Row) -> Row:
        return row | {"gpu_driver": "580" if night == LAST else "570"}

    cut = "2026-01-20: gpu_driver was 570, now 580; "
    for tonight, code, words in (
        (replay(lambda night, row: row if night < LAST else None), ExitCode.NOT_MEASURED, "2026-01-20 — 0 19"),
        (replay(few, last=Ending.STOPPED), ExitCode.INCONCLUSIVE, "2026-01-20 — 5 19 the night was stopped"),
        (replay(few, last=Ending.CRASHED), ExitCode.FAILED, "2026-01-20 — 5 19 the night crashed"),
        (replay(num_nights=1), ExitCode.NO_BASELINE, "2026-01-01 — 6 0 0 of 10 comparable nights before"),
        (replay(driver), ExitCode.NO_BASELINE, f"2026-01-20 — 6 0 {cut}0 of 10 comparable nights before"),
    ):
        assert tonight.exit_code is code
        first_cell = list(describe_tonight(tonight))[2]
        assert " ".join(first_cell.split()[3:]) == f"{code.name.replace('_', ' ')} {words}"


def test_first_line_says_the_night_its_state_and_the_method() -> None:
    line = next(describe_tonight(replay(slower(18), again=[18])))
    assert line == "Night of 2026-01-20: REGRESSED (nightly-019; 20 nights so far, against a control)"
    weaker = next(describe_tonight(replay(last=Ending.CRASHED)))
    assert "nightly-019, crashed; 20 nights so far" in weaker


def test_planned_cell_that_no_night_has_measured_is_named() -> None:
    nights = make_nights()
    planned = (*nights[-1].cells, "mirrored, batch 999")
    tonight = judge_nights([*nights[:-1], replace(nights[-1], cells=planned)])
    assert tonight
    assert list(describe_tonight(tonight))[-1].split("  ")[0] == "mirrored, batch 999"
    assert final_state(tonight, Path("r")).message == "2 OK, 1 NOT MEASURED; report: r"


def test_state_of_a_run_says_what_is_red() -> None:
    machine = replay(slower(18, 0.4, arms=("here", "other")))
    assert final_state(machine, Path("r")).message == "2 OK, machine node REGRESSED; report: r"
    empty = replay(lambda night, row: None, 1, last=Ending.CRASHED)
    assert "machine" not in str(final_state(replay(), Path("r")).message)
    assert str(final_state(empty, Path("r")).message).endswith("NOT MEASURED; report: r")


def test_regression_behind_a_failed_night_still_stands() -> None:
    tonight = replay(slower(17), again=[17], last=Ending.CRASHED)
    line = list(describe_tonight(tonight))[3]
    assert "REGRESSED stands, tonight is FAILED" in line
