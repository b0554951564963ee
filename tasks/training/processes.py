"""Training processes: fresh ones, and ones that import TensorFlow before their trial is known."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from tasks.results.software import inherited
from tasks.training.cluster import WorkerPlace

WORKER = "tasks.training.worker"

STANDBY = "standby"
"""In place of a request: import, then wait for one line of JSON with request, cpus and environment."""

DEFAULT_ENVIRONMENT = {
    "TF_CPP_MIN_LOG_LEVEL": "2",
    "KERAS_BACKEND": "tensorflow",
    "PYTHONUNBUFFERED": "1",
    "OPENBLAS_NUM_THREADS": "1",
}
"""Variables of every training process, where the user has set none."""

_waiting: list[subprocess.Popen[str]] = []


def prepare(count: int) -> None:
    """Start processes that import TensorFlow while the caller does something else; each will train one trial."""
    _waiting.extend(_start(sys.executable, WORKER, STANDBY, {}) for _ in range(count))


def discard() -> None:
    """End the prepared processes that no trial took."""
    while _waiting:
        _end(_waiting.pop())


def launch(request: Path, place: WorkerPlace, interpreter: str, module: str) -> subprocess.Popen[str]:
    """A process that works on the request at `request`: a prepared one where there is one, else a new one."""
    while _waiting and (interpreter, module) == (sys.executable, WORKER):
        process = _waiting.pop()
        order = {"request": str(request), "cpus": place.cpus, "environment": place.environment}
        assert process.stdin is not None
        with suppress(BrokenPipeError), process.stdin as line:
            line.write(json.dumps(order) + "\n")
            line.flush()
            return process
        _end(process)
    with _bound_to(place.cpus):
        return _start(interpreter, module, str(request), place.environment)


def _end(process: subprocess.Popen[str]) -> None:
    with process:  # closes its pipes and reaps it
        process.kill()


def _start(interpreter: str, module: str, argument: str, environment: dict[str, str]) -> subprocess.Popen[str]:
    # A cluster of the user's must not become this trial's: only the launcher says who trains with whom.
    mine = {name: value for name, value in inherited(interpreter).items() if name != "TF_CONFIG"}
    return subprocess.Popen(
        [interpreter, "-m", module, argument],
        stdin=subprocess.PIPE if argument == STANDBY else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        cwd=Path(argument).parent if argument != STANDBY else None,
        env=DEFAULT_ENVIRONMENT | mine | environment,
        start_new_session=True,
    )


@contextmanager
def _bound_to(cpus: Sequence[int]) -> Iterator[None]:
    """Bind this thread for a while: a child inherits its cores from the thread that starts it."""
    if not cpus:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
