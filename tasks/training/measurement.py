"""A trial from launch to its record on disk."""

import dataclasses
import platform
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tasks.domain.dataset import PreparedDataset
from tasks.domain.outcome import FailureReason, TrialFailure, TrialResult
from tasks.domain.trial import Role, Trial
from tasks.results.environment import describe_environment, find_devices
from tasks.results.record import Record, build_record
from tasks.results.store import RunFolder
from tasks.training.contamination import Taint, find_taint
from tasks.training.launcher import run_trial
from tasks.training.sampling import HostUsage


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
    on_line: Callable[[str], None] = lambda line: None,
) -> Record:
    """Train `trial` on this machine and write its record, whatever came of it; returns the record.

    A training that others tainted is thrown away and made once more; the second one is invalid if it is tainted, too.
    `interpreter` runs it. The processes' output goes line by line to `on_line` and to the run's logs. Raises
    TrialStopped, without a record, once `stop` is set.
    """
    started_at = datetime.now(UTC)
    with (folder.logs / f"{trial.key}.log").open("a", buffering=1) as log:

        def keep(line: str) -> None:
            log.write(line + "\n")
            on_line(line)

        first = attempt = _attempt(trial, data, interpreter, keep, stop)
        if first.taint:
            keep(f"tainted, measured again: {first.taint.message}")
            attempt = _attempt(trial, data, interpreter, keep, stop)
    outcome = attempt.outcome
    if attempt.taint and isinstance(outcome, TrialResult):
        outcome = dataclasses.replace(outcome, invalid_reason=attempt.taint.reason, message=attempt.taint.message)
    record = build_record(
        outcome,
        run_name=run_name,
        environment=describe_environment(),
        python_version=platform.python_version(),
        started_at=started_at,
        queue_seconds=_queue_seconds(submitted_at, started_at),
        num_attempts=1 if attempt is first else 2,
        first_taint=first.taint.message if first.taint else None,
        usage=dataclasses.asdict(attempt.usage) if attempt.usage else None,
    )
    if not folder.put(record, num_retries) and folder.has_failed(trial.key):
        folder.put(record, folder.num_records()[trial.key])  # it was given up for lost too early
    return record


def _queue_seconds(submitted_at: datetime | None, started_at: datetime) -> float | None:
    """None where it is not known: no submission, or a clock that was set back meanwhile."""
    seconds = -1.0 if submitted_at is None else (started_at - submitted_at).total_seconds()
    return seconds if seconds >= 0 else None


@dataclass(frozen=True, slots=True)
class _Attempt:
    outcome: TrialResult | TrialFailure
    usage: HostUsage | None
    """None where no process started."""

    @property
    def taint(self) -> Taint | None:
        """What others did to it; None for nothing, and for a discarded or broken training, which is not repeated."""
        if not self.usage or not isinstance(self.outcome, TrialResult) or self.outcome.invalid_reason:
            return None
        return None if self.outcome.trial.role is Role.DISCARDED else find_taint(self.usage)


def record_loss(
    trial: Trial, *, run_name: str, folder: RunFolder, message: str, reason: FailureReason, num_retries: int = 0
) -> Record:
    """Write the record of a trial that left none itself; an existing one stays as it is."""
    record = build_record(
        TrialFailure(trial=trial, reason=reason, message=message, phase=None, wall_seconds=0.0),
        run_name=run_name,
        environment=describe_environment(),
        python_version=platform.python_version(),
        started_at=datetime.now(UTC),
        queue_seconds=None,
    )
    folder.put(record, num_retries)
    return record


def _attempt(
    trial: Trial,
    data: PreparedDataset,
    interpreter: str,
    on_line: Callable[[str], None],
    stop: threading.Event | None,
) -> _Attempt:
    if data.digest != trial.dataset_digest:
        message = f"{data.source} has digest {data.digest[:12]} here, the plan has {trial.dataset_digest[:12]}"
        reason = FailureReason.DATA_MISMATCH
        return _Attempt(
            TrialFailure(trial=trial, reason=reason, message=message, phase=None, wall_seconds=0.0), usage=None
        )
    usages: list[HostUsage] = []
    outcome = run_trial(
        trial,
        devices=find_devices(),
        data_directory=Path(data.directory),
        interpreter=interpreter,
        on_line=on_line,
        on_usage=usages.append,
        stop=stop,
    )
    return _Attempt(outcome, usages[0] if usages else None)
