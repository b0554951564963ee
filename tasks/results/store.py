"""Results of runs: one folder a run, one file a trial, each written once and whole."""

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TextIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import ValidationError

from tasks.domain.outcome import Status
from tasks.domain.refusal import first_line
from tasks.results import schema
from tasks.results.error import ResultsError
from tasks.results.record import Record
from tasks.results.run import Run, decode_run, encode_run
from tasks.results.storage import LocalStorage, open_storage

DESCRIPTION = "run.json"
LOG = logging.getLogger("stratbench")


@dataclass(frozen=True, slots=True)
class Tables:
    """The tables of a run as `schema.TABLES` names them, rows in a fixed order."""

    trials: pa.Table
    epochs: pa.Table
    steps: pa.Table
    gradients: pa.Table

    def with_trials(self, columns: Mapping[str, Sequence[object]]) -> "Tables":
        """The same with other values in those columns of `trials`, in the order of its rows; None or NaN is null."""
        return replace(self, trials=schema.with_columns(self.trials, columns))


class RunFolder:
    """The results of one run, `<results root>/<run name>`, in a folder or in an object store."""

    def __init__(self, location: Path | str) -> None:
        """Raise ResultsError where `location` is a URL that cannot serve; nothing is reached yet."""
        self.storage = open_storage(location)

    @property
    def location(self) -> Path | str:
        """The folder, or the URL."""
        return self.storage.location

    def exists(self) -> bool:
        """Whether a run was begun here."""
        return self.storage.exists(DESCRIPTION)

    def create(self, run: Run) -> None:
        """Begin the run; raises ResultsError where one was begun already or nothing can be written."""
        self.storage.prepare()
        if not self.storage.put_if_absent(DESCRIPTION, encode_run(run)):
            raise ResultsError(f"{self.location} already holds a run; choose another name or folder")

    def describe(self) -> Run:
        """The run's description; raises ResultsError where there is none, or one that this release does not read."""
        try:
            return decode_run(self.storage.read(DESCRIPTION), self.location)
        except FileNotFoundError:
            raise ResultsError(f"{self.location} holds no run ({DESCRIPTION} is missing)") from None
        except ValidationError as error:
            raise ResultsError(
                f"{self.location}/{DESCRIPTION} cannot be read ({first_line(error)}); measure the run again"
            ) from error

    def update(self, run: Run) -> None:
        """Write the run's description anew; the trials stay as they are."""
        self.storage.replace(DESCRIPTION, encode_run(run))

    def log(self, key: str) -> AbstractContextManager[TextIO]:
        """A stream of lines for the log of that trial's processes, `logs/<key>.log`; an earlier attempt's stay."""
        return self.storage.appended(f"logs/{key}.log")

    def put(self, record: Record, num_retries: int = 0) -> bool:
        """Write one trial's record; False if that trial has one already, which then stays as it is.

        A trial that failed may be run again: its next record, `num_retries` counts them, stands beside the earlier one.
        """
        table = pa.Table.from_pylist([record], schema=schema.record_schema())
        return self.storage.put_if_absent(_record_name(str(record["trial_key"]), num_retries), encode(table))

    def has(self, key: str, num_retries: int = 0) -> bool:
        """Whether that trial has that record."""
        return self.storage.exists(_record_name(key, num_retries))

    def has_failed(self, key: str) -> bool:
        """Whether the last record of that trial, which has one, is a failure; not if it cannot be read."""
        with suppress(pa.ArrowException, OSError):
            content = self.storage.read(_record_name(key, self.num_records()[key] - 1))
            statuses = pq.read_table(pa.BufferReader(content), columns=["status"]).column("status").to_pylist()
            return bool(statuses == [Status.FAILED])
        return False

    def locked(self) -> AbstractContextManager[None]:
        """Keep other processes out of the run; raises ResultsError where one is in it. Ends with the process.

        An object store has no lock: there the server's limit on benchmarks keeps them apart, and whoever comes second
        with a record finds it put.
        """
        return self.storage.locked()

    def num_records(self) -> Counter[str]:
        """Of each trial, by key: more than one where it failed and was run again."""
        return Counter(name.rpartition("/")[2].partition(".")[0] for name in self.storage.names("trials", ".parquet"))

    def read(self) -> Tables:
        """The last record of every trial, as tables; trials by block, then in the order of their start.

        One that cannot be read is left out, so that its trial counts as missing, and named in a warning.
        """
        return _split(pa.concat_tables([schema.record_schema().empty_table(), *self._records()]))

    def _records(self) -> Iterator[pa.Table]:
        names = [_record_name(key, count - 1) for key, count in sorted(self.num_records().items())]
        for name, content in self.storage.read_many(names).items():
            try:
                if isinstance(content, Exception):
                    raise content
                record = decode(content, schema.record_schema())
                _split(record)  # a value that must not be null may be, where the damage is outside the checksums
            except (pa.ArrowException, ValueError, KeyError, OSError) as error:
                LOG.warning(
                    "%s/%s cannot be read (%s): left out; continue the run to measure it",
                    self.location,
                    name,
                    first_line(error),
                )
            else:
                yield record


