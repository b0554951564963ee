"""History: the trials of all runs that have ended, in one dataset beside the runs, which only ever grows.

One file a run and day, `history/<day>.<run>.<revision>.parquet` below the results root: what a span of days does not
need is not opened. A run that was continued is appended again; its last revision counts, the earlier ones stay.
"""

import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from enum import StrEnum
from itertools import chain, count
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from tasks.domain.cell import Arm
from tasks.domain.outcome import Status
from tasks.domain.refusal import first_line
from tasks.domain.trial import Role
from tasks.results import schema
from tasks.results.error import ResultsError
from tasks.results.run import SYNTHETIC, Run
from tasks.results.storage import LocalStorage, open_storage
from tasks.results.store import Tables, decode, encode

FOLDER, DAMAGED = "history", "history/damaged"
LOG = logging.getLogger("stratbench")

_NIGHT = b"stratbench_night"
"""Where a file's metadata hold the facts of a nightly run, as JSON."""
_NAME = re.compile(rf"{FOLDER}/(\d{{4}}-\d{{2}}-\d{{2}})\.(.+)\.(\d+)\.parquet")


class Ending(StrEnum):
    """How a run ended."""

    ENDED = "ended"
    STOPPED = "stopped"
    """Before its end: it was cancelled, or goes on."""
    CRASHED = "crashed"


@dataclass(frozen=True, order=True, slots=True)
class Entry:
    """One file of the history."""

    day: date
    """The night that the run measured; of a run that is no nightly one, the day in UTC on which it was begun."""
    run_name: str
    revision: int
    """From 0; a run that was continued has more than one."""

    @property
    def name(self) -> str:
        """Of the file, below the results root."""
        return f"{FOLDER}/{self.day}.{self.run_name}.{self.revision}.parquet"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Night:
    """A nightly run, with what it left behind."""

    day: date
    run_name: str
    ending: Ending
    cells: tuple[str, ...]
    """Labels of the cells that it was to measure."""
    has_control: bool
    """Whether against a control."""
    created_at: datetime | None = None
    """When it was begun; null if not known."""
    control: str | None = None
    """Its name, or the folder of another environment; null if not known."""
    trials: pa.Table
    """No row where nothing was measured."""

    @property
    def place(self) -> tuple[date, datetime, str]:
        """Among other nights, by which they are ordered."""
        return self.day, self.created_at or datetime.min.replace(tzinfo=UTC), self.run_name

    @property
    def is_synthetic(self) -> bool:
        """Whether nobody measured it."""
        return self.run_name.startswith(SYNTHETIC)


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """Which trials are asked for."""

    since: date = date.min
    until: date = date.max
    """The last day."""
    values: Mapping[str, str] = field(default_factory=dict)
    """What a column must hold, as text, for example `strategy`: `mirrored`."""


EVERYTHING = Span()


