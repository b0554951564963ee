"""A trial of several machines: its flow run against a real server; what the others do is played."""

import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import pytest
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.states import Completed, Failed, Running
from prefect.testing.utilities import prefect_test_harness

from flows import gang, meeting
from flows.gang import Gang, disband
from flows.meeting import Meeting, MissedError
from tasks.domain.outcome import FailureReason
from tasks.domain.strategy import Strategy
from tasks.results.store import RunFolder
from tasks.training.launcher import TrialStopped
from tasks.training.part import Loss, Part
from tests.analysis.example_runs import make_run
from tests.examples import DATA, make_trial

TRIAL = make_trial(strategy=Strategy.MULTI_WORKER_MIRRORED, num_hosts=2, num_workers=2, replicas_per_worker=1)


@pytest.fixture(scope="module", autouse=True)
def _server() -> Iterator[None]:
    with prefect_test_harness(server_startup_timeout=120):
        yield


@pytest.fixture(autouse=True)
def _short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gang, "POLL_SECONDS", 0.1)
    monkeypatch.setattr(gang, "FOLLOW_SECONDS", 0.3)
    monkeypatch.setattr(gang, "REPORT_SECONDS", 2.0)
    monkeypatch.setattr(gang, "STOP_SECONDS", 1.0)
    monkeypatch.setattr(meeting, "POLL_SECONDS", 0.1)


@pytest.fixture
def client() -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as client:
        yield client


@flow(name="rank")
def played() -> None:
    """Stands for the flow run of another machine."""


def part(hostname: str, loss: Loss | None = None) -> Part:
    return Part(hostname=hostname, outcomes=(), loss=loss, wall_seconds=1.0, ended_at=2.0, usage=None)


def lost(reason: FailureReason, message: str) -> Loss:
    return Loss(reason=reason, message=message, phase="training", lost_at=1.0)


def test_machines_that_meet_know_all_addresses_in_the_order_of_the_ranks(client: SyncPrefectClient) -> None:
    three = Meeting(chief=uuid4(), run_count=1, attempt=1, num_places=3)

    def attend(place: int) -> tuple[str, ...]:
        with three.attended(place, (f"h{place}:1", f"h{place}:2")) as addresses:
            everybody.wait(20)
            return addresses

    everybody = threading.Barrier(3)
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(attend, (2, 0, 1)))
    assert found == [("h0:1", "h0:2", "h1:1", "h1:2", "h2:1", "h2:2")] * 3
    assert client.read_variables() == []


def test_meeting_to_which_somebody_does_not_come_ends_and_leaves_nothing(
    client: SyncPrefectClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meeting, "SECONDS", 0.5)
    two = Meeting(chief=uuid4(), run_count=1, attempt=1, num_places=2)
    with pytest.raises(MissedError, match="1 of 2 machines came to the meeting"), two.attended(1, ("h1:1",)):
        pass
    monkeypatch.setattr(meeting, "SECONDS", 600)
    with pytest.raises(MissedError), two.attended(0, ("h0:1",), is_over=lambda: True):
        pass
    assert client.read_variables() == []


