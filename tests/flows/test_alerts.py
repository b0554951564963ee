"""What of a night is told, and in which words."""

import asyncio
import logging
from collections.abc import Collection
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from flows import alerts
from flows.alerts import Told, announce, news, read_told, send
from flows.events import NOTIFIED, Happening, Links, missed
from tasks.detection.nights import NightState, Tonight, judge_nights
from tasks.results.events import Event, Kind
from tasks.results.history import Ending
from tests.detection.example_nights import LABELS, Change, day, make_nights, replay, slower

LINKS = Links(run_id="7", deployment_id="8", report="reports/x/report.html", command="again", ui_url="http://ui/v2/")
REGRESSION, RECOVERED, INCOMPLETE = Happening.REGRESSION, Happening.RECOVERED, Happening.INCOMPLETE


def told(tonight: Tonight, before: Told | None = None) -> dict[Happening, list[str]]:
    """What is told of which series after that was told, or where nothing was told yet."""
    found = news(tonight, (before or Told()).seeded(tonight))
    return {kind: [verdict.label for verdict in verdicts] for kind, verdicts in found.items()}


def lost(*nights: int, then: Change) -> Change:
    """`mirrored` does not end in those nights."""
    failed = {"status": "failed", "training_seconds": None}
    return lambda night, row: row | failed if night in nights and row["strategy"] == "mirrored" else then(night, row)


@pytest.mark.parametrize(
    ("change", "num_nights", "happened"),
    [
        (lambda night, row: row, 1, None),
        (lambda night, row: row, 20, None),
        (slower(19), 20, Happening.SUSPECT),
        (slower(19), 21, REGRESSION),
        (slower(19), 22, None),
        (slower(19, -0.15), 21, Happening.IMPROVEMENT),
        (slower(19, last=22), 23, None),
        (slower(19, last=22), 25, None),
        (slower(19, last=22), 26, RECOVERED),
        (slower(19, last=22), 27, None),
        (slower(19, -0.15, last=22), 26, RECOVERED),
        (lost(22, then=slower(19)), 23, INCOMPLETE),
        (lost(22, 23, then=slower(19)), 24, None),
        (lost(22, then=slower(19)), 24, None),
        (lost(20, then=slower(19)), 22, REGRESSION),
        (lost(25, then=slower(19, last=22)), 27, RECOVERED),
    ],
    ids=[
        *("first night", "quiet", "suspect", "regressed", "stands", "improved", "gone for a night"),
        *("gone for three", "recovered", "stays so", "improvement is gone", "failed while it stands", "fails again"),
        *("measured again and stands", "confirmed after a gap", "recovered after a gap"),
    ],
)
def test_each_change_is_told_once(change: Change, num_nights: int, happened: Happening | None) -> None:
    assert told(replay(change, num_nights, again=[19])) == ({happened: [LABELS[1]]} if happened else {})


@pytest.mark.parametrize(
    ("night", "num_nights", "state"),
    [(22, 23, NightState.NO_BASELINE), (19, 33, NightState.OK), (19, 29, NightState.NO_BASELINE)],
)
def test_accepted_change_is_no_recovery(night: int, num_nights: int, state: NightState) -> None:
    at = datetime(2026, 2, 1, tzinfo=UTC)
    accepted = Event(kind=Kind.ACCEPT, at=at, by="me", why="wanted", night=day(night))
    tonight = replay(slower(19), num_nights, again=[19], events=[accepted])
    assert tonight.verdicts[1].state is state
    assert told(tonight) == {}
    red = Told().and_then(replay(slower(19), num_nights - 1, again=[19]))
    assert red.decided[LABELS[1]] is NightState.REGRESSED
    assert told(tonight, red) == {}
    undone = Event(kind=Kind.UNDO, at=at, by="me", why="not", undoes=accepted.id)
    again = replay(slower(19), num_nights + 1, again=[19], events=[accepted, undone])
    assert told(again, red.and_then(tonight)) == {REGRESSION: [LABELS[1]]}


