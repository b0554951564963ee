"""Folders of results: one folder a run, one file a trial, each written once and whole."""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import ValidationError

from tasks.results import schema
from tasks.results.error import ResultsError
from tasks.results.record import Record
from tasks.results.run import Run, decode_run, encode_run

DESCRIPTION = "run.json"


@dataclass(frozen=True, slots=True)
class Tables:
    """The tables of a run as `schema.TABLES` names them, rows in a fixed order."""

    trials: pa.Table
    epochs: pa.Table
    steps: pa.Table
    gradients: pa.Table


class RunFolder:
    """The results of one run on disk, `runs/<run_name>`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def exists(self) -> bool:
        """Whether a run was begun here."""
        return (self.path / DESCRIPTION).exists()

    def create(self, run: Run) -> None:
        """Begin the run; raises ResultsError where one was begun already or the folder cannot be written."""
        try:
            (self.path / "trials").mkdir(parents=True, exist_ok=True)
            self.logs.mkdir(exist_ok=True)
            is_new = put_if_absent(self.path / DESCRIPTION, encode_run(run))
        except OSError as error:
            raise ResultsError(
                f"the results folder {self.path} cannot be written ({error.strerror}); choose another"
            ) from error
        if not is_new:
            raise ResultsError(f"{self.path} already holds a run; choose another name or folder")

    def describe(self) -> Run:
        """The run's description; raises ResultsError where there is none, or one that this release does not read."""
        path = self.path / DESCRIPTION
        try:
            return decode_run(path.read_bytes(), self.path)
        except FileNotFoundError:
            raise ResultsError(f"{self.path} holds no run ({DESCRIPTION} is missing)") from None
        except ValidationError as error:
            raise ResultsError(f"{path} cannot be read ({_first_line(error)}); measure the run again") from error

    def update(self, run: Run) -> None:
        """Write the run's description anew; the trials stay as they are."""
        replace_file(self.path / DESCRIPTION, encode_run(run))

    @property
    def logs(self) -> Path:
        """Folder of the training processes' output, one file a trial."""
        return self.path / "logs"

    def put(self, record: Record) -> bool:
        """Write one trial's record; False if that trial has one already, which then stays as it is."""
        table = pa.Table.from_pylist([record], schema=schema.record_schema())
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
        return put_if_absent(self.path / "trials" / f"{record['trial_key']}.parquet", sink.getvalue())

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes out of the run; raises ResultsError where one is in it. Ends with the process."""
        with (self.path / ".lock").open("w") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ResultsError(
                    f"another process is measuring into {self.path}; wait for it, or choose another name or folder"
                ) from None
            yield

    def finished_keys(self) -> frozenset[str]:
        """Keys of the trials that have a record."""
        return frozenset(path.stem for path in (self.path / "trials").glob("*.parquet"))

    def read(self) -> Tables:
        """All records as tables; trials by block, then in the order of their start."""
        return _split(pa.concat_tables([_empty(), *self._records()]))

    def _records(self) -> Iterator[pa.Table]:
        for path in sorted((self.path / "trials").glob("*.parquet")):
            try:
                record = _read_table(path, schema.record_schema())
                _split(record)  # a value that must not be null may be, where the damage is outside the checksums
            except (pa.ArrowException, ValueError, KeyError, OSError) as error:
                raise ResultsError(
                    f"{path} cannot be read ({_first_line(error)}); move it out of the run and run that trial again"
                ) from error
            yield record


def write_tables(tables: Tables, folder: Path) -> None:
    """Write the tables into `folder`, the same bytes for the same rows."""
    for name in schema.TABLES:
        sink = pa.BufferOutputStream()
        pq.write_table(getattr(tables, name), sink, compression="zstd", write_page_checksum=True)
        replace_file(folder / f"{name}.parquet", sink.getvalue())


def read_tables(folder: Path) -> Tables:
    """The tables of a report folder; raises ResultsError where one is missing or damaged."""
    parts = []
    for name, columns in schema.TABLES.items():
        try:
            path = folder / f"{name}.parquet"
            parts.append(_read_table(path, schema.arrow_schema(columns)))
        except (pa.ArrowException, ValueError, OSError) as error:
            raise ResultsError(
                f"{folder / name}.parquet cannot be read ({_first_line(error)}); rebuild it from its run"
            ) from error
    return Tables(*parts)


def _read_table(path: Path, declared: pa.Schema) -> pa.Table:
    """The table at `path`; raises ValueError unless it has exactly the declared columns.

    Arrow, told a schema, makes nulls of a column whose name is damaged: names are not under a checksum.
    """
    if not pq.read_schema(path).equals(declared):
        raise ValueError("its columns are not those of the schema")
    return pq.read_table(path, schema=declared, page_checksum_verification=True)


def put_if_absent(path: Path, content: bytes | pa.Buffer) -> bool:
    """Write `path` whole or not at all; False, with nothing changed, if it exists.

    A temporary file is flushed to disk and then linked under its name, which fails if the name is taken.
    """
    temporary = _temporary(path, content)
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        temporary.unlink()
    return True


def replace_file(path: Path, content: bytes | pa.Buffer) -> None:
    """Write `path` whole, replacing what was there."""
    _temporary(path, content).replace(path)


def _temporary(path: Path, content: bytes | pa.Buffer) -> Path:
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
        os.fchmod(file.fileno(), 0o644)
    return Path(file.name)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _empty() -> pa.Table:
    return schema.record_schema().empty_table()


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
