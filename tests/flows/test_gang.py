"""A trial of several machines: its flow run against a real server; what the others do is played."""

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID, uuid4

import httpx
import pytest
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import VariableCreate
from prefect.client.schemas.objects import FlowRun
from prefect.logging import disable_run_logger
from prefect.states import Completed, Failed, Running, Scheduled

from flows import gang, meeting
from flows.gang import Gang, disband
from flows.meeting import Meeting, MissedError
from tasks.domain.outcome import FailureReason, TrialFailure
from tasks.domain.strategy import Strategy
from tasks.results.error import ResultsError
from tasks.results.store import RunFolder
from tasks.training.launcher import TrialStopped
from tasks.training.merging import merge_parts
from tasks.training.part import Loss, Part
from tests.analysis.example_runs import make_run
from tests.examples import DATA, make_trial
from tests.flows.conftest import fail_at_first

TRIAL = make_trial(strategy=Strategy.MULTI_WORKER_MIRRORED, num_hosts=2, num_workers=2, replicas_per_worker=1)

pytestmark = pytest.mark.usefixtures("harness")


@pytest.fixture(autouse=True)
def _short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gang, "POLL_SECONDS", 0.1)
    monkeypatch.setattr(gang, "FOLLOW_SECONDS", 0.3)
    monkeypatch.setattr(gang, "REPORT_SECONDS", 2.0)
    monkeypatch.setattr(gang, "STOP_SECONDS", 1.0)
    monkeypatch.setattr(meeting, "POLL_SECONDS", 0.1)


@flow(name="rank")
def played() -> None:
    """Stands for the flow run of another machine."""


def part(hostname: str, loss: Loss | None = None) -> Part:
    return Part(hostname=hostname, outcomes=(), loss=loss, wall_seconds=1.0, ended_at=2.0, usage=None)


def lost(reason: FailureReason, message: str) -> Loss:
    return Loss(reason=reason, message=message, phase="training", lost_at=1.0)


def meet(num_places: int = 2, chief: UUID | None = None, attempt: int = 1) -> Meeting:
    return Meeting(chief=chief or uuid4(), run_count=1, attempt=attempt, num_places=num_places)


def test_machines_that_meet_know_all_addresses_in_the_order_of_the_ranks(client: SyncPrefectClient) -> None:
    three = meet(3)

    def attend(place: int) -> tuple[str, ...]:
        with get_client(sync_client=True) as own:
            return three.attend(own, place, (f"h{place}:1", f"h{place}:2"))

    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(attend, (2, 0, 1)))
    assert found == [("h0:1", "h0:2", "h1:1", "h1:2", "h2:1", "h2:2")] * 3
    three.forget(client, 0, 1, 2)
    assert client.read_variables() == []


def test_meeting_to_which_somebody_does_not_come_ends(
    client: SyncPrefectClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meeting, "SECONDS", 0.5)
    two = meet()
    with pytest.raises(MissedError) as late:
        two.attend(client, 1, ("h1:1",))
    assert (late.value.places, late.value.is_late) == ([0], True)
    two.forget(client, 1)
    monkeypatch.setattr(meeting, "SECONDS", 600)
    with pytest.raises(MissedError) as over:
        two.attend(client, 0, ("h0:1",), is_over=lambda: True)
    assert (over.value.places, over.value.is_late) == ([1], False)
    two.forget(client, 0)


def test_meeting_waits_an_outage_out(client: SyncPrefectClient, monkeypatch: pytest.MonkeyPatch) -> None:
    one, outages = meet(1), (httpx.ConnectError("no route"), httpx.ReadTimeout("busy"))
    fail_at_first(monkeypatch, client, "read_variable_by_name", *outages)
    assert one.attend(client, 0, ("h0:1",)) == ("h0:1",)
    one.forget(client, 0)