def test_suspicion_of_the_opposite_is_no_end_of_what_stands() -> None:
    def turned(night: int, row: dict[str, Any]) -> dict[str, Any] | None:
        return slower(19)(night, row) if night < 22 else slower(22, -0.15, last=22)(night, row)

    before = Told()
    happened = []
    for num_nights in range(20, 27):
        tonight = replay(turned, num_nights, again=[19, 22])
        happened.append([*told(tonight, before)])
        before = before.seeded(tonight).and_then(tonight)
    assert happened == [[Happening.SUSPECT], [REGRESSION], [], [Happening.SUSPECT], [], [RECOVERED], []]


def test_planned_cell_that_no_night_has_measured_is_told_once() -> None:
    nights = make_nights()
    missing = (*nights[-1].cells, "mirrored, batch 999")
    tonight = judge_nights([*nights[:-1], replace(nights[-1], cells=missing)])
    assert tonight
    (event,) = alerts._events(tonight, LINKS, Told().seeded(tonight))
    assert event.payload["subject"].endswith("no full verdict: mirrored, batch 999")
    assert "- mirrored, batch 999: NOT MEASURED, tonight or ever" in event.payload["message"]
    assert told(tonight, Told().and_then(tonight)) == {}


@pytest.mark.parametrize(("num_nights", "expected"), [(19, {}), (20, {Happening.PLATFORM: ["node"]}), (21, {})])
def test_machine_is_told_of_and_not_its_cells(num_nights: int, expected: dict[Happening, list[str]]) -> None:
    assert told(replay(slower(18, 0.4, arms=("here", "other")), num_nights)) == expected


def test_all_cells_of_a_night_are_one_event_of_their_kind_the_largest_change_first() -> None:
    def both(night: int, row: dict[str, Any]) -> dict[str, Any] | None:
        share = (0.1 if row["strategy"] == "one_device" else 0.3) if night >= 19 and row["arm"] == "here" else 0
        return row | {"training_seconds": row["training_seconds"] * (1 + share)}

    assert told(replay(both, 20)) == {INCOMPLETE: [LABELS[1], LABELS[0]]}
    assert told(replay(both, 20, again=[19])) == {INCOMPLETE: [LABELS[0]], Happening.SUSPECT: [LABELS[1]]}


def test_crashed_night_without_any_cell_is_incomplete() -> None:
    assert told(replay(lambda night, row: None, 1, last=Ending.CRASHED)).keys() == {INCOMPLETE}


def test_message_is_enough_for_whoever_is_on_call() -> None:
    def upgraded(night: int, row: dict[str, Any]) -> dict[str, Any] | None:
        return slower(19)(night, row | ({"commit": "c9"} if night >= 19 and row["arm"] == "here" else {}))

    (event,) = alerts._events(found := replay(upgraded, 21, again=[19]), LINKS, Told().seeded(found))
    payload = event.payload
    (cell,) = payload["cells"]
    assert payload["subject"].startswith("stratbench, night of 2026-01-21: REGRESSED: mirrored, batch 128, x 1.1")
    assert payload["message"].splitlines() == [
        "- mirrored, batch 128: REGRESSED (SUSPECT the night before)",
        f"  x {cell['ratio']:.3f}, {cell['ratio'] - 1:.1%} slower (95 % interval {cell['low']:.3f} to "
        f"{cell['high']:.3f}; n = 6 blocks tonight, 19 nights before)",
        "  first seen in the night of 2026-01-20; commit was c0, now c9",
        "",
        "Run: http://ui/v2/runs/flow-run/7",
        "Report: reports/x/report.html",
        "Measure again: again",
    ]
    assert cell["since"] == "2026-01-20"
    assert cell["difference"] == ["commit was c0, now c9"]
    assert (payload["night"], payload["run_url"]) == ("2026-01-21", "http://ui/v2/runs/flow-run/7")
    assert event.resource.id == "stratbench.night.nightly-020"
    assert {(each.role, each.id) for each in event.related} == {
        ("tag", "prefect.tag.stratbench"),
        ("flow-run", "prefect.flow-run.7"),
        ("deployment", "prefect.deployment.8"),
    }


