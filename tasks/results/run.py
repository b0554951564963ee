"""A run's description: the sweep, the data and the command behind its trials."""

import dataclasses
import re
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

from pydantic import TypeAdapter

from tasks.domain.device import DeviceType
from tasks.domain.refusal import Refusal
from tasks.domain.sweep import Sweep
from tasks.results import schema
from tasks.results.error import ResultsError

RESERVED = ("data", "history")
"""Folders of the results root that hold no run."""
SYNTHETIC = "synthetic-"
"""What the names of nights begin with that nobody measured; no run can have such a name."""
NAME_RULE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True, kw_only=True, slots=True)
class End:
    """How a run came to its end."""

    reason: str
    """Why no other block was begun."""
    num_blocks: int
    """Blocks that were trained."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """Everything that a report needs beside the tables."""

    run_name: str
    command: str
    """The command that measures the same again."""
    created_at: datetime
    sweep: Sweep
    device: DeviceType
    """What one replica trained on (the sweep may have left it to the machine)."""
    dataset_digest: str
    num_train_examples: int
    num_test_examples: int
    num_classes: int
    night: date | None = None
    """The night that it measures, to be judged against those before; null: it is no nightly run."""
    end: End | None = None
    """Null while the run goes on, or where it was interrupted."""
    schema_version: int = schema.VERSION


def check_run_name(run_name: str) -> None:
    """Raise Refusal unless `run_name` is fit to name a folder of the results root."""
    if not NAME_RULE.fullmatch(run_name):
        raise Refusal(
            f"run_name={run_name!r} must be 1 to 100 letters, digits, dots, dashes and underscores, "
            "beginning with a letter or digit"
        )
    if run_name in RESERVED:
        raise Refusal(f"run_name={run_name} is the name of a folder beside the runs; choose another")
    if run_name.startswith(SYNTHETIC):
        raise Refusal(f"run_name={run_name} begins as those of synthetic nights do; choose another")


def encode_run(run: Run) -> bytes:
    """The description as indented JSON."""
    return TypeAdapter(Run).dump_json(run, indent=2) + b"\n"


def decode_run(text: bytes, folder: Path | str) -> Run:
    """The description in `text`, which is kept in `folder`; raises pydantic.ValidationError where it is damaged.

    Raises ResultsError where the folder's tables are of another schema version.
    """
    version = TypeAdapter(_Version).validate_json(text).schema_version
    if version not in schema.READABLE:
        raise ResultsError(
            f"{folder} has schema_version={version}, this release reads {' and '.join(map(str, schema.READABLE))}; "
            "measure it again, or read it with the release that wrote it"
        )
    return dataclasses.replace(TypeAdapter(Run).validate_json(text), schema_version=schema.VERSION)


@dataclass(frozen=True, slots=True)
class _Version:
    """What every version of a description says."""

    schema_version: int
