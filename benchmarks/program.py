"""What a program of these benchmarks owes to the launcher that starts it as it starts a training process."""

import platform
import resource
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from tasks.domain.outcome import Epoch
from tasks.training import request as protocol


def read_request() -> protocol.WorkerRequest:
    """The request that this process was started with."""
    request = protocol.read_document(protocol.WorkerRequest, Path(sys.argv[1]))
    assert request is not None
    return request


def meet(request: protocol.WorkerRequest) -> None:
    """Wait until every worker of the trial has come here, so that all are busy at the same time."""
    folder = Path(request.outcome_directory)
    (folder / f"ready-{request.rank}").touch()
    while any(not (folder / f"ready-{rank}").exists() for rank in range(request.trial.num_workers)):
        time.sleep(0.001)


def write_seconds(request: protocol.WorkerRequest, measured: Iterable[tuple[int, float]]) -> None:
    """Write an outcome with one epoch for each pair of examples and seconds."""
    outcome = protocol.WorkerOutcome(
        rank=request.rank,
        num_replicas_in_sync=request.trial.num_replicas,
        invalid_reason=None,
        message=None,
        epochs=tuple(
            Epoch(
                epoch=number,
                training_seconds=seconds,
                evaluation_seconds=0.0,
                num_examples=num_examples,
                train_loss=None,
                train_accuracy=None,
                test_loss=None,
                test_accuracy=None,
            )
            for number, (num_examples, seconds) in enumerate(measured, start=1)
        ),
        windows=(),
        gradients=(),
        phase_seconds={},
        finished_at=time.monotonic(),
        is_pinned=True,
        num_parameters=0,
        order_checksum=0,
        weights_digests=("",),
        max_resident_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        peak_device_memory_bytes=None,
        versions={"python": platform.python_version(), "tensorflow": "", "keras": "", "numpy": ""},
    )
    protocol.write_document(outcome, protocol.outcome_path(Path(request.outcome_directory), request.rank))
