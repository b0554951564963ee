"""The two JSON documents between a trial's parent and its training processes."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter

from tasks.domain.outcome import Training
from tasks.domain.trial import Trial

PROTOCOL_VERSION = 3
"""Both documents carry it; a parent reads its own version and the one before."""

Document = TypeVar("Document", "WorkerRequest", "WorkerOutcome", "WorkerError")


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerRequest:
    """What one training process is asked to do."""

    trial: Trial
    rank: int
    """Number of this worker in the cluster, from 0; 0 is the chief."""
    data_directory: str
    """Folder of the prepared dataset."""
    outcome_directory: str
    """Folder where this process writes its phase and its outcome."""
    cpus: tuple[int, ...]
    """Logical CPUs that the process should be bound to; empty where it is not."""
    parent_pid: int
    """The process that must outlive this one."""
    launched_at: float
    """Reading of the system-wide monotonic clock at launch, in seconds."""
    interpreter: str = sys.executable
    """Python that was asked to run this."""
    protocol_version: int = PROTOCOL_VERSION


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerOutcome(Training):
    """What one training process found, for its own replicas."""

    rank: int
    num_replicas_in_sync: int
    finished_at: float
    """Reading of the monotonic clock when this document was written, in seconds."""
    weights_digests: tuple[str, ...]
    """SHA-256 of the final weights of each replica here."""
    protocol_version: int = PROTOCOL_VERSION


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerError:
    """Why one training process gave up."""

    rank: int
    message: str
    """Type and first line of the exception."""
    raised_at: float | None = None
    """Reading of the monotonic clock when it was caught, in seconds; null from a release that did not tell."""
    protocol_version: int = PROTOCOL_VERSION


def write_document(document: WorkerRequest | WorkerOutcome | WorkerError, path: Path) -> None:
    """Write the document whole or not at all."""
    temporary = path.with_suffix(".partial")
    temporary.write_bytes(TypeAdapter(type(document)).dump_json(document))
    temporary.replace(path)


def read_document(kind: type[Document], path: Path) -> Document | None:
    """The document at `path`; None if there is none. Raises ValueError for an unknown protocol version."""
    if not path.exists():
        return None
    document = TypeAdapter(kind).validate_json(path.read_bytes())
    if not PROTOCOL_VERSION - 1 <= document.protocol_version <= PROTOCOL_VERSION:
        raise ValueError(
            f"{path.name} has protocol_version={document.protocol_version}, this release reads "
            f"{PROTOCOL_VERSION - 1} and {PROTOCOL_VERSION}; install the same release on both sides"
        )
    return document


def outcome_path(directory: Path, rank: int) -> Path:
    """Where rank `rank` writes its WorkerOutcome."""
    return directory / f"outcome-{rank}.json"


def error_path(directory: Path, rank: int) -> Path:
    """Where rank `rank` writes its WorkerError."""
    return directory / f"error-{rank}.json"


def phase_path(directory: Path, rank: int) -> Path:
    """Where rank `rank` keeps the name of its present phase."""
    return directory / f"phase-{rank}"
