"""One trial's record: its row of the trials table with the epochs and steps inside."""

import dataclasses
from collections.abc import Mapping, Sequence
from datetime import datetime

from tasks.domain.cell import Arm
from tasks.domain.outcome import Phase, Status, TrialFailure, TrialResult
from tasks.results.environment import Environment
from tasks.results.software import Software

Record = dict[str, object]
"""Values by column name, as `schema.record_schema` declares them."""

PHASE_COLUMNS = {phase: f"{phase}_seconds" for phase in Phase} | {Phase.TRAINING: "training_phase_seconds"}
"""Column of each phase; the plain `training_seconds` is the metric, on the slowest worker's clock."""
AS_TOLD = (
    *("message", "is_pinned", "num_parameters", "weights_digest", "max_resident_bytes", "peak_device_memory_bytes"),
    *("reduction_seconds", "slowdown"),
)
"""Columns that are fields of a TrialResult."""


def build_record(
    outcome: TrialResult | TrialFailure,
    *,
    run_name: str,
    environment: Environment,
    python_version: str,
    software: Software | None = None,
    started_at: datetime,
    queue_seconds: float | None,
    hostnames: Sequence[str] | None = None,
    num_retries: int = 0,
    num_attempts: int = 1,
    first_taint: str | None = None,
    usage: Mapping[str, object] | None = None,
) -> Record:
    """The record of a trial that ended, valid or not, or did not end.

    `hostnames` are the machines of its ranks (None: that of `environment`), `usage` columns of what was sampled.
    `software` is that of the other environment, where the trial is one of its; None: it was not asked.
    """
    trial = outcome.trial
    record: Record = {
        **dataclasses.asdict(trial),
        "trial_key": trial.key,
        "num_replicas": trial.num_replicas,
        "per_replica_batch_size": trial.per_replica_batch_size,
        **dataclasses.asdict(environment),
        "run_name": run_name,
        "python_version": python_version,
        "started_at": started_at,
        "queue_seconds": queue_seconds,
        "wall_seconds": outcome.wall_seconds,
        "hostnames": list(hostnames or [environment.hostname]),
        "num_retries": num_retries,
        "num_attempts": num_attempts,
        "first_taint": first_taint,
        **(usage or {}),
    }
    if trial.arm is Arm.OTHER:
        record |= dataclasses.asdict(software or Software())
    if isinstance(outcome, TrialFailure):
        failure = {"reason": outcome.reason, "message": outcome.message, "failed_phase": outcome.phase}
        return record | {"status": Status.FAILED, **failure, "epochs": [], "steps": [], "gradients": []}
    if trial.arm is Arm.OTHER and (told := outcome.versions.get("stratbench")):
        record["stratbench_version"] = told
    return record | _measurements(outcome)


def summarize(record: Record) -> str:
    """What came of the trial, in a few words for logs."""
    if record["status"] != Status.VALID:
        return f"{record['status']}, {record['reason']}: {record['message']}"
    return (
        f"{record['training_seconds']:.2f} s training, {record['examples_per_second']:,.0f} examples/s, "
        f"test accuracy {record['test_accuracy']:.2%}"
    )


def _measurements(result: TrialResult) -> Record:
    seconds = sum(epoch.training_seconds for epoch in result.epochs)
    examples = sum(epoch.num_examples for epoch in result.epochs)
    last = result.epochs[-1] if result.epochs else None
    return {
        "status": Status.INVALID if result.invalid_reason else Status.VALID,
        "reason": result.invalid_reason,
        "training_seconds": seconds if result.epochs else None,
        "examples_per_second": examples / seconds if seconds else None,
        "device_seconds": seconds * result.trial.num_replicas if result.epochs else None,
        "test_accuracy": last.test_accuracy if last else None,
        "test_loss": last.test_loss if last else None,
        "order_checksum": f"{result.order_checksum:016x}",
        **{name: getattr(result, name) for name in AS_TOLD},
        **{PHASE_COLUMNS[Phase(name)]: value for name, value in result.phase_seconds.items()},
        "unexplained_seconds": result.wall_seconds - sum(result.phase_seconds.values()),
        **{f"{name}_version": result.versions[name] for name in ("python", "tensorflow", "keras", "numpy")},
        "epochs": [dataclasses.asdict(epoch) for epoch in result.epochs],
        "steps": [dataclasses.asdict(window) for window in result.windows],
        "gradients": [dataclasses.asdict(probe) for probe in result.gradients],
    }
