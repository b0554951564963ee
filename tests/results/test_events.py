"""Events beside the history."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from tasks.domain.refusal import Refusal
from tasks.results.error import ResultsError
from tasks.results.events import FOLDER, Event, Events, Kind, effective

BEGAN = datetime(2026, 11, 1, tzinfo=UTC)


def event(hours: int, kind: Kind = Kind.ACCEPT, undoes: str | None = None) -> Event:
    night = date(2026, 11, 1) if kind is Kind.ACCEPT else None
    return Event(kind=kind, at=BEGAN + timedelta(hours=hours), by="ann", why="asked for", night=night, undoes=undoes)


def test_events_are_kept_in_their_order_and_never_changed(tmp_path: Path) -> None:
    events = Events(tmp_path)
    late, early = event(2), event(1)
    for each in (late, early, late):
        events.append(each)
    assert events.read() == (early, late)
    assert sorted(path.name for path in (tmp_path / FOLDER).iterdir()) == [
        f"20261101T010000.accept.{early.id}.json",
        f"20261101T020000.accept.{late.id}.json",
    ]


def test_undoing_takes_an_event_back_and_can_be_undone_itself(tmp_path: Path) -> None:
    events, accepted = Events(tmp_path), event(1)
    undone = event(2, Kind.UNDO, accepted.id)
    again = event(3, Kind.UNDO, undone.id)
    events.append(accepted)
    assert effective(events.read()) == (accepted,)
    events.append(undone)
    assert effective(events.read()) == ()
    with pytest.raises(ResultsError, match=f"undo={accepted.id} is no event that counts"):
        events.append(event(4, Kind.UNDO, accepted.id))
    with pytest.raises(ResultsError, match="undo=00000000 is no event that counts"):
        events.append(event(4, Kind.UNDO, undone.id), event(4, Kind.UNDO, "00000000"))
    assert len(events.read()) == 2
    events.append(again)
    assert effective(events.read()) == (accepted,)


def test_event_says_why() -> None:
    with pytest.raises(Refusal, match="why is empty"):
        Event(kind=Kind.ACCEPT, at=BEGAN, by="ann", why=" ")


def test_damaged_event_is_named_and_nothing_is_judged_without_it(tmp_path: Path) -> None:
    Events(tmp_path).append(event(1))
    path = next((tmp_path / FOLDER).iterdir())
    path.write_text(path.read_text()[:-9])
    with pytest.raises(ResultsError, match=path.name):
        Events(tmp_path).read()
