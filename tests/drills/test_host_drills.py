"""Drills of trials that span machines: hosts are network namespaces, links are cut and slowed, hosts are killed."""

import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
from prefect.client.schemas.objects import TERMINAL_STATES, FlowRun, StateType
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL
from prefect.settings.context import temporary_settings
from pydantic import TypeAdapter

from flows.names import TRIAL_POOL
from flows.stack import processes
from tasks.data.preparation import prepare
from tasks.domain.device import DeviceType
from tasks.domain.sweep import Sweep
from tasks.domain.trial import Role, Trial
from tasks.planning.planner import plan_block
from tests.drills import namespaces
from tests.drills.conftest import Say
from tests.drills.namespaces import Cluster, Machine, make_cluster, obstacle
from tests.drills.test_stack_drills import wait_until
from tests.drills.trials import ONE, WORKERS
from tests.examples import needs_two_cores

pytestmark = pytest.mark.skipif(bool(obstacle()), reason=obstacle())
Row = dict[str, Any]

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
        wait_until(lambda: is_reached(second), 10)
        yield first, second
        second.kill()


def is_reached(machine: Machine, port: int = 7000) -> bool:
    """Whether it takes a connection from this machine."""
    try:
        socket.create_connection((machine.address, port), timeout=1).close()
    except OSError:
        return False
    return True


def megabits(sender: Machine, receiver: Machine, num_bytes: int) -> float:
    """A second, of a transfer of so many bytes."""
    seconds = float(sender.run(sys.executable, "-c", SENDS, receiver.address, str(num_bytes)).stdout)
    return 8e-6 * num_bytes / seconds


def in_kernel() -> list[str]:
    """What the kernel has of clusters."""
    listed = [subprocess.check_output(("ip", *words), text=True) for words in (("-brief", "link"), ("netns", "list"))]
    return sorted(line.split()[0] for text in listed for line in text.splitlines() if line.startswith("sbt"))


def test_host_has_its_address_its_core_and_its_folder(pair: tuple[Machine, Machine]) -> None:
    program = (
        "import json, os, socket, tempfile; link = socket.socket(socket.AF_INET, socket.SOCK_DGRAM);"
        f"link.connect(('{pair[1].address}', 9)); "
        "print(json.dumps([link.getsockname()[0], sorted(os.sched_getaffinity(0)), tempfile.gettempdir()]))"
    )
    first, _ = pair
    seen = json.loads(first.run(sys.executable, "-c", program).stdout)
    assert seen == [first.address, list(first.cores), str(first.folder / "tmp")]
    assert len(first.cores) == 1


