"""Processes of the stack: started detached, recognised beyond doubt, ended with everything below them."""

import os
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from uuid import UUID

import psutil

from flows import locations
from flows.stack import state
from flows.stack.state import Part

STACK = "STRATBENCH_STACK"
"""Environment variable of every process of a stack, inherited by what it starts: the root."""
START = "STRATBENCH_STACK_START"
"""The call of `up` that started it."""
PART = "STRATBENCH_STACK_PART"
"""The part's name."""
_FLOW_RUN = "PREFECT__FLOW_RUN_ID"
"""Set by a Prefect worker in the environment of each flow run."""


def start(name: str, command: Sequence[str], environment: Mapping[str, str], folder: Path, start_id: str) -> Part:
    """Start `command` as that part, detached from this terminal, its output in the part's log file.

    Call it under `signals.interruptible`, so that the process has default signal handling.
    """
    log = state.log_path(name)
    log.parent.mkdir(parents=True, exist_ok=True)
    marks = {STACK: str(locations.root()), START: start_id, PART: name}
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            env={**environment, **marks},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    process.returncode = 0  # it outlives this command on purpose: no ResourceWarning about that
    return Part(name=name, pid=process.pid, create_time=psutil.Process(process.pid).create_time(), start=start_id)


def find(part: Part) -> psutil.Process | None:
    """The living process of that part; None where it ended, even if its pid now belongs to somebody else.

    The marks in its environment decide: unlike the time of creation, they do not move when the clock is set. The
    time counts only where the environment cannot be read.
    """
    try:
        process = psutil.Process(part.pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        try:
            environment = process.environ()
        except psutil.AccessDenied:
            return process if abs(process.create_time() - part.create_time) < 1 else None
    except psutil.Error:
        return None
    is_same = environment.get(START) == part.start and environment.get(PART) == part.name
    return process if is_same and _FLOW_RUN not in environment else None


def marked(start_id: str | None = None) -> list[psutil.Process]:
    """Every living process of this root's stack (or only of one call of `up`), orphans of a killed worker included."""
    spared = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.pid in spared or process.status() == psutil.STATUS_ZOMBIE:
                continue
            environment = process.environ()
            if environment.get(STACK) == str(locations.root()) and start_id in (None, environment.get(START)):
                found.append(process)
    return found


def by_part(processes: Iterable[psutil.Process]) -> dict[str, list[psutil.Process]]:
    """The parts themselves among those processes, by name; not what they started."""
    found: dict[str, list[psutil.Process]] = {}
    for process in processes:
        with suppress(psutil.Error, OSError):
            environment = process.environ()
            if _FLOW_RUN not in environment and PART in environment:
                found.setdefault(environment[PART], []).append(process)
    return found


def flow_runs(processes: Iterable[psutil.Process]) -> set[UUID]:
    """Ids of the flow runs that go on in those processes."""
    found = set()
    for process in processes:
        with suppress(psutil.Error, OSError, ValueError):
            if text := process.environ().get(_FLOW_RUN):
                found.add(UUID(text))
    return found


def stop(processes: Iterable[psutil.Process], seconds: float = 20.0) -> None:
    """End those processes with all that is below them: SIGTERM to their groups, SIGKILL after `seconds`."""
    chosen = list(processes)
    doomed = set(chosen)
    for process in chosen:
        with suppress(psutil.Error):
            doomed.update(process.children(recursive=True))
    for process in chosen:
        _signal_group(process)
    _, alive = psutil.wait_procs(list(doomed), timeout=seconds)
    for process in alive:
        with suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(alive, timeout=5)


def sweep(start_id: str | None = None, seconds: float = 10.0) -> None:
    """End every marked process at once, until none is left (or for `seconds`: a process may be about to start)."""
    deadline = time.monotonic() + seconds
    while (rest := marked(start_id)) and time.monotonic() < deadline:
        for process in rest:
            with suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(rest, timeout=1)


def _signal_group(process: psutil.Process) -> None:
    with suppress(psutil.Error, OSError):
        if process.is_running() and os.getpgid(process.pid) == process.pid:
            os.killpg(process.pid, signal.SIGTERM)
        else:
            process.terminate()
