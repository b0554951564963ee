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
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from tasks.domain.device import Devices, DeviceType
from tasks.domain.outcome import FailureReason, Phase, TrialFailure, TrialResult
from tasks.domain.refusal import Refusal
from tasks.domain.trial import Trial
from tasks.results.environment import hostname
from tasks.training import request as protocol
from tasks.training.cluster import WorkerPlace, local_ranks, place_workers, visible_gpu_ids
from tasks.training.merging import merge_parts
from tasks.training.part import Loss, Part, Ranks
from tasks.training.processes import WORKER, launch
from tasks.training.sampling import HostReader, HostSampler

OnLine = Callable[[str], None]
"""Called with each line of output, from another thread."""

DRAIN_SECONDS = 5.0
"""Patience for the last lines of output after a process has ended."""
FOLDER, OWNER = "stratbench-trial-", "owner"
"""Beginning of the name of a trial's temporary folder; a file in it that is locked as long as its launcher lives."""
FOLLOW_SECONDS = 3.0
"""Patience, after a rank has ended badly, for one that was lost before it but takes longer to end."""
KILLED = (-signal.SIGKILL, -signal.SIGTERM)
"""Exit codes of processes that somebody else ended: no error of TensorFlow's ends so."""
STOP_SECONDS = 1.0
"""How often it is asked whether to stop."""


class TrialStopped(Exception):  # noqa: N818
    """Somebody stopped the trial; its processes have ended, and it has no outcome."""

    def __init__(self, part: Part | None = None) -> None:
        """`part` is as far as it came."""
        super().__init__("the trial was stopped")
        self.part = part


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
    on_line: OnLine = lambda line: None,
    module: str = WORKER,
) -> TrialResult | TrialFailure:
    """What comes of `trial`, whose ranks all train on this machine, unsampled; otherwise as `run_ranks`."""
    part = run_ranks(
        trial,
        local_ranks(trial),
        devices=devices,
        data_directory=data_directory,
        on_line=on_line,
        is_sampled=False,
        module=module,
    )
    return merge_parts(trial, [part])


def run_ranks(
    trial: Trial,
    ranks: Ranks,
    *,
    devices: Devices,
    data_directory: Path,
    interpreter: str = sys.executable,
    on_line: OnLine = lambda line: None,
    is_sampled: bool = True,
    stop: threading.Event | None = None,
    module: str = WORKER,
) -> Part:
    """Train these ranks of `trial` in fresh processes on this machine; never raises for a training that went wrong.

    `module` is the program that each process runs. Raises TrialStopped within a second after `stop` is set; it knows
    the part as far as it came. The processes are dead when this returns or raises.
    """
    stop = stop or threading.Event()
    try:
        places = place_workers(trial, devices, ranks)
    except Refusal as error:
        return lost_part(FailureReason.DEVICES_MISSING, str(error))
    with _folder() as directory:
        launched_at = time.monotonic()
        exits: queue.SimpleQueue[Exit] = queue.SimpleQueue()
        processes: dict[int, subprocess.Popen[str]] = {}
        sampler: HostSampler | None = None
        pumps: list[threading.Thread] = []
        try:
            for place in places:
                request = directory / f"request-{place.rank}.json"
                document = protocol.WorkerRequest(
                    trial=trial,
                    rank=place.rank,
                    data_directory=str(data_directory),
                    outcome_directory=str(directory),
                    cpus=place.cpus,
                    parent_pid=os.getpid(),
                    launched_at=launched_at,
                    interpreter=interpreter,
                )
                protocol.write_document(document, request)
                process = processes[place.rank] = launch(request, place, interpreter, module)
                prefix = f"[rank {place.rank}] " if trial.num_workers > 1 else ""
                pumps.append(_start(_pump, process, prefix, on_line))
                _start(_report_exit, process, place.rank, exits)
            if is_sampled:
                sampler = _watch(trial, devices, directory, [process.pid for process in processes.values()], places)
            loss = _await_exits(trial, directory, exits, processes, launched_at, stop)
        finally:
            _end(processes.values())
            ended_at = time.monotonic()
            usage = sampler.stop() if sampler else None
        for pump in pumps:
            pump.join(DRAIN_SECONDS)
        outcomes, loss = ((), loss) if loss else _read_outcomes(directory, ranks)
        part = Part(
            hostname=hostname(),
            outcomes=outcomes,
            loss=loss,
            wall_seconds=ended_at - launched_at,
            ended_at=ended_at,
            usage=usage,
        )
        if loss and stop.is_set():
            raise TrialStopped(part)
        return part


def lost_part(reason: FailureReason, message: str) -> Part:
    """The part of this machine where no process could be started."""
    loss = _loss(reason, message, None)
    return Part(hostname=hostname(), outcomes=(), loss=loss, wall_seconds=0.0, ended_at=0.0, usage=None)


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


def _watch(
    trial: Trial, devices: Devices, directory: Path, pids: Sequence[int], places: Sequence[WorkerPlace]
) -> HostSampler:
    """A sampler of the trial's processes, which has begun."""
    on_gpu, num_replicas = trial.device is DeviceType.GPU, trial.replicas_per_worker * len(places)
    reader = HostReader(
        pids=pids,
        cpus=tuple(cpu for place in places for cpu in place.cpus),
        gpus=visible_gpu_ids(len(devices.gpus))[:num_replicas] if on_gpu else (),
        is_training=lambda: _phase(directory, places[0].rank) is Phase.TRAINING,
    )
    num_cores = len(devices.cores) if on_gpu else (trial.cores_per_replica or 1) * num_replicas
    return HostSampler(reader, num_cores=num_cores, num_allowed_cores=len(devices.cores))


