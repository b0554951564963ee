"""Machines that are Linux network namespaces of this one, on a bridge, so that one of several hosts can be lost.

Addresses are 10.99.<n>.<m>; n, and with it every name in the kernel, is held by one cluster at a time, sessions of
other processes included, by a lock that ends with its process. Everything needs root, iproute2 and util-linux.
"""

import fcntl
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

LOCKS, MAX_CLUSTERS = Path("/run"), 250
DEATH_SECONDS = 20.0
"""How long a killed process may take to be gone."""
COMMANDS = ("ip", "tc", "nsenter", "taskset")


@dataclass(kw_only=True)
class Machine:
    """One namespace with a link to the bridge and an address of its own.

    Its processes share this machine's disks, process table and clock.
    """

    name: str
    """`head`, or `h1`, `h2` and so on."""
    namespace: str
    """The bridge's end of its link is called the same; the other end is `eth0`."""
    address: str
    cores: tuple[int, ...]
    """Logical CPUs that its processes may use."""
    folder: Path
    """Its own folder: the home, temporary files and logs of its processes."""
    environment: dict[str, str] = field(default_factory=dict)
    """What its processes find in their environment, beside what this process has."""
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def run(self, *command: str, seconds: float = 60.0) -> str:
        """What a command that is run there prints; raises AssertionError with its output where it fails."""
        done: subprocess.CompletedProcess[str] = subprocess.run(
            self._inside(command), **self._settings(), capture_output=True, text=True, timeout=seconds, check=False
        )
        assert done.returncode == 0, (self.name, command, done.returncode, done.stdout, done.stderr)
        return done.stdout

    def start(self, *command: str, log: str = "output.log") -> subprocess.Popen[bytes]:
        """Start a command there in a session of its own; what it says is added to the file `log` of its folder."""
        with (self.folder / log).open("ab") as output:
            process = subprocess.Popen(
                self._inside(command),
                **self._settings(),
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.started.append(process)
        return process

    def cut(self) -> None:
        """Take its link down: packets are lost without a word, also to and from connections that are open."""
        _do("ip", "link", "set", self.namespace, "down")

    def restore(self) -> None:
        """Bring its link up again."""
        _do("ip", "link", "set", self.namespace, "up")

    def slow(self, megabits: float) -> None:
        """Let so many megabits a second pass in either direction."""
        self._shape("replace", "tbf", "rate", f"{megabits}mbit", "burst", "64kb", "latency", "200ms")

    def unslow(self) -> None:
        """Let everything pass as fast as it can."""
        self._shape("del")

    def processes(self) -> set[psutil.Process]:
        """Everything that runs there, whoever started it."""
        return _processes(self.namespace)

    def kill(self) -> None:
        """SIGKILL everything there. The kernel closes its connections, and peers notice; cut it first for silence."""
        for process in self.started:
            process.kill()
            process.wait()
        self.started.clear()
        _kill(self.namespace)

    def _shape(self, action: str, *shape: str) -> None:
        _do("tc", "qdisc", action, "dev", self.namespace, "root", *shape)
        _do("tc", "-netns", self.namespace, "qdisc", action, "dev", "eth0", "root", *shape)

    def _inside(self, command: tuple[str, ...]) -> list[str]:
        # not `ip netns exec`, which puts an empty /sys/fs/cgroup in the place of this machine's
        cpus = ",".join(map(str, self.cores))
        return ["nsenter", f"--net=/run/netns/{self.namespace}", "taskset", "--cpu-list", cpus, *command]

    def _settings(self) -> dict[str, Any]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "STRATBENCH_"))}
        own = {"HOME": str(self.folder), "TMPDIR": str(self.folder / "tmp"), "NO_PROXY": "*", "no_proxy": "*"}
        return {"env": kept | own | self.environment, "cwd": self.folder, "stdin": subprocess.DEVNULL}


@dataclass(frozen=True, kw_only=True, slots=True)
class Cluster:
    """A head and hosts on one bridge; this machine reaches all of them."""

    head: Machine
    """Where servers run; it may use every core."""
    hosts: tuple[Machine, ...]
    """Host i has the name `h<i>` and one core, in turn."""

    @property
    def machines(self) -> tuple[Machine, ...]:
        """All of them."""
        return self.head, *self.hosts


@contextmanager
def make_cluster(folder: Path, num_hosts: int) -> Iterator[Cluster]:
    """A cluster that is gone afterwards, with everything that runs in it.

    Raises AssertionError where something still ran there at the end of a block that ended well.
    """
    with _number() as number:
        try:
            cluster = _build(folder, number, num_hosts)
            yield cluster
            left = [_command_of(process) for machine in cluster.machines for process in machine.processes()]
            assert not left, f"still running in the cluster: {left}"
        finally:
            _remove(number)


