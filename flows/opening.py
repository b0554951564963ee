"""The beginning of a run: everything that can be refused, before anything starts."""

import dataclasses
import json
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path

from flows import locations
from tasks.data.exchange import obtain
from tasks.domain.dataset import PreparedDataset
from tasks.domain.device import Devices, DeviceType
from tasks.domain.outcome import Status
from tasks.domain.refusal import Refusal
from tasks.domain.sweep import STOPPING, Sweep
from tasks.domain.trial import Trial
from tasks.results.error import ResultsError
from tasks.results.run import Run, check_run_name
from tasks.results.software import inherited
from tasks.results.storage import open_storage
from tasks.results.store import RunFolder
from tasks.training.request import PROTOCOL_VERSION


@dataclass(frozen=True, slots=True)
class OpenRun:
    """A run whose description is on disk."""

    run: Run
    folder: RunFolder
    data: PreparedDataset
    device: DeviceType
    deadline: float | None
    """Reading of the monotonic clock at which the time budget is used up; null without one."""
    retries: Mapping[str, int] = field(default_factory=dict)
    """Of each trial whose last record was a failure or damaged when the run was continued, by key, which retry its
    next record is."""

    def finished_keys(self) -> frozenset[str]:
        """Keys of the trials that have a record; one that had failed before is not finished until it has another."""
        counts = self.folder.num_records()
        return frozenset(key for key, count in counts.items() if count > self.retries.get(key, 0))


@contextmanager
def open_run(
    sweep: Sweep,
    *,
    run_name: str,
    command: str,
    location: Path | str,
    data: PreparedDataset,
    devices: Devices,
    may_continue: bool,
    night: date | None = None,
) -> Iterator[OpenRun]:
    """Check the sweep against the devices and the data, and begin or continue the run at `location`.

    No other process can measure into it meanwhile. Raises Refusal, in one sentence for the user, before anything is
    written.
    """
    check_run_name(run_name)
    folder = RunFolder(location)
    if folder.exists() and not may_continue:
        raise ResultsError(f"{location} already holds a run; choose another name or folder, or continue it by --resume")
    device = sweep.device or devices.preferred
    sweep.check(devices, data)
    if sweep.versus is not None:
        check_interpreter(sweep.versus)
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
        night=night,
    )
    deadline = None if sweep.budget_minutes is None else time.monotonic() + 60 * sweep.budget_minutes
    with folder.locked():
        if not folder.exists():
            folder.create(run)
            yield OpenRun(run, folder, data, device, deadline)
            return
        continued, counts = _continued(folder, run), folder.num_records()
        trials = folder.read().trials.select(["trial_key", "status"]).to_pylist()
        kept = {row["trial_key"] for row in trials if row["status"] != Status.FAILED}
        retries = {key: count for key, count in counts.items() if key not in kept}
        yield OpenRun(continued, folder, data, device, deadline, retries)


def find_run(run_name: str) -> RunFolder:
    """The results of a run that was begun; raises Refusal where they are not at the results root of this host."""
    check_run_name(run_name)
    folder = RunFolder(locations.run(run_name))
    if not folder.exists():
        raise ResultsError(
            f"{folder.location} holds no run: this host keeps its results elsewhere than its benchmark; set "
            "STRATBENCH_RESULTS_URL to the same URL, or to a folder that both see, on every host"
        )
    return folder


def obtain_data(trial: Trial) -> PreparedDataset:
    """The data of a trial, ready on this host; raises Refusal."""
    return obtain(trial.dataset, trial.dataset_digest, locations.data_cache(), open_storage(locations.results()))


def check_interpreter(path: str) -> None:
    """Raise Refusal unless the Python at `path` has this product with a protocol that can be spoken."""
    code = "from tasks.training.request import PROTOCOL_VERSION as v; print(v)"
    try:
        answer = subprocess.run(
            [path, "-c", code], capture_output=True, text=True, env=inherited(path), cwd="/", timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Refusal(f"versus={path} cannot be run ({error}); name the Python of a virtual environment") from error
    found = answer.stdout.strip()
    if answer.returncode or not found.isdigit():
        raise Refusal(f"versus={path} has no stratbench that can be imported; install it into that environment")
    if int(found) < PROTOCOL_VERSION - 1:
        raise Refusal(
            f"versus={path} speaks protocol {found}, this release {PROTOCOL_VERSION} and the one before; "
            "install a newer release there"
        )


def _continued(folder: RunFolder, wanted: Run) -> Run:
    """The description on disk with the wanted end; raises ResultsError where it is another sweep or other data."""
    found = folder.describe()
    pairs = [(name, getattr(found, name), getattr(wanted, name)) for name in ("device", "dataset_digest")]
    pairs.append(("night", str(found.night), str(wanted.night)))
    pairs += [
        (field.name, getattr(found.sweep, field.name), getattr(wanted.sweep, field.name))
        for field in dataclasses.fields(Sweep)
        if field.name not in STOPPING
    ]
    different = [f"{name} was {json.dumps(old)}, now {json.dumps(new)}" for name, old, new in pairs if old != new]
    if different:
        raise ResultsError(
            f"{folder.location} holds another run: {'; '.join(different)}; choose another name or folder"
        )
    continued = dataclasses.replace(found, sweep=wanted.sweep, command=wanted.command)
    folder.update(continued)
    return continued