class Play:
    """A gang of two machines of which the other one is played."""

    def __init__(self, folder: RunFolder, client: SyncPrefectClient, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.client = folder, client
        self.chief = client.create_flow_run(played, name="trial").id
        self.own: Callable[[threading.Event], Part] = lambda halt: part("h1")
        self.other: Callable[[FlowRun, Callable[[Part], None]], None] = lambda run, leave: leave(part("h2"))
        self.runs: list[FlowRun] = []
        monkeypatch.setattr(gang, "arun_deployment", self._submit)
        monkeypatch.setattr(gang, "_train_part", lambda t, m, place, d, halt, on_line, is_over: self.own(halt))

    async def _submit(self, deployment: str, *, parameters: dict[str, object], **settings: object) -> FlowRun:
        assert (deployment, settings["work_queue_name"]) == ("rank/gpu", "h2.ranks")
        meeting = parameters["meeting"]
        assert meeting == Meeting(chief=self.chief, run_count=1, attempt=1, num_places=2)
        run = self.client.create_flow_run(played, state=Running())

        def leave(part: Part) -> None:
            self.folder.storage.put_if_absent(gang._document(meeting, 1), gang._PART.dump_json(part))

        self.runs.append(run)
        self.other(run, leave)
        return run

    def train(self, stop: threading.Event | None = None) -> list[Part]:
        leader = Gang(
            trial=TRIAL,
            run_name="full",
            folder=self.folder,
            chief=self.chief,
            run_count=1,
            others=("h2",),
            data=DATA,
        )
        return leader.train(stop or threading.Event(), logging.getLogger("test").info)

    def end(self, run: FlowRun, message: str = "") -> None:
        self.client.set_flow_run_state(run.id, Failed(message=message) if message else Completed(), force=True)

    def state(self) -> str:
        state = self.client.read_flow_run(self.runs[-1].id).state
        assert state
        return str(state.name)

    def is_clean(self) -> bool:
        return not self.folder.storage.names("parts", "") and not self.client.read_variables()


@pytest.fixture
def play(tmp_path: Path, client: SyncPrefectClient, monkeypatch: pytest.MonkeyPatch) -> Iterator[Play]:
    folder = RunFolder(tmp_path / "full")
    folder.create(make_run())
    found = Play(folder, client, monkeypatch)
    yield found
    assert found.is_clean()


def test_parts_of_all_machines_come_back_the_chiefs_first(play: Play) -> None:
    assert [part.hostname for part in play.train()] == ["h1", "h2"]
    assert play.state() == "Running", "its flow run has left its part, and comes to its end by itself"


def test_loss_of_the_other_machine_halts_the_ranks_here_and_is_told(play: Play) -> None:
    def other(run: FlowRun, leave: Callable[[Part], None]) -> None:
        leave(part("h2", lost(FailureReason.WORKER_KILLED, "rank 1 was ended by SIGKILL")))
        play.end(run, "lost")

    def own(halt: threading.Event) -> Part:
        assert halt.wait(20), "nothing told the ranks here to stop"
        raise TrialStopped(part("h1", lost(FailureReason.CANCELLED, "it was stopped")))

    play.own, play.other = own, other
    reasons = [part.loss.reason for part in play.train() if part.loss]
    assert reasons == [FailureReason.CANCELLED, FailureReason.WORKER_KILLED]


def test_machine_that_says_no_word_is_lost_and_told_to_stop(play: Play) -> None:
    play.own = lambda halt: part("h1", lost(FailureReason.WORKER_ERROR, "rank 0 ended with UnavailableError"))
    play.other = lambda run, leave: None
    silent = play.train()[1]
    assert silent.hostname == "h2"
    assert silent.loss
    assert silent.loss.reason is FailureReason.HOST_LOST
    assert silent.loss.message == "no word of rank 1: the machine was lost, or the connection to it"
    assert play.state() == "Cancelling"


def test_machine_that_is_told_to_stop_may_still_say_what_it_knows(play: Play) -> None:
    def other(run: FlowRun, leave: Callable[[Part], None]) -> None:
        def wait() -> None:
            with get_client(sync_client=True) as client:
                while not (state := client.read_flow_run(run.id).state) or state.name != "Cancelling":
                    pass
            leave(part("h2", lost(FailureReason.WORKER_STOPPED, "rank 1 was stopped")))

        threading.Thread(target=wait, daemon=True).start()

    play.other = other
    stopped = play.train()[1]
    assert stopped.loss
    assert stopped.loss.reason is FailureReason.WORKER_STOPPED


def test_flow_run_that_ended_without_a_part_is_told_with_its_message(play: Play) -> None:
    play.other = lambda run, leave: play.end(run, "no such data")
    failed = play.train()[1]
    assert failed.loss
    assert failed.loss.reason is FailureReason.RUN_LOST
    assert failed.loss.message == "no word of rank 1: its flow run ended as Failed: no such data"


def test_stopped_trial_stops_the_other_machine_and_has_no_parts(play: Play) -> None:
    stop = threading.Event()

    def own(halt: threading.Event) -> Part:
        stop.set()
        assert halt.wait(20)
        raise TrialStopped(part("h1"))

    play.own, play.other = own, lambda run, leave: None
    with pytest.raises(TrialStopped):
        play.train(stop)
    assert play.state() == "Cancelling"


def test_what_a_lost_chief_has_left_is_removed(play: Play, client: SyncPrefectClient) -> None:
    attempt = Meeting(chief=play.chief, run_count=1, attempt=2, num_places=2)
    with pytest.raises(KeyboardInterrupt), attempt.attended(0, ("h1:1",), is_over=_interrupt):
        pass
    play.folder.storage.put_if_absent(gang._document(attempt, 1), b"{}")
    assert not play.is_clean()
    client.set_flow_run_state(play.chief, Running(), force=True)
    disband(client.read_flow_run(play.chief), TRIAL, play.folder)


def _interrupt() -> bool:
    raise KeyboardInterrupt
