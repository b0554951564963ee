"""The beginning of a run: everything that can be refused, before anything starts."""

import dataclasses
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tasks.data.preparation import examine
from tasks.domain.dataset import PreparedDataset
from tasks.domain.device import DeviceType
from tasks.domain.sweep import Sweep
from tasks.planning.planner import plan_block
from tasks.results.environment import find_devices
from tasks.results.error import ResultsError
from tasks.results.run import Run, check_run_name
from tasks.results.store import RunFolder


@dataclass(frozen=True, slots=True)
class OpenRun:
    """A run whose description is on disk."""

    run: Run
    folder: RunFolder
    data: PreparedDataset
    device: DeviceType


def open_run(sweep: Sweep, *, run_name: str, command: str, path: Path, cache: Path, may_continue: bool) -> OpenRun:
    """Check the sweep against this machine and its data, and begin or continue the run in the folder `path`.

    Raises Refusal, in one sentence for the user, before anything is written.
    """
    check_run_name(run_name)
    folder = RunFolder(path)
    if folder.exists() and not may_continue:
        raise ResultsError(f"{path} already holds a run; choose another name or folder, or continue it by --resume")
    devices, data = find_devices(), examine(sweep.dataset, cache)
    device = sweep.device or devices.preferred
    sweep.check(devices, data)
    run = Run(
        run_name=run_name,
        command=command,
        created_at=datetime.now(UTC),
        sweep=sweep,
        device=device,
        dataset_digest=data.digest,
        num_train_examples=sweep.examples_of(data),
        num_test_examples=data.num_test_examples,
        num_classes=data.num_classes,
        num_planned_trials=sum(len(plan_block(sweep, device, data, b + 1)) for b in range(sweep.num_blocks)),
    )
    if folder.exists():
        run = _continued(folder, run)
    else:
        folder.create(run)
    return OpenRun(run, folder, data, device)


def _continued(folder: RunFolder, wanted: Run) -> Run:
    """The description on disk; raises ResultsError where it is another sweep or other data."""
    found = folder.describe()
    pairs = [(name, getattr(found, name), getattr(wanted, name)) for name in ("device", "dataset_digest")]
    pairs += [
        (field.name, getattr(found.sweep, field.name), getattr(wanted.sweep, field.name))
        for field in dataclasses.fields(Sweep)
    ]
    different = [f"{name} was {json.dumps(old)}, now {json.dumps(new)}" for name, old, new in pairs if old != new]
    if different:
        raise ResultsError(f"{folder.path} holds another run: {'; '.join(different)}; choose another name or folder")
    return found
