import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from flows.stack import processes, signals, state
from flows.stack.state import Part

PARENT = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', sys.argv[1]]); time.sleep(60)"
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"


def start(*words: str, name: str = "server", start_id: str = "first") -> Part:
    with signals.interruptible():
        return processes.start(name, (sys.executable, *words), dict(os.environ), Path("/"), start_id)


def test_recycled_pid_is_nobody_of_ours(root: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as stranger:
        try:
            created = psutil.Process(stranger.pid).create_time()
            assert processes.find(Part(name="server", pid=stranger.pid, create_time=created, start="first")) is None
            assert processes.marked() == []
        finally:
            stranger.kill()


def test_own_process_is_found_although_the_clock_was_set(root: Path) -> None:
    part = start("-c", "import time; time.sleep(60)")
    moved = Part(name=part.name, pid=part.pid, create_time=part.create_time - 7200, start=part.start)
    assert processes.find(moved) == psutil.Process(part.pid)
    other = Part(name=part.name, pid=part.pid, create_time=part.create_time, start="second")
    assert processes.find(other) is None


def test_create_time_decides_where_the_environment_is_not_readable(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(process: psutil.Process) -> dict[str, str]:
        raise psutil.AccessDenied(process.pid)

    monkeypatch.setattr(psutil.Process, "environ", refuse)
    created = psutil.Process().create_time()
    assert processes.find(Part(name="server", pid=os.getpid(), create_time=created, start="x"))
    assert processes.find(Part(name="server", pid=os.getpid(), create_time=created - 60, start="x")) is None
    monkeypatch.undo()


def test_ended_process_is_not_found(root: Path) -> None:
    part = start("-c", "")
    wait_until(lambda: processes.find(part) is None)


def test_stop_ends_the_children_and_those_who_do_not_listen(root: Path) -> None:
    part = start("-c", PARENT, DEAF)
    wait_until(lambda: "deaf" in state.log_path("server").read_text())
    process = processes.find(part)
    assert process is not None
    tree = [process, *process.children(recursive=True)]
    assert len(tree) == 2
    processes.stop([process], seconds=0.5)
    assert not any(each.is_running() for each in tree)


def test_sweep_finds_orphans_by_their_marks_and_only_of_that_start(root: Path) -> None:
    orphan, other = start("-c", PARENT, DEAF), start("-c", "import time; time.sleep(60)", start_id="second")
    wait_until(lambda: len(processes.marked()) == 3)
    os.kill(orphan.pid, signal.SIGKILL)
    wait_until(lambda: len(processes.marked("first")) == 1)
    processes.sweep("first")
    assert [process.pid for process in processes.marked()] == [other.pid]


def test_started_process_has_default_signals_although_a_script_ignored_them(root: Path) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        start("-c", "import signal; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler, flush=True)")
    finally:
        signal.signal(signal.SIGINT, before)
    wait_until(lambda: state.log_path("server").read_text() == "True\n")


def test_signal_interrupts_once_and_not_the_stopping() -> None:
    with pytest.raises(KeyboardInterrupt, match="SIGTERM"), signals.interruptible():
        os.kill(os.getpid(), signal.SIGTERM)
    with signals.uninterrupted():
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)


def wait_until(is_true: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.05)
