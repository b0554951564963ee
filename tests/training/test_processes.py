"""Processes that are prepared before their trial is known."""

import os
import subprocess
import sys
from pathlib import Path

from tasks.training import processes
from tasks.training.cluster import WorkerPlace


def test_a_prepared_process_that_has_died_is_reaped_and_a_new_one_works(tmp_path: Path) -> None:
    pipe = subprocess.PIPE
    dead = subprocess.Popen([sys.executable, "-c", ""], stdin=pipe, stdout=pipe, text=True)
    os.waitid(os.P_PID, dead.pid, os.WEXITED | os.WNOWAIT)
    processes._waiting.append(dead)
    place = WorkerPlace(rank=0, cpus=(), environment={"PYTHONPATH": str(Path(__file__).parents[2])})
    request = tmp_path / "request.json"
    fresh = processes.launch(request, place, sys.executable, processes.WORKER)
    assert dead.returncode == 0
    said, _ = fresh.communicate()
    assert said == f"{request} does not exist\n"
