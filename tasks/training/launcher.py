"""Runs one trial in processes of its own, and ends them all whatever happens."""

import fcntl
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from tasks.domain.device import Devices, DeviceType
from tasks.domain.outcome import FailureReason, Phase, TrialFailure, TrialResult
from tasks.domain.refusal import Refusal
from tasks.domain.trial import Trial
from tasks.training import request as protocol
from tasks.training.cluster import WorkerPlace, place_workers, visible_gpu_ids
from tasks.training.merging import merge_outcomes
from tasks.training.processes import WORKER, launch
from tasks.training.sampling import HostReader, HostSampler, HostUsage

OnLine = Callable[[str], None]
"""Called with each line of output, from another thread."""

DRAIN_SECONDS = 5.0
"""Patience for the last lines of output after a process has ended."""
FOLDER, OWNER = "stratbench-trial-", "owner"
"""Beginning of the name of a trial's temporary folder; a file in it that is locked as long as its launcher lives."""
FOLLOW_SECONDS = 3.0
"""Patience, after a rank has ended badly, for one that was lost before it but takes longer to end."""


STOP_SECONDS = 1.0
"""How often it is asked whether to stop."""


class TrialStopped(Exception):  # noqa: N818
    """Somebody stopped the trial; its processes have ended, and it has no outcome."""


@dataclass(frozen=True, slots=True)
class Exit:
    """The end of one worker's process."""

    rank: int
    code: int
    """As `subprocess` has it: negative for a signal."""
    at: float
    """Reading of the monotonic clock."""


def run_trial(
    trial: Trial,
    *,
    devices: Devices,
    data_directory: Path,
    interpreter: str = sys.executable,
    on_line: OnLine = lambda line: None,
    on_usage: Callable[[HostUsage], None] | None = None,
    stop: threading.Event | None = None,
    module: str = WORKER,
) -> TrialResult | TrialFailure:
    """Train `trial` in fresh processes and return what came of it; never raises for a training that went wrong.

    `on_usage` is told, before this returns, what was taken of the machine meanwhile; nothing is sampled without it.
    `module` is the program that each process runs. Raises TrialStopped within a second after `stop` is set. The
    processes are dead when this returns or raises.
    """
    stop = stop or threading.Event()
    try:
        places = place_workers(trial, devices)
    except Refusal as error:
        return TrialFailure(
            trial=trial, reason=FailureReason.DEVICES_MISSING, message=str(error), phase=None, wall_seconds=0.0
        )
    with _folder() as directory:
        launched_at = time.monotonic()
        exits: queue.SimpleQueue[Exit] = queue.SimpleQueue()
        processes: list[subprocess.Popen[str]] = []
        sampler: HostSampler | None = None
        pumps: list[threading.Thread] = []
        try:
            for place in places:
                request = directory / f"request-{place.rank}.json"
                document = _request(trial, place, data_directory, directory, launched_at, interpreter)
                protocol.write_document(document, request)
                process = launch(request, place, interpreter, module)
                processes.append(process)
                pumps.append(_start(_pump, process, place.rank if len(places) > 1 else None, on_line))
                _start(_report_exit, process, place.rank, exits)
            if on_usage:
                sampler = _watch(trial, devices, directory, [process.pid for process in processes], places)
            failure = _await_exits(trial, directory, exits, processes, launched_at, stop)
        finally:
            _end(processes)
            ended_at = time.monotonic()
            usage = sampler.stop() if sampler else None
        if on_usage and usage:
            on_usage(usage)
        for pump in pumps:
            pump.join(DRAIN_SECONDS)
        if failure:
            return failure
        return _read_result(trial, directory, ended_at - launched_at, ended_at)


@contextmanager
def _folder() -> Iterator[Path]:
    """A folder for one trial; those that killed launchers have left go first."""
    for left in Path(tempfile.gettempdir()).glob(f"{FOLDER}*"):
        with suppress(OSError), (left / OWNER).open() as owner:
            fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=FOLDER) as folder, (Path(folder) / OWNER).open("w") as owner:
        fcntl.flock(owner, fcntl.LOCK_EX)
        yield Path(folder)


def _request(
    trial: Trial, place: WorkerPlace, data_directory: Path, directory: Path, launched_at: float, interpreter: str
) -> protocol.WorkerRequest:
    return protocol.WorkerRequest(
        trial=trial,
        rank=place.rank,
        data_directory=str(data_directory),
        outcome_directory=str(directory),
        cpus=place.cpus,
        parent_pid=os.getpid(),
        launched_at=launched_at,
        interpreter=interpreter,
    )


def _watch(
    trial: Trial, devices: Devices, directory: Path, pids: Sequence[int], places: Sequence[WorkerPlace]
) -> HostSampler:
    """A sampler of the trial's processes, which has begun."""
    on_gpu = trial.device is DeviceType.GPU
    reader = HostReader(
        pids=pids,
        cpus=tuple(cpu for place in places for cpu in place.cpus),
        gpus=visible_gpu_ids(len(devices.gpus))[: trial.num_replicas] if on_gpu else (),
        is_training=lambda: _phase(directory, 0) == Phase.TRAINING,
    )
    num_cores = len(devices.cores) if on_gpu else (trial.cores_per_replica or 1) * trial.num_replicas
    sampler = HostSampler(reader, num_cores=num_cores, num_allowed_cores=len(devices.cores))
    sampler.start()
    return sampler


