"""Folders of results: one folder a run, one file a trial, each written once and whole."""

import fcntl
import logging
import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import ValidationError

from tasks.domain.outcome import Status
from tasks.results import schema
from tasks.results.error import ResultsError
from tasks.results.record import Record
from tasks.results.run import Run, decode_run, encode_run

DESCRIPTION = "run.json"
LOG = logging.getLogger("stratbench")


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
            raise _unwritable(self.path, error) from error
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

    def put(self, record: Record, num_retries: int = 0) -> bool:
        """Write one trial's record; False if that trial has one already, which then stays as it is.

        A trial that failed may be run again: its next record, `num_retries` counts them, stands beside the earlier one.
        """
        table = pa.Table.from_pylist([record], schema=schema.record_schema())
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
        try:
            return put_if_absent(self._record_path(str(record["trial_key"]), num_retries), sink.getvalue())
        except OSError as error:
            raise _unwritable(self.path, error) from error

    def has(self, key: str, num_retries: int = 0) -> bool:
        """Whether that trial has that record."""
        return self._record_path(key, num_retries).exists()

    def has_failed(self, key: str) -> bool:
        """Whether the last record of that trial, which has one, is a failure; not if it cannot be read."""
        with suppress(pa.ArrowException, OSError):
            path = self._record_path(key, self.num_records()[key] - 1)
            return bool(pq.read_table(path, columns=["status"]).column("status").to_pylist() == [Status.FAILED])
        return False

    def _record_path(self, key: str, num_retries: int) -> Path:
        return self.path / "trials" / (f"{key}.{num_retries}.parquet" if num_retries else f"{key}.parquet")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes out of the run; raises ResultsError where one is in it. Ends with the process."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            handle = (self.path / ".lock").open("w")
        except OSError as error:
            raise _unwritable(self.path, error) from error
        with handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ResultsError(
                    f"another process is measuring into {self.path}; wait for it, or choose another name or folder"
                ) from None
            yield

    def num_records(self) -> Counter[str]:
        """Of each trial, by key: more than one where it failed and was run again."""
        return Counter(path.name.partition(".")[0] for path in (self.path / "trials").glob("*.parquet"))

    def read(self) -> Tables:
        """The last record of every trial, as tables; trials by block, then in the order of their start.

        One that cannot be read is left out, so that its trial counts as missing, and named in a warning.
        """
        return _split(pa.concat_tables([_empty(), *self._records()]))

    def _records(self) -> Iterator[pa.Table]:
        for path in (self._record_path(key, count - 1) for key, count in sorted(self.num_records().items())):
            try:
                record = _read_table(path, schema.record_schema())
                _split(record)  # a value that must not be null may be, where the damage is outside the checksums
            except (pa.ArrowException, ValueError, KeyError, OSError) as error:
                LOG.warning(
                    "%s cannot be read (%s): left out; continue the run to measure it", path, _first_line(error)
                )
            else:
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
        try:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            os.fchmod(file.fileno(), 0o644)
        except BaseException:
            Path(file.name).unlink()
            raise
    return Path(file.name)


def _unwritable(path: Path, error: OSError) -> ResultsError:
    return ResultsError(
        f"the results folder {path} cannot be written ({error.strerror}); mend that and continue the run, or choose "
        "another"
    )


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
