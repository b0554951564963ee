"""Drills in which a part of the stack is lost while a benchmark goes on: the real server, pools, workers, trainings."""

import json
import platform
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from uuid import UUID

import psutil
import pytest
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.states import Cancelling

from flows import locations
from flows.names import SWEEP_LIMIT, machine_limit
from flows.stack import processes
from flows.stack.local import Stack, down, up
from tasks.results.store import RunFolder
from tests.drills.conftest import Say, wait_until
from tests.drills.trials import PATIENCE
from tests.examples import needs_two_cores
from tests.flows.stack.conftest import isolate

pytestmark = [pytest.mark.stack, pytest.mark.tensorflow, pytest.mark.drill, needs_two_cores]
PORTS = "4800-4899"
SMALL = {
    "strategies": ["one_device"],
    "global_batch_sizes": [64, 128, 256],
    "num_epochs": 5,
    "max_train_examples": 6000,
    "min_blocks": 1,
    "max_blocks": 1,
}
NUM_TRIALS = 4
"""Of a block: one a batch size, and the discarded one."""
ALL_VALID = [("valid", None)] * NUM_TRIALS
ONE_LOST = [("failed", "run_lost"), *ALL_VALID[1:]]
ENDING = [pytest.param(number, id=number.name) for number in (signal.SIGKILL, signal.SIGTERM)]
LEASE_SECONDS = 90.0
"""A lease of 60 s frees itself within so long."""
BENCHMARK, TRIAL = "prefect.engine", "flows.engine"
SERVER, BENCHMARK_WORKER, TRIAL_WORKER = "server", "worker of benchmark", "worker of trial"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        root = tmp_path_factory.mktemp("root")
        isolate(monkeypatch, root)
        (root / "tmp").mkdir()
        monkeypatch.setenv("TMPDIR", str(root / "tmp"))
        (root / "packages").mkdir()
        (root / "packages" / "sitecustomize.py").write_text(PATIENCE)
        monkeypatch.setenv("PYTHONPATH", str(root / "packages"))
        try:
            yield up(ports=PORTS)
        finally:
            down()
            processes.sweep()


class Going:
    """A benchmark that has recorded some trials and trains another."""

    def __init__(self, stack: Stack, run_name: str) -> None:
        self.stack, self.name = stack, run_name
        self.folder = RunFolder(locations.runs() / run_name)
        self.id = self.submit()
        wait_until(self._is_in_the_middle, 300)
        self.finished = {path: path.read_bytes() for path in (Path(self.folder.location) / "trials").glob("*.parquet")}

    def submit(self) -> UUID:
        """Run benchmark/smoke under this run name."""
        with self.stack.server.connected() as client:
            deployment = client.read_deployment_by_name("benchmark/smoke").id
            run = client.create_flow_run_from_deployment(deployment, parameters={**SMALL, "run_name": self.name})
            return run.id

    def _is_in_the_middle(self) -> bool:
        return len(self.folder.num_records()) == 2 and any(phase == "training" for phase in phases())

    def ends(self, seconds: float = 300) -> FlowRun:
        """The flow run, once it has ended."""
        wait_until(lambda: (state := self.read().state) is not None and state.is_final(), seconds)
        return self.read()

    def read(self) -> FlowRun:
        """The flow run as it is."""
        with self.stack.server.connected() as client:
            return client.read_flow_run(self.id)

    def statuses(self) -> list[tuple[str, str | None]]:
        """Status and reason of every trial, sorted."""
        rows = self.folder.read().trials.select(["status", "reason"]).to_pylist()
        return sorted((row["status"], row["reason"]) for row in rows)

    def leaves_nothing(self) -> None:
        """What was finished has the same bytes; no process, slot, variable or file is left."""
        assert {path: path.read_bytes() for path in self.finished} == self.finished
        parts = set(processes.parts().values())
        wait_until(lambda: set(processes.marked()) - helpers(parts) == parts, 15)
        with self.stack.server.connected() as client:
            limits = (SWEEP_LIMIT, machine_limit(platform.node()))
            wait_until(
                lambda: not any(client.read_global_concurrency_limit_by_name(n).active_slots for n in limits),
                LEASE_SECONDS,
            )
            assert client._client.post("/variables/filter", json={}).json() == []
        temporary = locations.root() / "tmp"
        assert not [path for path in temporary.glob("stratbench-trial-*") if not is_abandoned(path)]
        assert not [path for path in (Path(self.folder.location) / "trials").iterdir() if path.name.startswith(".")]

    def is_completed_by_the_same_command(self) -> None:
        """The same run name again trains what is missing and touches nothing else."""
        before = self.folder.num_records()
        self.id = self.submit()
        run = self.ends()
        assert (run.state_type, run.state_name) == (StateType.COMPLETED, "Completed"), run.state
        assert self.statuses() == ALL_VALID
        assert all(count == before.get(key, 0) or key not in before for key, count in self.folder.num_records().items())

    def report(self) -> str:
        """The text of its report; empty while there is none."""
        path = locations.reports() / self.name / "report.md"
        return path.read_text().replace("\\", "") if path.exists() else ""


def helpers(parts: set[psutil.Process]) -> set[psutil.Process]:
    """Children of the parts that are no flow runs: the server's own."""
    found = set()
    for part in parts:
        with suppress(psutil.Error):
            found |= {child for child in part.children(recursive=True) if "engine" not in " ".join(child.cmdline())}
    return found


def is_abandoned(folder: Path) -> bool:
    """Whether the next trial will remove it: nobody holds its lock."""
    return (folder / "owner").exists()


