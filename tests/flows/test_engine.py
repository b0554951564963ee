"""The engine of a trial's flow run: beside it, training processes get ready."""

import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil

from tasks.training.processes import STANDBY, WORKER


def test_engine_prepares_as_many_processes_as_it_is_told_and_leaves_none() -> None:
    """Without a flow run Prefect's engine gives up, but not before it has been imported."""
    command = [sys.executable, "-m", "flows.engine", "2"]
    engine = subprocess.Popen(command, cwd=Path(__file__).parents[2], stderr=subprocess.DEVNULL)
    prepared: set[psutil.Process] = set()
    while engine.poll() is None:
        for child in psutil.Process(engine.pid).children():
            with suppress(psutil.NoSuchProcess):
                if child.cmdline()[-2:] == [WORKER, STANDBY]:
                    prepared.add(child)
        time.sleep(0.02)
    assert len(prepared) == 2
    assert not any(process.is_running() for process in prepared)
