"""Entry of a training process: `python -m tasks.training.worker REQUEST`."""

import ctypes
import importlib
import os
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import NoReturn

from tasks.domain.outcome import Phase
from tasks.training import request as protocol
from tasks.training.ledger import PhaseLedger

LEAVING_POLL_SECONDS = 0.005

PR_SET_PDEATHSIG = 1
"""Number of the Linux `prctl` option by which a process asks to be signalled when its parent ends."""


def main(path: str) -> int:
    """Run the request in the file `path`; returns the exit code."""
    request = protocol.read_document(protocol.WorkerRequest, Path(path))
    if request is None:
        print(f"{path} does not exist", file=sys.stderr)
        return 2
    die_with_parent(request.parent_pid)
    directory = Path(request.outcome_directory)
    is_pinned = bool(request.cpus) and os.sched_getaffinity(0) == set(request.cpus)
    here = protocol.phase_path(directory, request.rank)
    ledger = PhaseLedger(request.launched_at, time.monotonic, lambda phase: _write(here, phase))
    ledger.enter(Phase.IMPORT)
    try:
        # Imported here because it imports TensorFlow, and how long that takes is one of the phases.
        training = importlib.import_module("tasks.training.worker.training")
        outcome = training.run_worker(request, ledger, is_pinned, lambda line: print(line, flush=True))
    except Exception as error:
        traceback.print_exc()
        lines = str(error).strip().splitlines() or [""]
        found = protocol.WorkerError(rank=request.rank, message=f"{type(error).__name__}: {lines[0]}")
        protocol.write_document(found, protocol.error_path(directory, request.rank))
        return 1
    protocol.write_document(outcome, protocol.outcome_path(directory, request.rank))
    return leave(directory, request.trial.num_workers)


def leave(directory: Path, num_workers: int) -> NoReturn:
    """End this process at once, as soon as every worker has written its outcome: tearing TensorFlow down takes 1 s.

    Nobody leaves a cluster in which another still works; one that never writes is left to the parent's deadline.
    """
    while not all(protocol.outcome_path(directory, rank).exists() for rank in range(num_workers)):
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


def _write(path: Path, phase: Phase) -> None:
    path.write_text(phase)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
