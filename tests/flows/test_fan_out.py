"""The trials of a block, from their submission to their records, against a real server; nothing trains."""

import asyncio
import shutil
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from prefect import flow
from prefect.client.orchestration import PrefectClient, SyncPrefectClient
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.logging import disable_run_logger
from prefect.states import Crashed, Running, Scheduled

from flows import fan_out, patience
from flows.crews import Attendance, Crew
from flows.fan_out import cancel_waiting, get_run_logger, run_trials
from flows.opening import OpenRun
from tasks.domain.device import Devices, DeviceType
from tasks.domain.outcome import FailureReason
from tasks.domain.refusal import Refusal
from tasks.domain.strategy import Strategy
from tasks.domain.trial import Trial
from tasks.results.error import ResultsError
from tasks.results.storage import RemoteStorage
from tasks.results.store import RunFolder
from tests.analysis.example_runs import ENVIRONMENT, make_run
from tests.examples import DATA, make_trial
from tests.flows.conftest import fail_at_first

CREW = Crew(pool="gpu", environment=ENVIRONMENT, devices=Devices(cores=(0, 1)), others=("h2",))
ALONE = make_trial()
GANG = make_trial(strategy=Strategy.MULTI_WORKER_MIRRORED, num_hosts=2, num_workers=2, replicas_per_worker=1)

pytestmark = pytest.mark.usefixtures("harness")