def test_what_was_told_is_told_no_more_and_what_was_not_is_told_later() -> None:
    nights = {number: replay(slower(19), number + 1, again=[19]) for number in (18, 20, 21)}
    quiet = Told().and_then(nights[18])
    assert told(nights[21], quiet) == {REGRESSION: [LABELS[1]]}, "night 20 could not be told"
    assert told(nights[20], quiet.and_then(nights[20])) == {}, "judged once more, with more trials perhaps"
    failed = replay(lost(21, then=slower(19)), 22, again=[19])
    assert told(failed, Told().and_then(replay(lost(20, then=slower(19)), 21, again=[19]))) == {}
    assert told(failed, quiet.and_then(nights[20])) == {INCOMPLETE: [LABELS[1]]}
    after = quiet.and_then(nights[20]).and_then(failed)
    assert told(replay(lost(21, then=slower(19)), 23, again=[19]), after) == {}, "what stood stands on"
    empty = replay(lambda night, row: None, 1, last=Ending.CRASHED)
    assert empty.verdicts == ()
    assert (told(empty, Told()), told(empty, Told().and_then(empty))) == ({INCOMPLETE: []}, {})


def test_what_was_told_is_kept_where_the_server_has_it_and_for_no_earlier_night(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    answers = iter([(), ("benchmark.regression",), ("benchmark.regression",)])

    async def answer(found: Collection[Any], logger: object) -> tuple[str, ...]:
        return next(answers) if found else ()

    monkeypatch.setattr(alerts, "send", answer)
    tonight = replay(slower(19), 21, again=[19])
    assert asyncio.run(announce(tonight, LINKS, tmp_path)) == ()
    assert read_told(tmp_path) == Told().seeded(tonight), "it could not be sent"
    later = replay(slower(19), 23, again=[19])
    assert told(later, read_told(tmp_path)) == {REGRESSION: [LABELS[1]]}
    assert asyncio.run(announce(tonight, LINKS, tmp_path)) == ("benchmark.regression",)
    assert read_told(tmp_path) == Told().and_then(tonight)
    for later in (tonight, replay(slower(19), 20, again=[19])):
        assert asyncio.run(announce(later, LINKS, tmp_path)) == ()
        assert read_told(tmp_path).night == day(20), "a night that is continued later tells nothing of what it was"
    (tmp_path / "history" / "told.json").write_text("{")
    assert read_told(tmp_path) == Told()
    assert "history/told.json cannot be read" in caplog.text
    (tmp_path / "history" / "told.json").unlink()
    (tmp_path / "history" / "told.json").mkdir()
    assert asyncio.run(announce(tonight, LINKS, tmp_path)) == ("benchmark.regression",), "a night ends all the same"
    assert "what was told is taken from the nights before: " in caplog.text


def test_suspicion_is_an_event_of_which_nobody_is_notified() -> None:
    assert set(Happening) - set(NOTIFIED) == {Happening.SUSPECT}


@pytest.mark.parametrize("answer", [RuntimeError("no such server"), None])
def test_what_cannot_be_sent_is_logged_and_costs_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path, answer: Exception | None
) -> None:
    sent: list[str] = []

    async def take(client: object, found: Collection[Any]) -> None:
        if answer:
            raise answer
        sent.extend(event.event for event in found)

    monkeypatch.setattr(alerts, "get_client", nullcontext)
    monkeypatch.setattr(alerts.events, "send", take)
    links = Links(report="r", command="c")
    with caplog.at_level(logging.ERROR):
        assert asyncio.run(announce(replay(), links, tmp_path)) == ()
        found = asyncio.run(announce(replay(slower(19), 21, again=[19]), links, tmp_path))
        found += asyncio.run(send([missed([day(3)], "late", "n", links)]))
    assert list(found) == sent == ([] if answer else ["benchmark.regression", "benchmark.incomplete"])
    assert ("no such server" in caplog.text) == ("REGRESSED: mirrored" in caplog.text) == bool(answer)