def _await_exits(
    trial: Trial,
    directory: Path,
    exits: "queue.SimpleQueue[Exit]",
    processes: Mapping[int, subprocess.Popen[str]],
    launched_at: float,
    stop: threading.Event,
) -> Loss | None:
    """Sleep until all workers have ended well (None), one has ended badly, the deadline has passed or `stop` is set."""
    deadline = launched_at + trial.timeout_seconds
    running = set(processes)
    while running:
        try:
            ended = exits.get(timeout=min(STOP_SECONDS, max(0.0, deadline - time.monotonic())))
        except queue.Empty:
            held = _held(processes, running)
            if stop.is_set():
                return _overdue(directory, running, held, FailureReason.CANCELLED, "it was stopped")
            if time.monotonic() < deadline:
                continue
            passed = f"the deadline of {trial.timeout_seconds:g} s passed"
            return _overdue(directory, running, held, FailureReason.TIMEOUT, passed)
        running.discard(ended.rank)
        # a rank of several machines that is done may see another one leave first
        is_done = trial.num_hosts > 1 and protocol.outcome_path(directory, ended.rank).exists()
        if ended.code and not is_done:
            if held := _held(processes, running):
                return _overdue(directory, running, held, FailureReason.WORKER_STOPPED, "")
            return _bad_exit(directory, _first_lost(ended, exits, len(running), directory))
    return None


def _overdue(
    directory: Path, running: Iterable[int], held: Collection[int], otherwise: FailureReason, why: str
) -> Loss:
    """The loss where ranks do not end: the one to blame is held, or else is the furthest behind."""
    phases = {rank: _phase(directory, rank) for rank in sorted(running)}
    lost = min(phases, key=lambda rank: (rank not in held, list(Phase).index(phases[rank])))
    if held:
        message = f"rank {lost} was stopped in phase {phases[lost]}"
        return _loss(FailureReason.WORKER_STOPPED, message, phases[lost])
    ranks = ", ".join(f"rank {rank} in phase {phase}" for rank, phase in phases.items())
    return _loss(otherwise, f"{why} with {ranks}", phases[lost])


def _held(processes: Mapping[int, subprocess.Popen[str]], running: Iterable[int]) -> list[int]:
    """The ranks whose processes are held by SIGSTOP or a debugger: TensorFlow's others give up after 8 s or never."""
    found = []
    for rank in running:
        with suppress(psutil.Error):
            if psutil.Process(processes[rank].pid).status() in (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP):
                found.append(rank)
    return found


def _first_lost(ended: Exit, exits: "queue.SimpleQueue[Exit]", num_running: int, directory: Path) -> Exit:
    """Of the ranks that end badly within a short while, the one that was lost first: the others' errors follow.

    One that somebody killed comes before all: its end may be noticed later than the error that it has caused.
    """
    bad, deadline = [ended], time.monotonic() + FOLLOW_SECONDS
    with suppress(queue.Empty):
        for _ in range(num_running):
            bad.append(exits.get(timeout=max(0.0, deadline - time.monotonic())))

    def order(end: Exit) -> tuple[bool, float]:
        error = protocol.read_document(protocol.WorkerError, protocol.error_path(directory, end.rank))
        at = end.at if error is None or error.raised_at is None else error.raised_at
        return end.code not in KILLED, at

    return min((end for end in bad if end.code), key=order)


def _bad_exit(directory: Path, ended: Exit) -> Loss:
    phase = _phase(directory, ended.rank)
    if ended.code < 0:
        with suppress(ValueError):
            name = signal.Signals(-ended.code).name
            message = f"rank {ended.rank} was ended by {name} in phase {phase}"
            return _loss(FailureReason.WORKER_KILLED, message, phase, ended.at)
    error = protocol.read_document(protocol.WorkerError, protocol.error_path(directory, ended.rank))
    cause, at = (error.message, error.raised_at) if error else (f"exit code {ended.code}", None)
    message = f"rank {ended.rank} ended in phase {phase} with {cause}"
    return _loss(FailureReason.WORKER_ERROR, message, phase, at or ended.at)


def _loss(reason: FailureReason, message: str, phase: str | None, lost_at: float | None = None) -> Loss:
    """`lost_at` is a reading of the monotonic clock, by default now."""
    ago = 0.0 if lost_at is None else time.monotonic() - lost_at
    return Loss(reason=reason, message=message, phase=phase, lost_at=time.time() - ago)


def _phase(directory: Path, rank: int) -> Phase:
    path = protocol.phase_path(directory, rank)
    text = path.read_text() if path.exists() else ""
    return Phase(text or Phase.PROCESS_START)  # the file is empty for a moment while it is written


def _read_outcomes(directory: Path, ranks: Ranks) -> tuple[tuple[protocol.WorkerOutcome, ...], Loss | None]:
    outcomes = []
    for rank in ranks.numbers:
        outcome = protocol.read_document(protocol.WorkerOutcome, protocol.outcome_path(directory, rank))
        if outcome is None:
            message = f"rank {rank} ended without an error and without an outcome"
            return (), _loss(FailureReason.WORKER_ERROR, message, _phase(directory, rank))
        outcomes.append(outcome)
    return tuple(outcomes), None


def _end(processes: Collection[subprocess.Popen[str]]) -> None:
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


def _pump(process: subprocess.Popen[str], prefix: str, on_line: OnLine) -> None:
    assert process.stdout is not None
    with process.stdout:
        for line in process.stdout:
            on_line(prefix + line.rstrip())


def _report_exit(process: subprocess.Popen[str], rank: int, exits: "queue.SimpleQueue[Exit]") -> None:
    exits.put(Exit(rank, process.wait(), time.monotonic()))