def is_reached(machine: Machine, port: int) -> bool:
    """Whether it takes a connection to that port from this machine."""
    try:
        socket.create_connection((machine.address, port), timeout=1).close()
    except OSError:
        return False
    return True


def obstacle() -> str:
    """Why there can be no cluster here; empty where there can be one."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return "only root makes network namespaces"
    if missing := [command for command in COMMANDS if shutil.which(command) is None]:
        return f"no command {' and no '.join(missing)} here: iproute2 and util-linux have them"
    try:
        with tempfile.TemporaryDirectory() as folder, make_cluster(Path(folder), 1) as cluster:
            cluster.hosts[0].slow(100)
            cluster.hosts[0].run("true")
    except (AssertionError, OSError) as error:
        return f"no network namespace can be made here: {error}"
    return ""


@contextmanager
def _number() -> Iterator[int]:
    """A number that no other session has; what one that was killed has left under it is removed."""
    for number in range(1, MAX_CLUSTERS + 1):
        with (LOCKS / f"{_bridge(number)}.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            _remove(number)
            yield number
            return
    raise AssertionError(f"{MAX_CLUSTERS} clusters are there already")


def _build(folder: Path, number: int, num_hosts: int) -> Cluster:
    bridge = _bridge(number)
    _do("ip", "link", "add", bridge, "type", "bridge")
    _do("ip", "address", "add", f"10.99.{number}.254/24", "dev", bridge)  # of this machine itself
    _do("ip", "link", "set", bridge, "up")
    cores = tuple(sorted(os.sched_getaffinity(0)))
    head = _join(folder, number, "head", 1, cores)
    hosts = [_join(folder, number, f"h{i}", 10 + i, (cores[i % len(cores)],)) for i in range(1, num_hosts + 1)]
    return Cluster(head=head, hosts=tuple(hosts))


def _join(folder: Path, number: int, name: str, last: int, cores: tuple[int, ...]) -> Machine:
    """A machine of that cluster, linked and up."""
    end, address = f"{_bridge(number)}-{name}", f"10.99.{number}.{last}"
    machine = Machine(name=name, namespace=end, address=address, cores=cores, folder=folder / name)
    (machine.folder / "tmp").mkdir(parents=True, exist_ok=True)
    _do("ip", "netns", "add", end)
    _do("ip", "link", "add", end, "type", "veth", "peer", "name", "eth0", "netns", end)
    _do("ip", "link", "set", end, "master", _bridge(number), "up")
    _do("ip", "-netns", end, "address", "add", f"{address}/24", "dev", "eth0")
    for device in ("lo", "eth0"):
        _do("ip", "-netns", end, "link", "set", device, "up")
    return machine


def _remove(number: int) -> None:
    """Take down what there is of that cluster."""
    bridge = _bridge(number)
    for name in (each["name"] for each in json.loads(_do("ip", "-json", "netns", "list") or "[]")):
        if name.startswith(f"{bridge}-"):
            _kill(name)
            _do("ip", "netns", "delete", name)
    for name in (each["ifname"] for each in json.loads(_do("ip", "-json", "link", "show"))):
        if name == bridge or name.startswith(f"{bridge}-"):
            with suppress(AssertionError):  # an end also goes with its namespace, at its own time
                _do("ip", "link", "delete", name)


def _kill(namespace: str) -> None:
    """SIGKILL whatever runs there until nothing does; raises AssertionError where something stays."""
    deadline = time.monotonic() + DEATH_SECONDS
    while rest := _processes(namespace):
        assert time.monotonic() < deadline, f"cannot be killed: {[_command_of(process) for process in rest]}"
        for process in rest:
            with suppress(psutil.Error):
                process.kill()
        time.sleep(0.02)


def _processes(namespace: str) -> set[psutil.Process]:
    found = set()
    for pid in _do("ip", "netns", "pids", namespace).split():
        with suppress(psutil.Error):
            found.add(psutil.Process(int(pid)))
    return found


def _command_of(process: psutil.Process) -> str:
    with suppress(psutil.Error):
        return " ".join(process.cmdline())
    return "a process that has just ended"


def _bridge(number: int) -> str:
    return f"sbt{number}"


def _do(*command: str) -> str:
    """Output of a command of iproute2; raises AssertionError with its words where it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr.strip()}"
    return done.stdout