def write_tables(tables: Tables, folder: Path) -> None:
    """Write the tables into `folder`, the same bytes for the same rows."""
    for name in schema.TABLES:
        LocalStorage(folder).replace(f"{name}.parquet", encode(getattr(tables, name)))


def read_tables(folder: Path) -> Tables:
    """The tables of a report folder; raises ResultsError where one is missing or damaged."""
    parts = []
    for name, columns in schema.TABLES.items():
        try:
            parts.append(decode((folder / f"{name}.parquet").read_bytes(), schema.arrow_schema(columns)))
        except (pa.ArrowException, ValueError, OSError) as error:
            raise ResultsError(
                f"{folder / name}.parquet cannot be read ({first_line(error)}); rebuild it from its run"
            ) from error
    return Tables(*parts)


def _record_name(key: str, num_retries: int) -> str:
    return f"trials/{key}.{num_retries}.parquet" if num_retries else f"trials/{key}.parquet"


def encode(table: pa.Table) -> bytes:
    """The table as a Parquet file, the same bytes for the same rows."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
    return bytes(sink.getvalue().to_pybytes())


def decode(content: bytes, declared: pa.Schema, columns: Sequence[str] | None = None) -> pa.Table:
    """The table in the Parquet file `content`, or those columns of it; raises ValueError where it has not the declared.

    The schema is not told to Arrow: it would make nulls of a column whose name is damaged, and names are not under a
    checksum. Of columns that are asked for by name the file's own metadata come along.
    """
    file = pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True)
    found = file.schema_arrow
    if columns is None or not found.equals(declared):
        whole = schema.upgrade(file.read(), declared).cast(declared)  # the reader adds metadata of its own
        return whole if columns is None else whole.select(columns).replace_schema_metadata(found.metadata)
    wanted = pa.schema([declared.field(name) for name in columns], found.metadata)
    return file.read(columns, use_threads=False).cast(wanted)  # threads cost a small file more than they save


def _split(records: pa.Table) -> Tables:
    order = pc.sort_indices(records, sort_keys=[(name, "ascending") for name in ("block", "started_at", "trial_key")])
    records = records.take(order)
    trials = records.select([column.name for column in schema.TRIALS]).cast(schema.arrow_schema(schema.TRIALS))
    others = [(name, columns) for name, columns in schema.TABLES.items() if name != "trials"]
    return Tables(trials, *(_flatten(records, name, columns) for name, columns in others))


def _flatten(records: pa.Table, name: str, columns: tuple[schema.Column, ...]) -> pa.Table:
    """Rows of a list column, each beside the key of its trial."""
    lists = records.column(name).combine_chunks()
    keys = records.column("trial_key").take(pc.list_parent_indices(lists))
    values = pc.list_flatten(lists)
    arrays = [keys if c.name == "trial_key" else pc.struct_field(values, [c.name]) for c in columns]
    return pa.table(arrays, names=[c.name for c in columns]).cast(schema.arrow_schema(columns))