@pytest.fixture(autouse=True)
def absent(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Names of machines that are gone; nobody waits for long."""
    gone: set[str] = set()

    async def answer(self: Attendance) -> frozenset[str]:
        return frozenset(gone)

    monkeypatch.setattr(Attendance, "absent", answer)
    monkeypatch.setattr(fan_out, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(patience, "PAUSE_SECONDS", 0.05)
    return gone


@flow(name="trial")
def played() -> None:
    """Stands for the flow run of a trial."""


async def nothing() -> None:
    """Shows no progress."""


class Block:
    """A block whose trials are in the states that a test wants."""

    def __init__(self, location: Path | str, client: SyncPrefectClient, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.client = RunFolder(location), client
        self.folder.create(make_run())
        self.runs: dict[str, FlowRun] = {}
        self.states: dict[str, State] = {}
        monkeypatch.setattr(fan_out, "_submit", self.submit)

    async def submit(self, trial: Trial, opened: OpenRun, crew: Crew) -> FlowRun:
        run = self.client.create_flow_run(played, name=f"full: {trial.label}")
        self.client.set_flow_run_state(run.id, self.states[trial.key], force=True)
        self.runs[trial.key] = run
        return run

    def measure(self, states: dict[Trial, State]) -> None:
        self.states = {trial.key: state for trial, state in states.items()}
        opened = OpenRun(make_run(), self.folder, DATA, DeviceType.CPU_SLICE, None)
        with disable_run_logger():
            asyncio.run(run_trials(list(states), opened, CREW, nothing))

    def state(self, trial: Trial) -> StateType | None:
        return self.client.read_flow_run(self.runs[trial.key].id).state_type

    def record(self, trial: Trial) -> tuple[str, str]:
        (row,) = (row for row in self.folder.read().trials.to_pylist() if row["trial_key"] == trial.key)
        return row["reason"], row["message"]


@pytest.fixture
def block(tmp_path: Path, client: SyncPrefectClient, monkeypatch: pytest.MonkeyPatch) -> Block:
    return Block(tmp_path / "full", client, monkeypatch)


@pytest.fixture
def remote(client: SyncPrefectClient, monkeypatch: pytest.MonkeyPatch) -> Block:
    return Block(f"memory://{uuid4()}/full", client, monkeypatch)


def test_lost_trial_is_recorded_and_its_gang_disbanded_although_the_api_was_away(
    block: Block, monkeypatch: pytest.MonkeyPatch
) -> None:
    disbanded: list[Trial] = []
    monkeypatch.setattr(fan_out, "disband", lambda run, trial, folder: disbanded.append(trial))
    fail_at_first(monkeypatch, fan_out, "disband", httpx.ConnectError("no route"))
    block.measure({GANG: Crashed(message="its engine was lost")})
    assert disbanded == [GANG]
    message = "its flow run ended as Crashed without a record: its engine was lost"
    assert block.record(GANG) == (FailureReason.RUN_LOST, message)


def test_what_waits_for_a_machine_that_is_gone_is_given_up_although_the_api_was_away(
    block: Block, absent: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    absent |= {ENVIRONMENT.hostname}
    fail_at_first(monkeypatch, PrefectClient, "set_flow_run_state", httpx.ReadTimeout("busy"))
    block.measure({ALONE: Scheduled()})
    message = f"{ENVIRONMENT.hostname} has been away or paused for 180 s"
    assert block.record(ALONE) == (FailureReason.HOST_LOST, message)
    assert block.state(ALONE) is StateType.CANCELLED


def test_only_trials_that_need_the_machine_are_given_up(block: Block, absent: set[str]) -> None:
    absent |= {"h2"}
    block.measure({GANG: Scheduled(), ALONE: Crashed(message="lost")})
    assert block.record(GANG) == (FailureReason.HOST_LOST, "h2 has been away or paused for 180 s")
    assert block.record(ALONE)[0] == FailureReason.RUN_LOST


def test_folder_that_cannot_be_written_is_said_at_once_and_what_waits_is_cancelled(
    block: Block, client: SyncPrefectClient
) -> None:
    shutil.rmtree(block.folder.storage.location)
    waiting, training = make_trial(seed=2), make_trial(seed=3)
    other = client.create_flow_run(played, name="full: of another crew", state=Scheduled())
    with pytest.raises(ResultsError, match="cannot be written"):
        block.measure({ALONE: Crashed(), waiting: Scheduled(), training: Running()})
    assert block.state(waiting) is StateType.CANCELLED
    assert block.state(training) is StateType.RUNNING
    assert client.read_flow_run(other.id).state_type is StateType.SCHEDULED


def test_store_that_cannot_be_reached_is_waited_for(remote: Block, monkeypatch: pytest.MonkeyPatch) -> None:
    failures = fail_at_first(monkeypatch, RemoteStorage, "put_if_absent", ResultsError("it cannot be reached"))
    remote.measure({ALONE: Crashed(message="lost")})
    assert not failures
    assert remote.record(ALONE)[0] == FailureReason.RUN_LOST


def test_store_that_stays_away_ends_the_waiting(remote: Block, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = make_trial(seed=2)
    monkeypatch.setattr(patience, "PATIENCE_SECONDS", -1.0)
    fail_at_first(monkeypatch, RemoteStorage, "put_if_absent", ResultsError("it cannot be reached"))
    with pytest.raises(ResultsError, match="it cannot be reached"):
        remote.measure({ALONE: Crashed(), waiting: Scheduled()})
    assert remote.state(waiting) is StateType.CANCELLED


def test_submission_is_repeated_after_an_outage(block: Block, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_at_first(monkeypatch, fan_out, "_submit", httpx.ConnectError("no route"))
    block.measure({ALONE: Crashed()})
    assert block.record(ALONE)[0] == FailureReason.RUN_LOST


def test_error_before_anything_is_submitted_cancels_nothing(
    block: Block, client: SyncPrefectClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = client.create_flow_run(played, name="full: of another crew", state=Scheduled())
    fail_at_first(monkeypatch, fan_out, "_submit", Refusal("no such queue"))
    with pytest.raises(Refusal, match="no such queue"):
        block.measure({ALONE: Scheduled()})
    assert client.read_flow_run(other.id).state_type is StateType.SCHEDULED


def test_what_an_earlier_run_left_waiting_is_cancelled_by_its_name(client: SyncPrefectClient) -> None:
    names = ("night_1: a", "night_1: b", "nightx1: a")
    runs = [client.create_flow_run(played, name=name, state=Scheduled()) for name in names]
    client.set_flow_run_state(runs[1].id, Running(), force=True)

    async def cancel() -> None:
        with disable_run_logger():
            await cancel_waiting("night_1", get_run_logger())

    asyncio.run(cancel())
    found = [client.read_flow_run(run.id).state_type for run in runs]
    assert found == [StateType.CANCELLED, StateType.RUNNING, StateType.SCHEDULED]
