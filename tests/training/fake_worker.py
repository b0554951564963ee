"""A training program that trains nothing; the variable FAKE_WORKER says how each rank behaves."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tasks.domain.outcome import Epoch, GradientProbe, Phase, StepWindow
from tasks.training import request as protocol
from tasks.training.ledger import PhaseLedger
from tasks.training.order import example_order, order_checksum


def main(path: str) -> None:
    request = protocol.read_document(protocol.WorkerRequest, Path(path))
    assert request is not None
    directory = Path(request.outcome_directory)
    behaviour = os.environ.get("FAKE_WORKER", "").split(",")
    mine = behaviour[request.rank] if request.rank < len(behaviour) else ""
    if mine == "never starts":
        time.sleep(600)
    here = protocol.phase_path(directory, request.rank)
    ledger = PhaseLedger(request.launched_at, time.monotonic, lambda phase: here.write_text(phase) and None)
    ledger.enter(Phase.TRAINING)
    print(f"hello from rank {request.rank}", flush=True)
    if "TF_CONFIG" in os.environ:
        print("in a cluster", flush=True)
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
    trial, share = request.trial, request.trial.num_train_examples // request.trial.num_workers
    total = sum(
        order_checksum(example_order(trial.seed, epoch, trial.num_train_examples), trial.global_batch_size)
        for epoch in range(1, trial.num_epochs + 1)
    )
    pinned = os.sched_getaffinity(0) == set(request.cpus) if request.cpus else False
    outcome = protocol.WorkerOutcome(
        rank=request.rank,
        num_replicas_in_sync=trial.num_replicas,
        invalid_reason=None,
        message=None,
        epochs=tuple(
            Epoch(
                epoch=epoch,
                training_seconds=1.0 + request.rank,
                evaluation_seconds=0.5,
                num_examples=share,
                train_loss=0.1,
                train_accuracy=0.9,
                test_loss=0.1,
                test_accuracy=0.98,
            )
            for epoch in range(1, trial.num_epochs + 1)
        ),
        windows=(StepWindow(epoch=1, first_step=1, num_steps=4, num_examples=256, seconds=0.1 * (1 + request.rank)),),
        gradients=(GradientProbe(step=1, num_examples=64, loss_sum=147.0, gradient_norm=1.0, projections=(0.5, -1.0)),),
        phase_seconds=ledger.seconds,
        finished_at=finished_at,
        is_pinned=pinned,
        num_parameters=10,
        order_checksum=total if request.rank == 0 else 0,
        weights_digests=("other" if mine == "unsynchronised" else "same",),
        max_resident_bytes=100,
        peak_device_memory_bytes=None,
        versions={"python": "3", "tensorflow": "2", "keras": "3", "numpy": "2"},
    )
    protocol.write_document(outcome, protocol.outcome_path(directory, request.rank))
    if mine == "late error":
        sys.exit(1)


if __name__ == "__main__":
    main(sys.argv[1])
