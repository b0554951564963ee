"""Processes of the stack: started detached, recognised by marks in their environment, ended with all below them."""

import os
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from uuid import UUID

import psutil

from flows import locations

STACK = "STRATBENCH_STACK"
"""Environment variable of every process of a stack, inherited by what it starts: the root."""
PART = "STRATBENCH_STACK_PART"
"""The part's name: `server`, `worker of benchmark` or `worker of trial`."""
LASTING = "flows.stack.lasting"
"""The module by which a server and workers are started."""
_FLOW_RUN = "PREFECT__FLOW_RUN_ID"
"""Set by a Prefect worker in the environment of each flow run."""


def log_path(part: str) -> Path:
    """Where that part's output goes."""
    return locations.state() / "logs" / f"{part.replace(' ', '-')}.log"


def start(
    part: str, command: Sequence[str], environment: Mapping[str, str], folder: Path, *, is_logged: bool = True
) -> psutil.Process:
    """Start `command` as that part, detached from this terminal; its output goes to its log, or else to this one's.

    Call it under `signals.interruptible`, so that the process has default signal handling.
    """
    log = log_path(part)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") if is_logged else nullcontext() as output:
        process = subprocess.Popen(
            command,
            env={**environment, STACK: _root(), PART: part},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    process.returncode = 0  # it outlives this command on purpose: no ResourceWarning about that
    return psutil.Process(process.pid)


def is_alive(process: psutil.Process) -> bool:
    """Whether that process goes on; a zombie does not."""
    with suppress(psutil.Error):
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False


def marked() -> dict[psutil.Process, dict[str, str]]:
    """Every living process of this root's stack with its environment, orphans of a killed worker included."""
    found = {}
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            environment = process.environ()
            if environment.get(STACK) == _root():
                found[process] = environment
    return found


def parts() -> dict[str, psutil.Process]:
    """The living parts by name; not what they started."""
    found = {}
    for process, environment in marked().items():
        with suppress(OSError):
            if _FLOW_RUN not in environment and os.getsid(process.pid) == process.pid:
                found[environment[PART]] = process
    return found


def flow_runs() -> set[UUID]:
    """Ids of the flow runs that go on in this root's processes."""
    return {UUID(environment[_FLOW_RUN]) for environment in marked().values() if _FLOW_RUN in environment}


def stop(chosen: Iterable[psutil.Process], seconds: float = 20.0) -> None:
    """End those parts with all that is below them: SIGTERM to their groups, SIGKILL after `seconds`."""
    doomed: set[psutil.Process] = set()
    for process in chosen:
        with suppress(psutil.Error, OSError):
            doomed.update((process, *process.children(recursive=True)))
            os.killpg(process.pid, signal.SIGTERM)
    _, rest = psutil.wait_procs(list(doomed), timeout=seconds)
    _kill(rest)


def sweep(seconds: float = 10.0) -> None:
    """End every marked process at once, until none is left (or for `seconds`: a process may be about to start)."""
    deadline = time.monotonic() + seconds
    while (rest := marked()) and time.monotonic() < deadline:
        _kill(list(rest))


def _kill(doomed: list[psutil.Process]) -> None:
    for process in doomed:
        with suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(doomed, timeout=5)


def _root() -> str:
    return str(locations.root().resolve())
