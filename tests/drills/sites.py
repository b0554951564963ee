"""A site for drills: a server, a store of results and hosts that train, on the machines of a cluster."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
from prefect.client.schemas.objects import TERMINAL_STATES, FlowRun, StateType
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL
from prefect.settings.context import temporary_settings
from pydantic import TypeAdapter

from flows.names import TRIAL_POOL
from tasks.domain.trial import Trial
from tests.drills.conftest import wait_until
from tests.drills.namespaces import Cluster, Machine, is_reached, make_cluster
from tests.drills.trials import PATIENCE, WORKERS

Row = dict[str, Any]
STRATBENCH = str(Path(sys.executable).with_name("stratbench"))
EXTRAS = Path(__file__).parents[2] / "build" / "extras"
"""Where `make test-extras` has installed a client and a server of S3."""
PREFECT_PORT, STORE_PORT = 4200, 5000
AUTH = "drills:on this machine only"
STORE_SECRETS = {"AWS_ACCESS_KEY_ID": "drills", "AWS_SECRET_ACCESS_KEY": "drills", "AWS_DEFAULT_REGION": "us-east-1"}
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
AUTOMATION_SECONDS = 150.0
"""A run whose machine was lost is ended by the automation within so long."""


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
        found: list[Row] = json.loads(self.cluster.head.run(sys.executable, "-c", READS, run_name))
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


@contextmanager
def make_site(folder: Path) -> Iterator[Site]:
    """Hosts h1 and h2 have joined; h3 has not."""
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
