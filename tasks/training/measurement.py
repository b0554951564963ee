"""A trial from launch to its record on disk."""

import platform
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from tasks.domain.dataset import PreparedDataset
from tasks.domain.outcome import FailureReason, TrialFailure, TrialResult
from tasks.domain.trial import Trial
from tasks.results.environment import describe_environment, find_devices
from tasks.results.record import Record, build_record
from tasks.results.store import RunFolder
from tasks.training.launcher import run_trial


def measure_trial(
    trial: Trial,
    *,
    run_name: str,
    folder: RunFolder,
    data: PreparedDataset,
    submitted_at: datetime | None = None,
    on_line: Callable[[str], None] = lambda line: None,
) -> Record:
    """Train `trial` on this machine and write its record, whatever came of it; returns the record.

    The processes' output goes line by line to `on_line` and to the run's logs.
    """
    started_at = datetime.now(UTC)
    with (folder.logs / f"{trial.key}.log").open("a", buffering=1) as log:

        def keep(line: str) -> None:
            log.write(line + "\n")
            on_line(line)

        outcome = _run(trial, data, keep)
    record = build_record(
        outcome,
        run_name=run_name,
        environment=describe_environment(),
        python_version=platform.python_version(),
        started_at=started_at,
        queue_seconds=None if submitted_at is None else (started_at - submitted_at).total_seconds(),
    )
    folder.put(record)
    return record


def record_loss(trial: Trial, *, run_name: str, folder: RunFolder, message: str, reason: FailureReason) -> Record:
    """Write the record of a trial that left none itself; an existing one stays as it is."""
    record = build_record(
        TrialFailure(trial=trial, reason=reason, message=message, phase=None, wall_seconds=0.0),
        run_name=run_name,
        environment=describe_environment(),
        python_version=platform.python_version(),
        started_at=datetime.now(UTC),
        queue_seconds=None,
    )
    folder.put(record)
    return record


def _run(trial: Trial, data: PreparedDataset, on_line: Callable[[str], None]) -> TrialResult | TrialFailure:
    if data.digest != trial.dataset_digest:
        return TrialFailure(
            trial=trial,
            reason=FailureReason.DATA_MISMATCH,
            message=f"{data.source} has digest {data.digest[:12]} here, the plan has {trial.dataset_digest[:12]}",
            phase=None,
            wall_seconds=0.0,
        )
    return run_trial(trial, devices=find_devices(), data_directory=Path(data.directory), on_line=on_line)