def test_host_does_not_inherit_settings_and_takes_its_own(
    pair: tuple[Machine, Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://elsewhere/api")
    monkeypatch.setenv("STRATBENCH_ROOT", "/elsewhere")
    first, _ = pair
    first.environment["STRATBENCH_HOST"] = "h1"
    found = {line for line in first.run("env").stdout.splitlines() if line.startswith(("PREFECT_", "STRATBENCH_"))}
    assert found == {"STRATBENCH_HOST=h1"}


def test_failed_command_says_what_it_said(pair: tuple[Machine, Machine]) -> None:
    with pytest.raises(AssertionError, match="no such luck"):
        pair[0].run("sh", "-c", "echo no such luck >&2; exit 3")


def test_hosts_reach_each_other_and_not_the_loopback_of_this_machine(pair: tuple[Machine, Machine]) -> None:
    assert megabits(*pair, 1_000_000) > 0
    with socket.create_server(("127.0.0.1", 0)) as server:
        connect = f"import socket; socket.create_connection(('127.0.0.1', {server.getsockname()[1]}), timeout=2)"
        assert "refused" in pair[0].run(sys.executable, "-c", connect, is_checked=False).stderr


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
    assert not is_reached(second)
    second.start(sys.executable, "-c", TAKES, second.address)
    wait_until(lambda: is_reached(second), 10)


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


@pytest.mark.parametrize("number", [2, 4, 7, 12, 17, 20])
def test_nothing_is_left_where_a_command_fails_half_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    before, do, done = in_kernel(), namespaces._do, []

    def fail_once(*command: str) -> str:
        done.append(command)
        if len(done) == number:
            raise AssertionError(f"not command {number}")
        return do(*command)

    monkeypatch.setattr(namespaces, "_do", fail_once)
    with pytest.raises(AssertionError, match=f"not command {number}"), make_cluster(tmp_path, 2):
        pytest.fail("it was made in fewer commands")
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


def test_two_clusters_do_not_meet(tmp_path: Path) -> None:
    with make_cluster(tmp_path / "a", 1) as one, make_cluster(tmp_path / "b", 1) as other:
        assert one.hosts[0].address != other.hosts[0].address
        assert one.hosts[0].namespace != other.hosts[0].namespace


def test_without_root_or_commands_the_reason_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "geteuid", lambda: 1000)
        assert obstacle.__wrapped__() == "only root makes network namespaces"
    with monkeypatch.context() as patch:
        patch.setenv("PATH", "/nowhere")
        assert (
            obstacle.__wrapped__() == "no command ip and no tc and no nsenter and no taskset here: iproute2 and "
            "util-linux have them"
        )
    monkeypatch.setattr(namespaces, "MAX_CLUSTERS", 0)
    assert obstacle.__wrapped__() == "no network namespace can be made here: 0 clusters are there already"


STRATBENCH = str(Path(sys.executable).with_name("stratbench"))
EXTRAS = Path(__file__).parents[2] / "build" / "extras"
"""Where `make test-extras` has installed a client and a server of S3."""
PREFECT_PORT, STORE_PORT = 4200, 5000
AUTH = "drills:on this machine only"
STORE_SECRETS = {"AWS_ACCESS_KEY_ID": "drills", "AWS_SECRET_ACCESS_KEY": "drills", "AWS_DEFAULT_REGION": "us-east-1"}
PATIENCE = """
from tasks.training import contamination
contamination.find_taint = lambda usage: None
"""
"""Whatever else the machine does meanwhile: hosts share its cores with each other, the server and the tests."""
READS = """
import json, sys
from flows import locations
from tasks.results.store import RunFolder
print(json.dumps(RunFolder(locations.run(sys.argv[1])).read().trials.to_pylist(), default=str))
"""
"""Prints the rows of that run."""
GANG = {
    "strategies": [WORKERS],
    "global_batch_sizes": [64],
    "num_epochs": 1,
    "num_whole_blocks": None,
    "max_train_examples": 3000,
    "min_blocks": 1,
    "max_blocks": 1,
    "num_replicas": 2,
    "num_hosts": 2,
    "trial_timeout_seconds": 90.0,
}
"""A short run whose trials span two hosts."""
NUM_LONG = 25
"""Epochs, enough to lose something on the way."""
AUTOMATION_SECONDS = 150.0
"""A run whose machine was lost is ended by the automation within so long."""
NOTICE_SECONDS = 120.0
"""A loss is on record within so long: the trial's deadline and the patience with a silent host."""


class Site:
    """A user's server and a store of results on the head, and hosts with roots of their own that join it."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster, self.packages = cluster, folder / "packages"
        self.has_s3 = all((EXTRAS / package).is_dir() for package in ("moto", "s3fs"))
        self.api_url = f"http://{cluster.head.address}:{PREFECT_PORT}/api"
        self._gather_packages()
        results = {"STRATBENCH_RESULTS_URL": "s3://drills/runs" if self.has_s3 else str(folder / "shared")}
        store = {"AWS_ENDPOINT_URL": f"http://{cluster.head.address}:{STORE_PORT}", **STORE_SECRETS}
        for machine in cluster.machines:
            machine.environment |= {
                **results,
                **(store if self.has_s3 else {}),
                "PYTHONPATH": str(self.packages),
                "PREFECT_API_URL": self.api_url,
                "PREFECT_API_AUTH_STRING": AUTH,
                "PREFECT_HOME": str(machine.folder / "prefect"),
                "PREFECT_PROFILES_PATH": str(machine.folder / "no-profiles.toml"),
                "STRATBENCH_ROOT": str(machine.folder),
            }

    def _gather_packages(self) -> None:
        """What the hosts import beside the product; not the workers of container pools, which Prefect would load."""
        self.packages.mkdir()
        (self.packages / "sitecustomize.py").write_text(PATIENCE)
        for package in EXTRAS.iterdir() if self.has_s3 else ():
            if not package.name.startswith("prefect"):
                (self.packages / package.name).symlink_to(package)

    def open(self) -> None:
        """Start the servers and the first two hosts; the first one keeps the benchmark."""
        head, (first, second, *_) = self.cluster.head, self.cluster.hosts
        if self.has_s3:
            store = ("-m", "moto.server", "--host", head.address, "--port", str(STORE_PORT))
            head.start(sys.executable, *store, log="store.log")
            wait_until(lambda: is_reached(head, STORE_PORT), 60)
            head.run(sys.executable, "-c", "import s3fs; s3fs.S3FileSystem().mkdir('drills')")
        head.environment |= {"PREFECT_SERVER_API_AUTH_STRING": AUTH, "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
        server = ("-m", "prefect", "server", "start", "--host", head.address, "--port", str(PREFECT_PORT))
        head.start(sys.executable, *server, log="server.log")
        wait_until(lambda: is_reached(head, PREFECT_PORT), 120)
        first.environment["STRATBENCH_HOST"] = first.name
        first.run(STRATBENCH, "up", seconds=300)
        self.await_host(first)
        self.join(second)

    def close(self) -> None:
        """Stop everything; nothing may be left on any host."""
        for host in self.cluster.hosts:
            for worker in host.started:
                worker.terminate()
                assert worker.wait(60) == 0, (host.folder / "worker.log").read_text()
        self.cluster.hosts[0].run(STRATBENCH, "down", seconds=120)
        for host in self.cluster.hosts:
            assert not host.processes()
        self.cluster.head.kill()

    def join(self, host: Machine) -> None:
        """Start its worker, as its systemd would; returns when it takes runs."""
        host.start(STRATBENCH, "worker", "--host", host.name, "--address", host.address, log="worker.log")
        self.await_host(host)

    def await_host(self, host: Machine) -> None:
        """Return when it asks for runs."""
        began = datetime.now(UTC)

        def is_polled() -> bool:
            ended = [worker.returncode for worker in host.started if worker.poll() is not None]
            assert not ended, (host.folder / "worker.log").read_text()
            with self.connected() as client:
                queues = {queue.name: queue.last_polled for queue in client.read_work_queues(TRIAL_POOL)}
            return (polled := queues.get(host.name)) is not None and polled > began

        wait_until(is_polled, 90)

    @contextmanager
    def connected(self) -> Iterator[SyncPrefectClient]:
        """A client of the server, from outside."""
        settings = {PREFECT_API_URL: self.api_url, PREFECT_API_AUTH_STRING: AUTH}
        with temporary_settings(settings), get_client(sync_client=True) as client:
            yield client

    def submit(self, run_name: str, **changes: object) -> UUID:
        """A flow run of the benchmark."""
        with self.connected() as client:
            deployment = client.read_deployment_by_name("benchmark/smoke").id
            parameters = {**GANG, **changes, "run_name": run_name}
            return client.create_flow_run_from_deployment(deployment, parameters=parameters).id

    def submit_trial(self, trial: Trial, run_name: str, host: str, *others: str) -> UUID:
        """A flow run of one trial, led by `host`, as the benchmark of that run submits it."""
        with self.connected() as client:
            run = client.create_flow_run_from_deployment(
                client.read_deployment_by_name("trial/gpu").id,
                parameters={
                    "trial": TypeAdapter(Trial).dump_python(trial, mode="json"),
                    "run_name": run_name,
                    "submitted_at": datetime.now(UTC).isoformat(),
                    "others": others,
                },
                name=f"{run_name}: {trial.label}",
                work_queue_name=host,
                job_variables={"command": f"python -m flows.engine {trial.workers_per_host}"},
            )
            return run.id

    def ends(self, run: UUID, seconds: float = 400) -> FlowRun:
        """That flow run, once it has ended."""

        def read() -> FlowRun:
            with self.connected() as client:
                return client.read_flow_run(run)

        wait_until(lambda: (state := read().state) is not None and state.is_final(), seconds)
        return read()

    def rows(self, run_name: str) -> list[Row]:
        """The last record of each trial of that run."""
        found: list[Row] = json.loads(self.cluster.head.run(sys.executable, "-c", READS, run_name).stdout)
        return found

    def measures(self, run_name: str, **changes: object) -> list[Row]:
        """Run a benchmark to a good end; its rows, once nothing is left of it."""
        run = self.ends(self.submit(run_name, **changes))
        rows = self.rows(run_name)
        said = [(row["status"], row["reason"], row["message"]) for row in rows]
        assert (run.state_type, run.state_name) == (StateType.COMPLETED, "Completed"), (run.state, said)
        assert {row["status"] for row in rows} == {"valid"}, said
        self.leaves_nothing()
        return rows

    def leaves_nothing(self) -> None:
        """No process, temporary folder, slot, variable or unfinished run is left."""
        for host in self.cluster.hosts:
            wait_until(partial(is_idle, host), 30)
            assert not trial_folders(host)
        with self.connected() as client:
            wait_until(lambda: not any(x.active_slots for x in client.read_global_concurrency_limits(100, 0)), 90)
            assert client._client.post("/variables/filter", json={}).json() == []
        wait_until(lambda: not self._unfinished(), AUTOMATION_SECONDS)

    def _unfinished(self) -> list[str]:
        """The flow runs that have come to no end, those that a schedule will start apart."""
        states = FlowRunFilterState(type=FlowRunFilterStateType(any_=[*set(StateType) - TERMINAL_STATES]))
        with self.connected() as client:
            runs = client.read_flow_runs(flow_run_filter=FlowRunFilter(state=states))
        return [run.name for run in runs if not run.auto_scheduled]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Hosts h1 and h2 have joined; h3 has not."""
    folder = tmp_path_factory.mktemp("site")
    with make_cluster(folder, 3) as cluster:
        site = Site(cluster, folder)
        try:
            site.open()
            yield site
        except BaseException:
            for machine in cluster.machines:
                machine.kill()
            raise
        site.close()


def trial_folders(host: Machine) -> list[Path]:
    return list((host.folder / "tmp").glob("stratbench-trial-*"))


def is_idle(host: Machine) -> bool:
    """Whether nothing of a flow run is there."""
    for process in host.processes():
        with suppress(psutil.Error):
            if "PREFECT__FLOW_RUN_ID" in process.environ():
                return False
    return True


def is_training(host: Machine) -> bool:
    """Whether a measured trial is in its training there."""
    with suppress(OSError, ValueError):
        for folder in trial_folders(host):
            roles = {json.loads(path.read_text())["trial"]["role"] for path in folder.glob("request-*.json")}
            phases = {path.read_text() for path in folder.glob("phase-*")}
            if (roles, phases) == ({Role.MEASURED}, {"training"}):
                return True
    return False


def training_processes(host: Machine) -> list[psutil.Process]:
    """Of the trial that goes on there."""
    found = []
    for process in host.processes():
        with suppress(psutil.Error):
            if process.cmdline()[1:3] == ["-m", "tasks.training.worker"]:
                found.append(process)
    return found


def real(test: Callable[..., None]) -> Callable[..., None]:
    """A drill with servers, hosts and trainings."""
    for mark in (pytest.mark.drill, pytest.mark.stack, pytest.mark.tensorflow, needs_two_cores):
        test = mark(test)
    return test


@real
def test_two_hosts_train_what_one_device_trains(site: Site, say: Say) -> None:
    """Accuracies of the same seeds: their means differ by less than two standard deviations over the seeds."""
    rows = site.measures("two-hosts", strategies=[ONE, WORKERS], num_epochs=5, min_blocks=3, max_blocks=3)
    measured = [row for row in rows if row["role"] == Role.MEASURED]
    gangs = [row for row in measured if row["strategy"] == WORKERS]
    assert [sorted(row["hostnames"]) for row in gangs] == [["h1", "h2"]] * 3
    one, two = ([row["test_accuracy"] for row in measured if row["strategy"] == name] for name in (ONE, WORKERS))
    difference = abs(statistics.mean(one) - statistics.mean(two))
    assert difference <= max(2 * statistics.stdev(one), 0.005), (one, two)
    kind = "s3" if site.has_s3 else "shared folder"
    say(
        event=f"2 hosts, results in {kind}",
        signal="",
        outcome=f"valid; accuracy differs by {difference:.4f} in 3 seeds",
    )


@real
def test_blocks_of_single_hosts_are_spread_and_not_split(site: Site, say: Say) -> None:
    single = {"strategies": [ONE], "global_batch_sizes": [64, 128], "num_hosts": 1}
    rows = site.measures("spread", **single, min_blocks=4, max_blocks=4)
    hosts = {block: {row["hostname"] for row in rows if row["block"] == block} for block in range(1, 5)}
    assert all(len(names) == 1 for names in hosts.values()), hosts
    assert set.union(*hosts.values()) == {"h1", "h2"}
    num_blocks = Counter(name for names in hosts.values() for name in names)
    outcome = ", ".join(f"{count} on {name}" for name, count in sorted(num_blocks.items()))
    say(event="4 blocks over 2 hosts", signal="", outcome=f"valid; {outcome}")


@real
def test_slow_link_makes_a_gang_slow_and_nothing_else(site: Site, say: Say) -> None:
    _, second, _ = site.cluster.hosts

    def seconds(run_name: str) -> float:
        rows = site.measures(run_name, num_epochs=3)
        return next(float(row["training_seconds"]) for row in rows if row["strategy"] == WORKERS)

    free = seconds("unslowed")
    second.slow(20)
    try:
        slow = seconds("slowed")
    finally:
        second.unslow()
    assert slow > 1.5 * free
    say(event="link slowed to 20 Mbit/s", signal="tbf", outcome=f"valid; training took {slow / free:.1f} times as long")


def cut(host: Machine) -> None:
    host.cut()


def kill(host: Machine) -> None:
    host.kill()


def cut_and_kill(host: Machine) -> None:
    host.cut()
    host.kill()


def stop_rank(host: Machine) -> None:
    (rank,) = training_processes(host)
    rank.send_signal(signal.SIGSTOP)


@real
@pytest.mark.parametrize(
    ("lose", "reason", "words"),
    [
        pytest.param(cut, "host_lost", "h2: no word of rank 1", id="link cut"),
        pytest.param(kill, "host_lost", "h2: no word of rank 1", id="host killed"),
        pytest.param(cut_and_kill, "host_lost", "h2: no word of rank 1", id="host without power"),
        pytest.param(stop_rank, "worker_stopped", "h2: rank 1 was stopped", id="rank stopped"),
    ],
)
def test_host_of_a_gang_is_lost(site: Site, say: Say, lose: Callable[[Machine], None], reason: str, words: str) -> None:
    """The run is continued at once: nothing of the lost trial may be in the way of the next one."""
    first, second, _ = site.cluster.hosts
    run_name = f"lost-{lose.__name__.replace('_', '-')}"
    run = site.submit(run_name, num_epochs=NUM_LONG)
    wait_until(lambda: is_training(first) and is_training(second), 300)
    time.sleep(2)
    survivors, folders = training_processes(first), trial_folders(first)
    lose(second)
    began = time.monotonic()
    try:
        wait_until(lambda: failures(site, run_name), NOTICE_SECONDS)
        took = time.monotonic() - began
        wait_until(lambda: not any(map(processes.is_alive, survivors)), 10)
        assert not any(folder.exists() for folder in folders)
    finally:
        second.restore()
        site.await_host(second) if second.processes() else site.join(second)
    (row,) = failures(site, run_name)
    assert row["reason"] == reason
    assert row["message"].startswith(words)
    site.ends(run)
    again = site.ends(site.submit(run_name, num_epochs=NUM_LONG))
    assert (again.state_type, again.state_name) == (StateType.COMPLETED, "Completed"), again.state
    site.leaves_nothing()
    outcome = f"{row['reason']} after {took:.0f} s: {row['message']}; then valid"
    say(event="host 2 of a gang", signal=lose.__name__.replace("_", " "), outcome=outcome)


def failures(site: Site, run_name: str) -> list[Row]:
    return [row for row in site.rows(run_name) if row["status"] == "failed" and row["strategy"] == WORKERS]


@real
def test_two_gangs_and_a_single_trial_at_once_end_all(site: Site, say: Say, tmp_path: Path) -> None:
    """Either host leads a gang and trains a rank of the other's, and one of them trains alone, too."""
    site.measures("at-once")
    sweep = Sweep(**{**GANG, "strategies": (ONE, WORKERS), "global_batch_sizes": (64,), "device": DeviceType.CPU_SLICE})
    data = prepare("mnist", tmp_path)

    def trial(strategy: str, block: int) -> Trial:
        members = plan_block(sweep, DeviceType.CPU_SLICE, data, block)
        return next(each for each in members if (each.role, each.strategy) == (Role.MEASURED, strategy))

    runs = [
        site.submit_trial(trial(WORKERS, 11), "at-once", "h1", "h2"),
        site.submit_trial(trial(WORKERS, 12), "at-once", "h2", "h1"),
        site.submit_trial(trial(ONE, 13), "at-once", "h1"),
    ]
    ends = [site.ends(run) for run in runs]
    assert [run.state_type for run in ends] == [StateType.COMPLETED] * 3, [run.state for run in ends]
    assert {row["status"] for row in site.rows("at-once")} == {"valid"}
    site.leaves_nothing()
    say(event="2 gangs and 1 trial at once", signal="", outcome="all valid")


@real
def test_three_hosts_train(site: Site, say: Say) -> None:
    site.join(site.cluster.hosts[2])
    rows = site.measures("three-hosts", num_hosts=3, num_replicas=3, global_batch_sizes=[96])
    (gang,) = [row for row in rows if (row["strategy"], row["role"]) == (WORKERS, Role.MEASURED)]
    assert gang["hostnames"] == ["h1", "h2", "h3"]
    say(event="3 hosts", signal="", outcome=f"valid; accuracy {gang['test_accuracy']:.3f}")