def phases() -> list[str]:
    """Of the training processes of this root."""
    return [path.read_text() for path in (locations.root() / "tmp").glob("stratbench-trial-*/phase-*")]


def engine(module: str) -> psutil.Process:
    """The process that runs the flow benchmark, or the trial that trains."""
    found = []
    for process, environment in processes.marked().items():
        with suppress(psutil.Error):
            if module in process.cmdline() and "PREFECT__FLOW_RUN_ID" in environment:
                found.append(process)
    return min(found, key=lambda process: process.create_time())


def send(number: signal.Signals, *lost: psutil.Process) -> None:
    for process in lost:
        process.send_signal(number)
    wait_until(lambda: not any(processes.is_alive(process) for process in lost), 40)


def lose(number: signal.Signals, flow_run: psutil.Process, event: str, worker: str | None) -> str:
    """The event, in words: that process is lost, with the pool worker that watches over it if one is named."""
    if worker is None:
        send(number, flow_run)
        return event
    send(number, processes.parts()[worker], flow_run)
    up(ports=PORTS)
    return f"pool worker and {event}"


@pytest.fixture
def going(stack: Stack, request: pytest.FixtureRequest) -> Going:
    up(ports=PORTS)
    return Going(stack, "".join(letter if letter.isalnum() else "-" for letter in request.node.name))


@pytest.mark.parametrize("number", ENDING)
@pytest.mark.parametrize("with_worker", [False, True])
def test_engine_of_a_trial_is_lost(going: Going, say: Say, number: signal.Signals, with_worker: bool) -> None:
    event = lose(number, engine(TRIAL), "engine of a trial", TRIAL_WORKER if with_worker else None)
    run = going.ends()
    assert (run.state_type, run.state_name) == (StateType.COMPLETED, "Degraded"), run.state
    assert going.statuses() == ONE_LOST
    assert "run_lost" in going.report()
    going.leaves_nothing()
    say(event, number.name, "that trial is run_lost, the rest is valid; Degraded")


@pytest.mark.parametrize("number", ENDING)
@pytest.mark.parametrize("with_worker", [False, True])
def test_engine_of_the_benchmark_is_lost(going: Going, say: Say, number: signal.Signals, with_worker: bool) -> None:
    event = lose(number, engine(BENCHMARK), "engine of the benchmark", BENCHMARK_WORKER if with_worker else None)
    run = going.ends(200 if with_worker else 60)
    assert run.state_type in (StateType.CRASHED, StateType.FAILED), run.state
    if not with_worker:  # which runs the hook that reports what is there
        wait_until(lambda: "NOT THE END" in going.report(), 30)
        going.leaves_nothing()
    going.is_completed_by_the_same_command()
    going.leaves_nothing()
    say(event, number.name, f"Crashed{'' if with_worker else ', partial report'}; resumed to the end")


@pytest.mark.parametrize("number", ENDING)
def test_worker_of_the_trials_is_lost(going: Going, say: Say, number: signal.Signals) -> None:
    send(number, processes.parts()[TRIAL_WORKER])
    up(ports=PORTS)
    run = going.ends()
    assert run.state_type == StateType.COMPLETED, run.state
    found = going.statuses()
    assert [status for status, _ in found].count("valid") >= NUM_TRIALS - 1
    going.leaves_nothing()
    say("pool worker of the trials", number.name, f"`up` restarts it; {summary(found)}")


@pytest.mark.parametrize("number", ENDING)
@pytest.mark.parametrize("seconds", [5, 60])
def test_server_is_lost_for_a_while(going: Going, say: Say, number: signal.Signals, seconds: int) -> None:
    send(number, processes.parts()[SERVER])
    time.sleep(seconds)
    up(ports=PORTS)
    run = going.ends()
    assert run.state_type == StateType.COMPLETED, run.state
    assert going.statuses() == ALL_VALID
    going.leaves_nothing()
    say(f"server, down for {seconds} s", number.name, "all trials valid")


def test_cancelled_run_stops_within_15_seconds_and_leaves_a_partial_report(going: Going, say: Say) -> None:
    with going.stack.server.connected() as client:
        client.set_flow_run_state(going.id, Cancelling())
        began = time.monotonic()
        parts = set(processes.parts().values())
        wait_until(lambda: not phases() and set(processes.marked()) - helpers(parts) == parts, 15)
        took = time.monotonic() - began
    assert going.ends(10).state_type == StateType.CANCELLED
    assert "NOT THE END" in going.report()
    going.leaves_nothing()
    going.is_completed_by_the_same_command()
    say("cancelled in Prefect", "", f"stopped after {took:.0f} s, partial report; resumed")


def test_retried_flow_run_trains_only_what_is_missing(going: Going, say: Say) -> None:
    send(signal.SIGKILL, engine(TRIAL))
    assert going.ends().state_name == "Degraded"
    with going.stack.server.connected() as client:
        url = f"/flow_runs/{going.id}/set_state"
        client._client.post(url, content=json.dumps({"state": {"type": "SCHEDULED"}, "force": True})).raise_for_status()
    wait_until(lambda: not (state := going.read().state) or not state.is_final(), 30)
    run = going.ends()
    assert (run.state_type, run.state_name) == (StateType.COMPLETED, "Completed"), run.state
    assert going.statuses() == ALL_VALID
    assert sorted(going.folder.num_records().values()) == [1] * (NUM_TRIALS - 1) + [2]
    going.leaves_nothing()
    say("prefect flow-run retry", "", "the failed trial alone is run again")


def summary(found: list[tuple[str, str | None]]) -> str:
    counts = Counter(word for row in found for word in row if word)
    return ", ".join(f"{count} {word}" for word, count in counts.items())