class History:
    """The history below a results root, a folder or a URL."""

    def __init__(self, location: Path | str) -> None:
        """Raise ResultsError where `location` is a URL that cannot serve; nothing is reached yet."""
        self._storage = open_storage(location)

    def append(self, run: Run, tables: Tables, has_crashed: bool = False) -> bool:
        """Take a run's trials in; False if its last revision has the same rows already. Any number may append at once.

        Raises ResultsError where nothing can be written.
        """
        if run.night is None:
            return self._put(run.created_at.astimezone(UTC).date(), run.run_name, tables.trials)
        return self.append_night(night_of(run, tables, has_crashed=has_crashed))

    def append_night(self, night: Night) -> bool:
        """The same for a nightly run, whose facts go into the file's metadata."""
        facts = {name: getattr(night, name) for name in ("ending", "cells", "has_control", "control")}
        facts["created_at"] = night.created_at and night.created_at.isoformat()
        metadata = {**(night.trials.schema.metadata or {}), _NIGHT: json.dumps(facts)}
        return self._put(night.day, night.run_name, night.trials.replace_schema_metadata(metadata))

    def check_keeps(self, run: Run, tables: Tables) -> None:
        """Raise ResultsError where valid trials are kept under that run's name which it does not have."""
        kept = self.read(["trial_key", "started_at", "status"], Span(values={"run_name": run.run_name}))
        valid = kept.filter(pc.field("status") == Status.VALID).drop_columns("status")
        here = tables.trials.select(valid.column_names)
        if lost := valid.join(here, valid.column_names, join_type="left anti").num_rows:
            raise ResultsError(
                f"{run.run_name}: the history keeps {lost} valid trials of that name which are not in it; it is "
                "another run, or has lost records, and is not taken in"
            )

    def _put(self, day: date, run_name: str, trials: pa.Table) -> bool:
        self._storage.prepare()
        content = encode(trials)
        earlier = [entry for entry in self._entries() if entry.run_name == run_name]
        if earlier and self._storage.read(max(earlier, key=lambda entry: entry.revision).name) == content:
            return False
        for revision in count(len(earlier)):
            entry = Entry(day, run_name, revision)
            if self._storage.put_if_absent(entry.name, content):
                return True
            if self._storage.read(entry.name) == content:
                return False
        raise AssertionError

    def entries(self, span: Span = EVERYTHING) -> tuple[Entry, ...]:
        """The last revision of every run begun in that span, the earliest first."""
        last = {entry.run_name: entry for entry in sorted(self._entries(), key=lambda entry: entry.revision)}
        return tuple(sorted(entry for entry in last.values() if span.since <= entry.day <= span.until))

    def read(self, columns: Sequence[str] | None = None, span: Span = EVERYTHING) -> pa.Table:
        """The trials of that span with those columns of the table `trials`, or all; the earliest run first.

        A file that cannot be read is left out and named in a warning. Raises ResultsError for a column that is none.
        """
        chosen = [column.name for column in schema.TRIALS] if columns is None else list(columns)
        needed = list(dict.fromkeys([*chosen, *span.values]))
        if unknown := [name for name in needed if name not in _TRIALS.names]:
            raise ResultsError(f"column={unknown[0]} is none of the table trials; docs/results.md lists them")
        tables = [table for _, table in self._tables(self.entries(span), needed) if isinstance(table, pa.Table)]
        table = pa.concat_tables([_TRIALS.empty_table().select(needed), *tables])
        for name, wanted in span.values.items():
            if pa.types.is_list(table.schema.field(name).type):
                raise ResultsError(f"where={name}={wanted}: {name} holds lists; name a column that holds one value")
            table = table.filter(pc.equal(table[name].cast(pa.string()), wanted))
        return table.select(chosen)

    def nights(self, columns: Sequence[str], until: date = date.max) -> tuple[Night, ...]:
        """The nightly runs up to that night, the earliest first, with those columns of the table `trials`.

        A file that cannot be read is left out and named in a warning.
        """
        tables = self._tables(self.entries(Span(until=until)), columns)
        found = (
            Night(
                day=entry.day,
                run_name=entry.run_name,
                ending=Ending(facts["ending"]),
                cells=tuple(facts["cells"]),
                has_control=facts["has_control"],
                created_at=datetime.fromisoformat(facts["created_at"]) if facts.get("created_at") else None,
                control=facts.get("control"),
                trials=table.replace_schema_metadata(None),
            )
            for entry, table in tables
            if isinstance(table, pa.Table) and (facts := json.loads((table.schema.metadata or {}).get(_NIGHT, "null")))
        )
        return tuple(sorted(found, key=lambda night: night.place))

    def unreadable(self, span: Span) -> list[str]:
        """The files of that span that cannot be read, by name."""
        tables = self._tables(self.entries(span), ["run_name"])
        return [entry.name for entry, table in tables if not isinstance(table, pa.Table)]

    def set_aside(self) -> dict[str, str]:
        """Read every file whole; those that are damaged go into `history/damaged`, and are returned with the reason.

        The run itself is not touched: append it again.
        """
        found = {}
        for entry, table in self._tables(sorted(self._entries()), _TRIALS.names):
            if not isinstance(table, pa.Table):
                found[entry.name] = first_line(table)
                kept, content = f"{DAMAGED}/{entry.name.rpartition('/')[2]}", self._storage.read(entry.name)
                names = chain([kept], (f"{kept}.{number}" for number in count(1)))
                next(name for name in names if self._storage.put_if_absent(name, content))
                self._storage.remove(entry.name)
        return found

    def _entries(self) -> Iterator[Entry]:
        for name in self._storage.names(FOLDER, ".parquet"):
            if match := _NAME.fullmatch(name):
                yield Entry(date.fromisoformat(match[1]), match[2], int(match[3]))

    def _tables(
        self, entries: Sequence[Entry], columns: Sequence[str]
    ) -> Iterator[tuple[Entry, "pa.Table | Exception"]]:
        """Of each entry those columns, with its facts, or why it cannot be read, which a warning says as well."""
        contents = self._storage.read_many([entry.name for entry in entries])
        for entry in entries:
            content = contents[entry.name]
            try:
                if isinstance(content, Exception):
                    raise content
                yield entry, decode(content, _TRIALS, columns)
            except (pa.ArrowException, ValueError, KeyError, OSError) as error:
                LOG.warning("%s cannot be read (%s): left out", entry.name, first_line(error))
                yield entry, error