def _await_exits(
    trial: Trial,
    directory: Path,
    exits: "queue.SimpleQueue[Exit]",
    processes: Sequence[subprocess.Popen[str]],
    launched_at: float,
    stop: threading.Event,
) -> TrialFailure | None:
    """Sleep until all workers have ended well (None), one has ended badly, or the deadline has passed."""
    deadline = launched_at + trial.timeout_seconds
    running = set(range(len(processes)))
    while running:
        try:
            ended = exits.get(timeout=min(STOP_SECONDS, max(0.0, deadline - time.monotonic())))
        except queue.Empty:
            if stop.is_set():
                raise TrialStopped from None
            if time.monotonic() < deadline:
                continue
            return _overdue(trial, directory, running, _stopped(processes, running), launched_at)
        running.discard(ended.rank)
        if ended.code:
            if stopped := _stopped(processes, running):
                return _overdue(trial, directory, running, stopped, launched_at)
            return _bad_exit(trial, directory, _first_lost(ended, exits, len(running), directory), launched_at)
    return None


def _overdue(
    trial: Trial, directory: Path, running: Iterable[int], stopped: Collection[int], launched_at: float
) -> TrialFailure:
    """The failure of ranks that do not end: the one to blame was stopped, or else is the furthest behind."""
    phases = {rank: _phase(directory, rank) for rank in sorted(running)}
    lost = min(phases, key=lambda rank: (rank not in stopped, list(Phase).index(Phase(phases[rank]))))
    if stopped:
        reason, message = FailureReason.WORKER_STOPPED, f"rank {lost} was stopped in phase {phases[lost]}"
    else:
        reason = FailureReason.TIMEOUT
        ranks = ", ".join(f"rank {rank} in phase {phase}" for rank, phase in phases.items())
        message = f"the deadline of {trial.timeout_seconds:g} s passed with {ranks}"
    return _failure(trial, reason, message, directory, lost, launched_at)


def _stopped(processes: Sequence[subprocess.Popen[str]], running: Iterable[int]) -> list[int]:
    """The ranks whose processes are held by SIGSTOP or a debugger: TensorFlow's others give up after 8 s or never."""
    held = (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP)
    found = []
    for rank in running:
        with suppress(psutil.Error):
            if psutil.Process(processes[rank].pid).status() in held:
                found.append(rank)
    return found


def _first_lost(ended: Exit, exits: "queue.SimpleQueue[Exit]", num_running: int, directory: Path) -> Exit:
    """Of the ranks that end badly within a short while, the one that was lost first: the others' errors follow."""
    bad, deadline = [ended], time.monotonic() + FOLLOW_SECONDS
    with suppress(queue.Empty):
        for _ in range(num_running):
            bad.append(exits.get(timeout=max(0.0, deadline - time.monotonic())))

    def lost_at(end: Exit) -> float:
        error = protocol.read_document(protocol.WorkerError, protocol.error_path(directory, end.rank))
        return end.at if error is None or error.raised_at is None else error.raised_at

    return min((end for end in bad if end.code), key=lost_at)


def _bad_exit(trial: Trial, directory: Path, ended: Exit, launched_at: float) -> TrialFailure:
    phase = _phase(directory, ended.rank)
    if ended.code < 0:
        with suppress(ValueError):
            name = signal.Signals(-ended.code).name
            message = f"rank {ended.rank} was ended by {name} in phase {phase}"
            return _failure(trial, FailureReason.WORKER_KILLED, message, directory, ended.rank, launched_at)
    error = protocol.read_document(protocol.WorkerError, protocol.error_path(directory, ended.rank))
    cause = error.message if error else f"exit code {ended.code}"
    message = f"rank {ended.rank} ended in phase {phase} with {cause}"
    return _failure(trial, FailureReason.WORKER_ERROR, message, directory, ended.rank, launched_at)


def _failure(
    trial: Trial, reason: FailureReason, message: str, directory: Path, rank: int, launched_at: float
) -> TrialFailure:
    wall_seconds = time.monotonic() - launched_at
    phase = _phase(directory, rank)
    return TrialFailure(trial=trial, reason=reason, message=message, phase=phase, wall_seconds=wall_seconds)


def _phase(directory: Path, rank: int) -> str:
    path = protocol.phase_path(directory, rank)
    return path.read_text() if path.exists() else "process_start"


def _read_result(trial: Trial, directory: Path, wall_seconds: float, ended_at: float) -> TrialResult | TrialFailure:
    outcomes = []
    for rank in range(trial.num_workers):
        outcome = protocol.read_document(protocol.WorkerOutcome, protocol.outcome_path(directory, rank))
        if outcome is None:
            message = f"rank {rank} ended without an error and without an outcome"
            reason = FailureReason.WORKER_ERROR
            phase = _phase(directory, rank)
            return TrialFailure(trial=trial, reason=reason, message=message, phase=phase, wall_seconds=wall_seconds)
        outcomes.append(outcome)
    return merge_outcomes(trial, outcomes, wall_seconds, ended_at)


def _end(processes: Sequence[subprocess.Popen[str]]) -> None:
    """Kill what is left of every worker's process group, and reap it."""
    for process in processes:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    for process in processes:
        process.wait()


def _start(target: Callable[..., None], *arguments: object) -> threading.Thread:
    thread = threading.Thread(target=target, args=arguments, daemon=True)
    thread.start()
    return thread


def _pump(process: subprocess.Popen[str], rank: int | None, on_line: OnLine) -> None:
    assert process.stdout is not None
    prefix = "" if rank is None else f"[rank {rank}] "
    with process.stdout:
        for line in process.stdout:
            on_line(prefix + line.rstrip())


def _report_exit(process: subprocess.Popen[str], rank: int, exits: "queue.SimpleQueue[Exit]") -> None:
    exits.put(Exit(rank, process.wait(), time.monotonic()))
