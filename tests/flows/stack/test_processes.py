import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from flows.stack import processes, signals
from tests.flows.stack.conftest import wait_until

PARENT = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', sys.argv[1]]); time.sleep(60)"
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
SLEEP = "import time; time.sleep(60)"


def start(*words: str, part: str = "server", **environment: str) -> psutil.Process:
    with signals.interruptible():
        return processes.start(part, (sys.executable, *words), {**os.environ, **environment}, Path("/"))


def said() -> str:
    return processes.log_path("server").read_text()


def test_process_of_another_root_is_nobody_of_ours(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = start("-c", SLEEP)
    with subprocess.Popen([sys.executable, "-c", SLEEP]) as stranger:
        try:
            assert list(processes.marked()) == [ours]
            with monkeypatch.context() as elsewhere:
                elsewhere.setenv("STRATBENCH_ROOT", str(root / "other"))
                assert processes.marked() == {}
        finally:
            stranger.kill()


def test_parts_are_told_from_what_they_start_and_from_what_has_ended(root: Path) -> None:
    worker = start("-c", PARENT, DEAF, part="worker of trial")
    run = start("-c", SLEEP, part="worker of trial", PREFECT__FLOW_RUN_ID="00000000-0000-0000-0000-000000000001")
    ended = start("-c", "")
    wait_until(lambda: len(processes.marked()) == 3 and not processes.is_alive(ended))
    assert processes.parts() == {"worker of trial": worker}
    assert [str(each) for each in processes.flow_runs()] == [run.environ()["PREFECT__FLOW_RUN_ID"]]
    assert processes.is_alive(worker)


def test_stop_ends_the_children_and_those_who_do_not_listen(root: Path) -> None:
    process = start("-c", PARENT, DEAF)
    wait_until(lambda: "deaf" in said())
    tree = [process, *process.children(recursive=True)]
    assert len(tree) == 2
    processes.stop([process], seconds=0.5)
    assert not any(processes.is_alive(each) for each in tree)


def test_sweep_ends_orphans_by_their_marks(root: Path) -> None:
    parent = start("-c", PARENT, DEAF)
    wait_until(lambda: len(processes.marked()) == 2)
    os.kill(parent.pid, signal.SIGKILL)
    wait_until(lambda: len(processes.marked()) == 1)
    assert processes.parts() == {}
    processes.sweep()
    assert processes.marked() == {}


def test_started_process_has_default_signals_although_a_script_ignored_them(root: Path) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        start("-c", "import signal; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler, flush=True)")
    finally:
        signal.signal(signal.SIGINT, before)
    wait_until(lambda: said() == "True\n")


def test_signal_interrupts_once_and_not_the_stopping() -> None:
    with pytest.raises(KeyboardInterrupt, match="SIGTERM"), signals.interruptible():
        os.kill(os.getpid(), signal.SIGTERM)
    with signals.uninterrupted():
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
