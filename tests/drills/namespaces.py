"""Machines that are Linux network namespaces of this one, on a bridge, so that one of several hosts can be lost.

Addresses are 10.99.<n>.<m>; n, and with it every name in the kernel, is held by one cluster at a time, sessions of
other processes included. Everything needs root, iproute2 and util-linux.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

HEAD = 1
"""Last number of the head's address; the machine of host i has 10 + i."""
OUTSIDE = 254
"""Last number of the address that this machine itself has on the bridge."""
MAX_CLUSTERS = 250
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
    port: str
    """The bridge's end of its link; the other end is `eth0`."""
    address: str
    cores: tuple[int, ...]
    """Logical CPUs that its processes may use."""
    folder: Path
    """Its own folder: the home, temporary files and logs of its processes."""
    environment: dict[str, str] = field(default_factory=dict)
    """What its processes find in their environment, beside what this process has."""
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def run(self, *command: str, seconds: float = 60.0, is_checked: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command there to its end; raises AssertionError with its output where it fails."""
        done = subprocess.run(
            self._inside(command),
            env=self._environment(),
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        assert not is_checked or done.returncode == 0, (self.name, command, done.returncode, done.stdout, done.stderr)
        return done

    def start(self, *command: str, log: str = "output.log") -> subprocess.Popen[bytes]:
        """Start a command there in a session of its own; what it says is added to the file `log` of its folder."""
        with (self.folder / log).open("ab") as output:
            process = subprocess.Popen(
                self._inside(command),
                env=self._environment(),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.started.append(process)
        return process

    def cut(self) -> None:
        """Take its link down: packets are lost without a word, also to and from connections that are open."""
        _do("ip", "link", "set", self.port, "down")

    def restore(self) -> None:
        """Bring its link up again."""
        _do("ip", "link", "set", self.port, "up")

    def slow(self, megabits: float) -> None:
        """Let so many megabits a second pass in either direction."""
        for prefix, device in self._ends():
            shape = ("tbf", "rate", f"{megabits}mbit", "burst", "64kb", "latency", "200ms")
            _do("tc", *prefix, "qdisc", "replace", "dev", device, "root", *shape)

    def unslow(self) -> None:
        """Let everything pass as fast as it can."""
        for prefix, device in self._ends():
            _do("tc", *prefix, "qdisc", "del", "dev", device, "root")

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

    def _ends(self) -> tuple[tuple[tuple[str, ...], str], ...]:
        return ((), self.port), (("-netns", self.namespace), "eth0")

    def _inside(self, command: tuple[str, ...]) -> list[str]:
        # not `ip netns exec`, which puts an empty /sys/fs/cgroup in the place of this machine's
        cpus = ",".join(map(str, self.cores))
        return ["nsenter", f"--net=/run/netns/{self.namespace}", "taskset", "--cpu-list", cpus, *command]

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "STRATBENCH_"))}
        return {
            **kept,
            "HOME": str(self.folder),
            "TMPDIR": str(self.folder / "tmp"),
            "NO_PROXY": "*",
            "no_proxy": "*",
            **self.environment,
        }


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

    Raises AssertionError where something still ran there at the end of a block that ended well. Clusters of sessions
    that were killed are removed first.
    """
    _remove_abandoned()
    number = _claim()
    try:
        _say_who_owns(number)
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


def _build(folder: Path, number: int, num_hosts: int) -> Cluster:
    bridge = _bridge(number)
    _do("ip", "address", "add", f"10.99.{number}.{OUTSIDE}/24", "dev", bridge)
    _do("ip", "link", "set", bridge, "up")
    cores = tuple(sorted(os.sched_getaffinity(0)))
    head = _join(folder, number, "head", HEAD, cores)
    hosts = [_join(folder, number, f"h{i}", 10 + i, (cores[i % len(cores)],)) for i in range(1, num_hosts + 1)]
    return Cluster(head=head, hosts=tuple(hosts))


def _join(folder: Path, number: int, name: str, last: int, cores: tuple[int, ...]) -> Machine:
    """A machine of that cluster, linked and up."""
    bridge = _bridge(number)
    machine = Machine(
        name=name,
        namespace=f"{bridge}-{name}",
        port=f"{bridge}-{name}",
        address=f"10.99.{number}.{last}",
        cores=cores,
        folder=folder / name,
    )
    (machine.folder / "tmp").mkdir(parents=True, exist_ok=True)
    _do("ip", "netns", "add", machine.namespace)
    peer = ("type", "veth", "peer", "name", "eth0", "netns", machine.namespace)
    _do("ip", "link", "add", machine.port, *peer)
    _do("ip", "link", "set", machine.port, "master", bridge, "up")
    inside = ("ip", "-netns", machine.namespace)
    _do(*inside, "address", "add", f"{machine.address}/24", "dev", "eth0")
    for device in ("lo", "eth0"):
        _do(*inside, "link", "set", device, "up")
    return machine


def _claim() -> int:
    """The number of a new bridge, whose making fails where another session has it."""
    for number in range(1, MAX_CLUSTERS + 1):
        try:
            _do("ip", "link", "add", _bridge(number), "type", "bridge")
        except AssertionError as error:
            if "exists" not in str(error):
                raise
        else:
            return number
    raise AssertionError(f"{MAX_CLUSTERS} clusters are there already")


def _say_who_owns(number: int) -> None:
    owner = psutil.Process()
    _do("ip", "link", "set", _bridge(number), "alias", f"{owner.pid} {owner.create_time()}")


def _remove_abandoned() -> None:
    """Remove the clusters whose owner is gone, unless another session is at it."""
    for link in json.loads(_do("ip", "-json", "link", "show", "type", "bridge") or "[]"):
        match = re.fullmatch(r"sbt(\d+)", link["ifname"])
        if match and "ifalias" in link:
            pid, created = link["ifalias"].split()
            with suppress(psutil.NoSuchProcess):
                if psutil.Process(int(pid)).create_time() == float(created):
                    continue
            with suppress(AssertionError):
                _remove(int(match[1]))


def _remove(number: int) -> None:
    """Take down what there is of that cluster; the bridge last, because it holds the number."""
    prefix = f"{_bridge(number)}-"
    for name in (each["name"] for each in json.loads(_do("ip", "-json", "netns", "list") or "[]")):
        if name.startswith(prefix):
            _kill(name)
            _do("ip", "netns", "delete", name)
    for name in (each["ifname"] for each in json.loads(_do("ip", "-json", "link", "show", "type", "veth") or "[]")):
        if name.startswith(prefix):
            with suppress(AssertionError):  # it also goes with its namespace, at its own time
                _do("ip", "link", "delete", name)
    _do("ip", "link", "delete", _bridge(number))


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
