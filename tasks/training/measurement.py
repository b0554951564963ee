"""A trial from launch to its record on disk."""

import dataclasses
import platform
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from tasks.domain.cell import Arm
from tasks.domain.dataset import PreparedDataset
from tasks.domain.outcome import FailureReason, TrialFailure, TrialResult
from tasks.domain.trial import Role, Trial
from tasks.results.environment import Environment, describe_environment, find_devices
from tasks.results.record import Record, build_record
from tasks.results.software import ask_software
from tasks.results.store import RunFolder
from tasks.training.cluster import local_ranks
from tasks.training.contamination import Taint, find_taint
from tasks.training.launcher import OnLine, lost_part, run_ranks
from tasks.training.merging import merge_parts
from tasks.training.part import Part, Ranks

Train = Callable[[OnLine], Sequence[Part]]
"""One attempt at a trial: the parts of its machines, the chief's first."""


def measure_trial(
    trial: Trial,
    *,
    run_name: str,
    folder: RunFolder,
    data: PreparedDataset,
    interpreter: str = sys.executable,
    submitted_at: datetime | None = None,
    num_retries: int = 0,
    stop: threading.Event | None = None,
    on_line: OnLine = lambda line: None,
    train: Train | None = None,
) -> Record:
    """Train `trial` and write its record, whatever came of it; returns the record.

    A training that others tainted is thrown away and made once more; the second one is invalid if it is tainted, too.
    `interpreter` runs it on this machine, or `train` does on several. The processes' output goes line by line to
    `on_line` and to the run's logs. Raises TrialStopped, without a record, once `stop` is set.
    """
    train = train or partial(_train_here, trial, data, interpreter, stop)
    started_at = datetime.now(UTC)
    with folder.log(trial.key) as log:

        def keep(line: str) -> None:
            log.write(line + "\n")
            on_line(line)

        first = last = _attempt(trial, train, keep)
        if first.taint:
            keep(f"tainted, measured again: {first.taint.message}")
            last = _attempt(trial, train, keep)
    chief = last.parts[0]
    record = build_record(
        last.judged,
        run_name=run_name,
        environment=describe_environment(),
        python_version=platform.python_version(),
        software=ask_software(interpreter) if trial.arm is Arm.OTHER else None,
        started_at=started_at,
        queue_seconds=_queue_seconds(submitted_at, started_at),
        hostnames=[part.hostname for part in last.parts],
        num_retries=num_retries,
        num_attempts=1 if last is first else 2,
        first_taint=first.taint.message if first.taint else None,
        usage=dataclasses.asdict(chief.usage) if chief.usage else None,
    )
    if not folder.put(record, num_retries) and folder.has_failed(trial.key):
        num_retries = folder.num_records()[trial.key]  # it was given up for lost too early
        folder.put(record | {"num_retries": num_retries}, num_retries)
    return record


def _queue_seconds(submitted_at: datetime | None, started_at: datetime) -> float | None:
    """None where it is not known: no submission, or a clock that was set back meanwhile."""
    seconds = -1.0 if submitted_at is None else (started_at - submitted_at).total_seconds()
    return seconds if seconds >= 0 else None


@dataclass(frozen=True, slots=True)
class _Attempt:
    parts: Sequence[Part]
    outcome: TrialResult | TrialFailure
    taint: Taint | None
    """What others did to it; None for nothing, and for a discarded or broken training, which is not repeated."""

    @property
    def judged(self) -> TrialResult | TrialFailure:
        """The outcome, invalid where it is tainted."""
        if self.taint is None or isinstance(self.outcome, TrialFailure):
            return self.outcome
        return dataclasses.replace(self.outcome, invalid_reason=self.taint.reason, message=self.taint.message)


def _attempt(trial: Trial, train: Train, on_line: OnLine) -> _Attempt:
    parts = train(on_line)
    outcome = merge_parts(trial, parts)
    is_broken = isinstance(outcome, TrialFailure) or outcome.invalid_reason is not None
    taint = None if is_broken or trial.role is Role.DISCARDED else _find_taint(parts)
    return _Attempt(parts, outcome, taint)


def _find_taint(parts: Sequence[Part]) -> Taint | None:
    """The first taint of any machine; of several, its name is said."""
    for part in parts:
        if part.usage and (taint := find_taint(part.usage)):
            return taint if len(parts) == 1 else Taint(taint.reason, f"{part.hostname}: {taint.message}")
    return None


def _train_here(
    trial: Trial, data: PreparedDataset, interpreter: str, stop: threading.Event | None, on_line: OnLine
) -> Sequence[Part]:
    """All ranks on this machine."""
    return [train_part(trial, local_ranks(trial), data, interpreter=interpreter, stop=stop, on_line=on_line)]


def train_part(
    trial: Trial,
    ranks: Ranks,
    data: PreparedDataset,
    *,
    interpreter: str = sys.executable,
    stop: threading.Event | None = None,
    on_line: OnLine = lambda line: None,
) -> Part:
    """As `run_ranks`, on this machine's devices; a part that is lost where the data are not the ones of the plan."""
    if data.digest != trial.dataset_digest:
        message = f"{data.source} has digest {data.digest[:12]} here, the plan has {trial.dataset_digest[:12]}"
        return lost_part(FailureReason.DATA_MISMATCH, message)
    return run_ranks(
        trial,
        ranks,
        devices=find_devices(),
        data_directory=Path(data.directory),
        interpreter=interpreter,
        stop=stop,
        on_line=on_line,
    )


def record_loss(
    trial: Trial,
    *,
    run_name: str,
    folder: RunFolder,
    message: str,
    reason: FailureReason,
    environment: Environment | None = None,
    hostnames: Sequence[str] | None = None,
    num_retries: int = 0,
) -> Record:
    """Write the record of a trial that left none itself; an existing one stays as it is.

    `environment` is that of the machine that should have trained (None: this one), `hostnames` those of all its ranks.
    """
    record = build_record(
        TrialFailure(trial=trial, reason=reason, message=message, phase=None, wall_seconds=0.0),
        run_name=run_name,
        environment=environment or describe_environment(),
        python_version=platform.python_version(),
        started_at=datetime.now(UTC),
        queue_seconds=None,
        hostnames=hostnames,
        num_retries=num_retries,
    )
    folder.put(record, num_retries)
    return record
