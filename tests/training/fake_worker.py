"""A training program that trains nothing; the variable FAKE_WORKER says how each rank behaves."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tasks.domain.outcome import Phase
from tasks.training import request as protocol
from tasks.training.clocks import PhaseLedger
from tests.training.outcomes import make_outcome


def main(path: str) -> None:
    request = protocol.read_document(protocol.WorkerRequest, Path(path))
    assert request is not None
    directory = Path(request.outcome_directory)
    behaviour = os.environ.get("FAKE_WORKER", "").split(",")
    mine = behaviour[request.rank] if request.rank < len(behaviour) else ""
    if mine == "never starts":
        time.sleep(600)
    here = protocol.phase_path(directory, request.rank)
    ledger = PhaseLedger(request.launched_at, on_phase=here.write_text)
    ledger.enter(Phase.TRAINING)
    print(f"hello from rank {request.rank}", flush=True)
    if "TF_CONFIG" in os.environ:
        print("in a cluster", flush=True)
    if mine == "between phases":
        here.write_text("")
        time.sleep(600)
    if mine == "hang":
        time.sleep(600)
    if mine == "grandchild":
        child = subprocess.Popen(["sleep", "600"])
        Path(os.environ["FAKE_PID"]).write_text(str(child.pid))
        time.sleep(600)
    if mine == "stopped":
        os.kill(os.getpid(), signal.SIGSTOP)
    if mine in ("killed", "killed late"):
        time.sleep(1.0 if mine == "killed late" else 0.0)
        os.kill(os.getpid(), signal.SIGKILL)
    if mine in ("error", "slow error", "follow"):
        time.sleep(1.0 if mine == "follow" else 0.0)
        message = "UnavailableError: the peer is gone" if mine == "follow" else "ValueError: no such thing"
        error = protocol.WorkerError(rank=request.rank, message=message, raised_at=time.monotonic())
        protocol.write_document(error, protocol.error_path(directory, request.rank))
        time.sleep(2.0 if mine == "slow error" else 0.0)
        sys.exit(1)
    if mine == "exit3":
        sys.exit(3)
    if mine == "silent":
        sys.exit(0)
    time.sleep(0.05)
    finished_at = ledger.enter(Phase.TEARDOWN)
    outcome = make_outcome(
        request.trial,
        request.rank,
        phase_seconds=ledger.seconds,
        finished_at=finished_at,
        is_pinned=bool(request.cpus) and os.sched_getaffinity(0) == set(request.cpus),
        weights_digests=("other" if mine == "unsynchronised" else "same",),
    )
    protocol.write_document(outcome, protocol.outcome_path(directory, request.rank))
    if mine == "late error":
        sys.exit(1)


if __name__ == "__main__":
    main(sys.argv[1])
