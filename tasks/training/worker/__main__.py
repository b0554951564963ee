"""Entry of a training process: `python -m tasks.training.worker REQUEST`."""

import ctypes
import importlib
import json
import os
import signal
import sys
import time
import traceback
from pathlib import Path
from types import ModuleType
from typing import NoReturn

from tasks.domain.outcome import Phase
from tasks.training import request as protocol
from tasks.training.clocks import PhaseLedger
from tasks.training.processes import STANDBY

NOT_NEEDED = ("pandas", "matplotlib", "h5py", "PIL")
"""What Keras imports if it can, and uses for nothing here: a fifth of the time of its import."""

LEAVING_POLL_SECONDS = 0.005

PR_SET_PDEATHSIG = 1
"""Number of the Linux `prctl` option by which a process asks to be signalled when its parent ends."""


def main(path: str) -> int:
    """Run the request in the file `path`, or the one that a line on standard input names; returns the exit code."""
    if path == STANDBY:
        die_with_parent(os.getppid())
        import_training()
        line = sys.stdin.readline()
        if not line:
            return 0
        path = take_place(**json.loads(line))
    request = protocol.read_document(protocol.WorkerRequest, Path(path))
    if request is None:
        print(f"{path} does not exist", file=sys.stderr)
        return 2
    die_with_parent(request.parent_pid)
    directory = Path(request.outcome_directory)
    is_pinned = bool(request.cpus) and os.sched_getaffinity(0) == set(request.cpus)
    keep_phase = protocol.phase_path(directory, request.rank).write_text
    ledger = PhaseLedger(request.launched_at, on_phase=keep_phase)
    ledger.enter(Phase.IMPORT)
    try:
        outcome = import_training().run_worker(request, ledger, is_pinned, lambda line: print(line, flush=True))
    except Exception as error:
        raised_at = time.monotonic()
        traceback.print_exc()
        lines = str(error).strip().splitlines() or [""]
        message = f"{type(error).__name__}: {lines[0]}"
        found = protocol.WorkerError(rank=request.rank, message=message, raised_at=raised_at)
        protocol.write_document(found, protocol.error_path(directory, request.rank))
        return 1
    protocol.write_document(outcome, protocol.outcome_path(directory, request.rank))
    first = request.rank - request.rank % request.trial.workers_per_host
    return leave(directory, range(first, first + request.trial.workers_per_host))


def import_training() -> ModuleType:
    """The module that trains. Importing it imports TensorFlow, and how long that takes is one of the phases."""
    for name in NOT_NEEDED:
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]
    return importlib.import_module("tasks.training.worker.training")


def take_place(request: str, cpus: list[int], environment: dict[str, str]) -> str:
    """Bind this process, which has imported TensorFlow but not yet started it, to its place; returns the request."""
    os.environ.update(environment)
    os.chdir(Path(request).parent)
    for thread in Path("/proc/self/task").iterdir() if cpus else ():
        os.sched_setaffinity(int(thread.name), cpus)
    return request


def leave(directory: Path, ranks: range) -> NoReturn:
    """End this process at once when every worker here has written its outcome: tearing TensorFlow down takes 1 s.

    Nobody leaves a cluster in which another still works; one that never writes is left to the parent's deadline. On
    another machine, the last reduction is the last that anybody needs of the others.
    """
    while not all(protocol.outcome_path(directory, rank).exists() for rank in ranks):
        time.sleep(LEAVING_POLL_SECONDS)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def die_with_parent(parent_pid: int) -> None:
    """End this process when its parent ends (Linux only); at once if that has happened already."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:
        sys.exit(f"the parent process {parent_pid} has ended")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