@pytest.mark.parametrize(
    ("is_late", "reason", "message"),
    [
        (True, FailureReason.HOST_LOST, "rank 1 did not come for 300 s"),
        (False, FailureReason.CANCELLED, "it was over before rank 1 came"),
    ],
)
def test_machine_that_missed_the_meeting_is_named_by_its_ranks(
    is_late: bool, reason: FailureReason, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def miss(*arguments: object) -> None:
        raise MissedError([1], is_late=is_late)

    monkeypatch.setattr(Meeting, "attend", miss)
    nobody = threading.Event()
    loss = gang._train_part(TRIAL, meet(), 0, DATA, nobody, logging.getLogger("test").info, nobody.is_set).loss
    assert loss
    assert (loss.reason, loss.message) == (reason, message)


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
        assert meeting == meet(chief=self.chief)
        run = self.client.create_flow_run(played, state=Running())

        def leave(part: Part) -> None:
            self.folder.storage.put_if_absent(gang._document(meeting, 1), gang._PART.dump_json(part))

        self.runs.append(run)
        self.other(run, leave)
        return run

    def train(self, stop: threading.Event | None = None) -> list[Part]:
        leader = Gang(
            trial=TRIAL, run_name="full", folder=self.folder, chief=self.chief, run_count=1, others=("h2",), data=DATA
        )
        return leader.train(stop or threading.Event(), logging.getLogger("test").info)

    def loss_of_h2(self) -> tuple[FailureReason, str]:
        _, other = self.train()
        assert other.hostname == "h2"
        assert other.loss
        return other.loss.reason, other.loss.message

    def blame(self) -> tuple[FailureReason, str]:
        failure = merge_parts(TRIAL, self.train())
        assert isinstance(failure, TrialFailure)
        return failure.reason, failure.message

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
    message = "no word of rank 1: the machine was lost, or the connection to it"
    assert play.loss_of_h2() == (FailureReason.HOST_LOST, message)
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
    assert play.loss_of_h2() == (FailureReason.WORKER_STOPPED, "rank 1 was stopped")


def test_flow_run_that_ended_without_a_part_is_told_with_its_message(play: Play) -> None:
    play.other = lambda run, leave: play.end(run, "no such data")
    message = "no word of rank 1: its flow run ended as Failed: no such data"
    assert play.loss_of_h2() == (FailureReason.RUN_LOST, message)


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


def test_machine_that_was_stopped_by_somebody_else_is_to_blame(play: Play) -> None:
    def other(run: FlowRun, leave: Callable[[Part], None]) -> None:
        leave(part("h2", lost(FailureReason.CANCELLED, "rank 1 was stopped in phase training")))
        play.end(run, "stopped")

    follow_up = part("h1", lost(FailureReason.WORKER_ERROR, "rank 0 ended with UnavailableError"))
    play.own, play.other = lambda halt: follow_up, other
    message = "h2: its worker was stopped or its flow run cancelled: rank 1 was stopped in phase training"
    assert play.blame() == (FailureReason.HOST_LOST, message)


def test_machine_that_was_told_to_stop_before_it_trained_is_not_to_blame(play: Play) -> None:
    def other(run: FlowRun, leave: Callable[[Part], None]) -> None:
        play.client.set_flow_run_state(run.id, Scheduled(), force=True)

    error = part("h1", lost(FailureReason.WORKER_ERROR, "rank 0 ended with an error of its own"))
    play.own, play.other = lambda halt: error, other
    assert play.blame() == (FailureReason.WORKER_ERROR, "h1: rank 0 ended with an error of its own")


def test_store_that_fails_for_a_moment_costs_no_part(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    storage, away = type(play.folder.storage), ResultsError("the results cannot be reached")
    failures = [fail_at_first(monkeypatch, storage, name, away) for name in ("read", "remove")]
    assert [part.hostname for part in play.train()] == ["h1", "h2"]
    assert failures == [[], []]


@pytest.fixture
def at_h2(play: Play, monkeypatch: pytest.MonkeyPatch) -> Callable[[Meeting], Part]:
    """The task by which h2 trains its part, without a training."""
    monkeypatch.setattr(gang, "_train_part", lambda *arguments: part("h2"))

    def train(two: Meeting) -> Part:
        with disable_run_logger():
            return asyncio.run(gang.train_ranks.fn(TRIAL, play.folder, two, 1, DATA))

    return train


def test_part_is_left_although_the_api_is_away(
    play: Play, at_h2: Callable[[Meeting], Part], client: SyncPrefectClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> bool:
        raise httpx.ConnectError("no route")

    two = meet(chief=play.chief)
    monkeypatch.setattr(Meeting, "stands", fail)
    assert at_h2(two).hostname == "h2"
    assert play.folder.storage.exists(gang._document(two, 1))
    play.folder.storage.remove(gang._document(two, 1))


def test_part_that_comes_after_its_trial_has_ended_is_removed(
    play: Play, at_h2: Callable[[Meeting], Part], client: SyncPrefectClient
) -> None:
    two = meet(chief=play.chief)
    client.create_variable(VariableCreate(name=two.name(1), value=["h2:1"]))
    at_h2(two)
    assert play.folder.storage.exists(gang._document(two, 1)), "its chief is there"
    assert client.read_variables() == [], "the chief has taken back what h2 told"
    at_h2(two)
    assert play.is_clean(), "nobody would read it any more"


def test_what_a_lost_chief_has_left_is_removed(play: Play, client: SyncPrefectClient) -> None:
    attempt = meet(chief=play.chief, attempt=2)
    client.create_variable(VariableCreate(name=attempt.name(0), value=["h1:1"]))
    play.folder.storage.put_if_absent(gang._document(attempt, 1), b"{}")
    assert not play.is_clean()
    client.set_flow_run_state(play.chief, Running(), force=True)
    disband(client.read_flow_run(play.chief), TRIAL, play.folder)
