"""Events: what people decided about the history, one JSON file each beside it, none ever changed."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from tasks.domain.refusal import Refusal, first_line
from tasks.results.error import ResultsError
from tasks.results.storage import open_storage

FOLDER = "history/events"


class Kind(StrEnum):
    """What was decided."""

    ACCEPT = "accept"
    """A change is intended: a new baseline from `night` on."""
    CONTROL = "control"
    """What nights are measured against from now on."""
    UNDO = "undo"
    """The event `undoes` counts no longer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """One decision."""

    kind: Kind
    at: datetime
    by: str
    """Who decided."""
    why: str
    night: date | None = None
    """Of an acceptance, the first night of the new baseline."""
    cells: tuple[str, ...] = ()
    """Of an acceptance, labels of cells; none: all."""
    control: str | None = None
    """Of the kind `control`, its name; null: nights have none."""
    undoes: str | None = None
    """Identifier of an event."""

    def __post_init__(self) -> None:
        for name, text in (("by", self.by), ("why", self.why)):
            if not text.strip():
                raise Refusal(f"{name} is empty; say it in a few words, for who reads it in a year")

    @property
    def id(self) -> str:
        """The first 8 hexadecimal digits of the SHA-256 of its content."""
        return hashlib.sha256(_EVENT.dump_json(self)).hexdigest()[:8]

    @property
    def name(self) -> str:
        """Of its file, below the results root."""
        return f"{FOLDER}/{self.at:%Y%m%dT%H%M%S}.{self.kind}.{self.id}.json"


_EVENT = TypeAdapter(Event)


class Events:
    """The events below a results root, a folder or a URL."""

    def __init__(self, location: Path | str) -> None:
        """Raise ResultsError where `location` is a URL that cannot serve; nothing is reached yet."""
        self._storage = open_storage(location)

    def append(self, *events: Event) -> None:
        """Take events in; raises ResultsError where nothing can be written, or one undoes nothing: then none is."""
        undoes = [event.undoes for event in events if event.undoes is not None]
        kept = {each.id for each in _kept(self.read())} if undoes else set()
        if unknown := [identifier for identifier in undoes if identifier not in kept]:
            raise ResultsError(f"undo={unknown[0]} is no event that counts; `stratbench history events` lists them")
        self._storage.prepare()
        for event in events:
            self._storage.put_if_absent(event.name, _EVENT.dump_json(event, indent=2) + b"\n")

    def read(self) -> tuple[Event, ...]:
        """Every event, the earliest first; raises ResultsError for one that cannot be read: a verdict would change."""
        found = []
        for name, content in self._storage.read_many(self._storage.names(FOLDER, ".json")).items():
            try:
                if isinstance(content, Exception):
                    raise content
                found.append(_EVENT.validate_json(content))
            except (ValidationError, OSError) as error:
                why = error.errors()[0]["msg"] if isinstance(error, ValidationError) else first_line(error)
                raise ResultsError(f"{name} cannot be read ({why}); mend or remove that file") from error
        return tuple(sorted(found, key=lambda event: (event.at, event.id)))


def effective(events: Iterable[Event]) -> tuple[Event, ...]:
    """Of those, what counts: neither undone nor an undoing."""
    return tuple(event for event in _kept(events) if event.kind is not Kind.UNDO)


def _kept(events: Iterable[Event]) -> tuple[Event, ...]:
    """What is not undone; an undoing may be undone as well, by a later one."""
    kept = {event.id: event for event in events}
    for event in sorted(kept.values(), key=lambda event: event.at, reverse=True):
        if event.id in kept and event.undoes is not None:
            kept.pop(event.undoes, None)
    return tuple(kept.values())
