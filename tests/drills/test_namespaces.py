"""Hosts that are network namespaces: what they have, how they lose and regain links, and that nothing is left."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from flows.stack import processes
from tests.drills import namespaces
from tests.drills.conftest import wait_until
from tests.drills.namespaces import Machine, is_reached, make_cluster, obstacle

pytestmark = pytest.mark.usefixtures("in_namespaces")

TAKES = """
import socket, sys
with socket.create_server((sys.argv[1], 7000)) as server:
    while True:
        connection, _ = server.accept()
        with connection:
            while connection.recv(65536):
                pass
            connection.sendall(b"all of it")
"""
"""Takes what is sent to port 7000 of the address that it is given, and says when it has all of it."""
SENDS = """
import socket, sys, time
began = time.monotonic()
with socket.create_connection((sys.argv[1], 7000), timeout=20) as connection:
    connection.sendall(bytes(int(sys.argv[2])))
    connection.shutdown(socket.SHUT_WR)
    assert connection.recv(100) == b"all of it"
print(time.monotonic() - began)
"""
"""Sends so many bytes there, and prints how many seconds it took until they had arrived."""


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Machine, Machine]]:
    """Two hosts; the second one takes what the first one sends."""
    with make_cluster(tmp_path, 2) as cluster:
        first, second = cluster.hosts
        second.start(sys.executable, "-c", TAKES, second.address)
        wait_until(lambda: is_reached(second, 7000), 10)
        yield first, second
        second.kill()


def megabits(sender: Machine, receiver: Machine, num_bytes: int) -> float:
    """A second, of a transfer of so many bytes."""
    seconds = float(sender.run(sys.executable, "-c", SENDS, receiver.address, str(num_bytes)))
    return 8e-6 * num_bytes / seconds


def in_kernel() -> list[str]:
    """What the kernel has of clusters."""
    listed = [subprocess.check_output(("ip", *words), text=True) for words in (("-brief", "link"), ("netns", "list"))]
    return sorted(line.split()[0] for text in listed for line in text.splitlines() if line.startswith("sbt"))


def test_host_has_its_own_address_core_folder_and_settings(
    pair: tuple[Machine, Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://elsewhere/api")
    monkeypatch.setenv("STRATBENCH_ROOT", "/elsewhere")
    first, second = pair
    first.environment["STRATBENCH_HOST"] = "h1"
    program = (
        "import json, os, socket, tempfile; link = socket.socket(socket.AF_INET, socket.SOCK_DGRAM);"
        f"link.connect(('{second.address}', 9)); "
        "settings = {n: v for n, v in os.environ.items() if n.startswith(('PREFECT_', 'STRATBENCH_'))};"
        "print(json.dumps([link.getsockname()[0], *os.sched_getaffinity(0), tempfile.gettempdir(), settings]))"
    )
    seen = json.loads(first.run(sys.executable, "-c", program))
    assert seen == [first.address, first.cores[0], str(first.folder / "tmp"), {"STRATBENCH_HOST": "h1"}]


def test_cut_link_is_silent_and_comes_back(pair: tuple[Machine, Machine]) -> None:
    first, second = pair
    with socket.create_connection((second.address, 7000), timeout=5) as connection:
        second.cut()
        connection.sendall(b"into the void")
        connection.shutdown(socket.SHUT_WR)
        connection.settimeout(1)
        with pytest.raises(TimeoutError):
            connection.recv(100)
        second.restore()
        connection.settimeout(20)
        assert connection.recv(100) == b"all of it", "an open connection goes on"
    assert megabits(first, second, 1000) > 0


def test_slow_link_slows_either_direction_until_it_is_unslowed(pair: tuple[Machine, Machine]) -> None:
    first, second = pair
    free = megabits(first, second, 10_000_000)
    for slowed in pair:
        slowed.slow(20)
        assert 5 < megabits(first, second, 1_000_000) < 25 < free
        slowed.unslow()
    assert megabits(first, second, 10_000_000) > 50


def test_killed_host_has_no_process_left_and_can_start_again(pair: tuple[Machine, Machine]) -> None:
    _, second = pair
    second.run("sh", "-c", "setsid sleep 100 >/dev/null 2>&1 &")
    wait_until(lambda: len(second.processes()) == 2, 5)
    second.kill()
    assert not second.processes()
    assert not is_reached(second, 7000)
    second.start(sys.executable, "-c", TAKES, second.address)
    wait_until(lambda: is_reached(second, 7000), 10)


def test_process_that_is_left_is_named_and_removed(tmp_path: Path) -> None:
    before, started = in_kernel(), []

    def leave_one() -> None:
        with make_cluster(tmp_path, 1) as cluster:
            started.append(cluster.hosts[0].start("sleep", "12345"))
            wait_until(cluster.hosts[0].processes, 5)

    with pytest.raises(AssertionError, match="still running in the cluster: .*sleep 12345"):
        leave_one()
    assert started[0].wait(5) == -signal.SIGKILL
    assert in_kernel() == before


def test_cluster_of_a_killed_session_is_removed_by_the_next_one(tmp_path: Path) -> None:
    before = in_kernel()
    program = (
        "import os, pathlib, signal, sys; from tests.drills.namespaces import make_cluster\n"
        "with make_cluster(pathlib.Path(sys.argv[1]), 1) as cluster:\n"
        "    print(cluster.hosts[0].start('sleep', '100').pid, flush=True)\n"
        "    while not cluster.hosts[0].processes(): pass\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True, check=False, timeout=20
    )
    assert killed.returncode == -signal.SIGKILL
    assert in_kernel() != before
    left = psutil.Process(int(killed.stdout))
    assert processes.is_alive(left)
    with make_cluster(tmp_path, 1):
        assert not processes.is_alive(left)
    assert in_kernel() == before


def test_without_root_or_commands_the_reason_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "geteuid", lambda: 1000)
        assert obstacle() == "only root makes network namespaces"
    with monkeypatch.context() as patch:
        patch.setenv("PATH", "/nowhere")
        assert (
            obstacle() == "no command ip and no tc and no nsenter and no taskset here: iproute2 and "
            "util-linux have them"
        )
    monkeypatch.setattr(namespaces, "MAX_CLUSTERS", 0)
    assert obstacle() == "no network namespace can be made here: 0 clusters are there already"