def night_of(run: Run, tables: Tables, *, has_crashed: bool = False, is_first_look: bool = False) -> Night:
    """The night that a run measures, or of it the first look alone; raises ValueError where the run is none."""
    if run.night is None:
        raise ValueError(f"{run.run_name} is no nightly run")
    trials = tables.trials
    return Night(
        day=run.night,
        run_name=run.run_name,
        ending=Ending.ENDED if run.end else Ending.CRASHED if has_crashed else Ending.STOPPED,
        cells=tuple(cell.label for cell in run.sweep.cells if cell.arm is Arm.HERE),
        has_control=run.sweep.versus is not None,
        created_at=run.created_at,
        control=None if run.sweep.versus is None else _control(Path(run.sweep.versus)),
        trials=trials.filter(pc.field("role") != Role.AGAIN) if is_first_look else trials,
    )


def _control(interpreter: Path) -> str:
    """The name of the control, the folder that holds its `venv`; of another environment its folder."""
    environment = interpreter.parent.parent
    return environment.parent.name if environment.name == "venv" else str(environment)


def stack(nights: Sequence[Night]) -> pa.Table:
    """The trials of nights with the same columns, and in the column `night` the night's number, from 0."""
    numbers = [number for number, night in enumerate(nights) for _ in range(night.trials.num_rows)]
    table = pa.concat_tables([night.trials.replace_schema_metadata(None) for night in nights])
    return table.append_column("night", pa.array(numbers, pa.int64()))


def parse_span(since: str | None, until: str | None, where: Sequence[str]) -> Span:
    """The span that days such as `2026-11-23` and texts such as `strategy=mirrored` name; raises ResultsError."""
    values = dict(text.split("=", 1) for text in where if "=" in text)
    if wrong := [text for text in where if "=" not in text]:
        raise ResultsError(f"where={wrong[0]} must be COLUMN=VALUE, for example strategy=mirrored")
    first, last = parse_day("since", since) or date.min, parse_day("until", until) or date.max
    if first > last:
        raise ResultsError(f"since={first} is after until={last}; swap them")
    return Span(since=first, until=last, values=values)


def parse_day(name: str, text: str | None) -> date | None:
    """The day that a text such as `2026-11-23` names; raises ResultsError, which calls it by that name."""
    try:
        return None if text is None else date.fromisoformat(text)
    except ValueError as error:
        raise ResultsError(f"{name}={text} is no day; write it as 2026-11-23") from error


def describe(history: History, span: Span) -> Iterator[str]:
    """A line for each run with trials in that span, below the columns' names."""
    columns = ["run_name", "status", "hostname", "machine_fingerprint", "tensorflow_version", "commit"]
    table = history.read(columns, span)
    if not table.num_rows:
        yield "no trial of the history is in that span; a benchmark appends its own, `stratbench history add` others"
        return
    runs = table.to_pandas().groupby("run_name", sort=False)
    yield f"{'day':<12}{'run':<34}{'trials':>8}{'valid':>8}  {'machine':<28}{'TensorFlow':<14}commit"
    for entry in history.entries(span):
        if entry.run_name in runs.groups:
            found = runs.get_group(entry.run_name)
            machine, versions, commits = (
                " ".join(sorted({str(value) for value in values.dropna()}))
                for values in (
                    found["hostname"] + "/" + found["machine_fingerprint"].str[:8],
                    found["tensorflow_version"],
                    found["commit"].str[:8],
                )
            )
            num_valid = int((found["status"] == Status.VALID).sum())
            line = f"{entry.day!s:<12}{entry.run_name:<34}{len(found):>8}{num_valid:>8}  {machine:<28}{versions:<14}"
            yield (line + commits).rstrip()


def export(table: pa.Table, path: Path) -> None:
    """Write the rows to a file ending in `.csv` (lists joined by spaces) or `.parquet`; else raises ResultsError."""
    if path.suffix == ".csv":
        sink = pa.BufferOutputStream()
        pyarrow.csv.write_csv(_flat(table), sink)
        content = bytes(sink.getvalue().to_pybytes())
    elif path.suffix == ".parquet":
        content = encode(table)
    else:
        raise ResultsError(f"export={path} must end in .csv or .parquet")
    LocalStorage(path.parent).replace(path.name, content)


_TRIALS = schema.arrow_schema(schema.TRIALS)


def _flat(table: pa.Table) -> pa.Table:
    for place, column in enumerate(table.schema):
        if pa.types.is_list(column.type):
            table = table.set_column(place, column.name, pc.binary_join(table.column(place), " "))
    return table
