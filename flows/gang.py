"""Gangs: one trial whose ranks train on several machines; its flow run submits one of flow `rank` to each other one."""

import asyncio
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import product
from uuid import UUID

from prefect import flow, task
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun, State
from prefect.deployments import arun_deployment
from prefect.logging import get_run_logger
from prefect.states import Cancelled, Cancelling, Completed, Failed
from pydantic import TypeAdapter

from flows import hosts
from flows.meeting import SECONDS, Meeting, MissedError
from flows.opening import find_run, obtain_data
from flows.patience import OUTAGES
from tasks.domain.dataset import PreparedDataset
from tasks.domain.outcome import FailureReason
from tasks.domain.refusal import Refusal
from tasks.domain.trial import Trial
from tasks.results.error import ResultsError
from tasks.results.store import RunFolder
from tasks.training.cluster import free_addresses
from tasks.training.launcher import OnLine, TrialStopped, lost_part
from tasks.training.measurement import train_part
from tasks.training.part import Loss, Part, Ranks
from tasks.training.task import stoppable

DEPLOYMENT = "rank/gpu"
POLL_SECONDS = 2.0
FOLLOW_SECONDS = 10.0
"""Patience with the ranks here once another machine's are lost: TensorFlow notices most losses within 9 s."""
REPORT_SECONDS = 15.0
"""Patience with the other machines once the ranks here have ended; then they are told to stop."""
STOP_SECONDS = 30.0
"""Patience with those that were told to stop."""

_PART = TypeAdapter(Part)


@flow(name="rank", persist_result=False)
async def rank(trial: Trial, run_name: str, meeting: Meeting, place: int) -> State:
    """Train the ranks of one machine of a trial and leave its part to the machine of rank 0.

    Args:
        trial: the whole configuration.
        run_name: the run that the trial belongs to.
        meeting: where the machines of the trial tell each other their addresses.
        place: number of this machine among those of the trial, from 1.
    """
    try:
        folder = find_run(run_name)
        data = await asyncio.to_thread(obtain_data, trial)
    except Refusal as refusal:
        return Failed(name="Refused", message=str(refusal))
    part = await train_ranks(trial, folder, meeting, place, data)
    return Failed(name="Lost", message=part.loss.message) if part.loss else Completed(message="its part is done")


@task(name="train ranks", task_run_name="train ranks of machine {place}", persist_result=False)
async def train_ranks(trial: Trial, folder: RunFolder, meeting: Meeting, place: int, data: PreparedDataset) -> Part:
    """Train them and leave the part, also the part of a training that was stopped."""
    on_line = get_run_logger().info

    def keep(part: Part) -> Part:
        folder.storage.put_if_absent(_document(meeting, place), _PART.dump_json(part))
        return part

    def work(stop: threading.Event) -> Part:
        try:
            return keep(_train_part(trial, meeting, place, data, stop, on_line, stop.is_set))
        except TrialStopped as stopped:
            if stopped.part:
                keep(stopped.part)
            raise
        finally:
            _leave(folder, meeting, place)

    return await stoppable(work)


@dataclass(kw_only=True, slots=True)
class Gang:
    """The machines of a trial, as its flow run leads them."""

    trial: Trial
    run_name: str
    folder: RunFolder
    chief: UUID
    """The trial's flow run."""
    run_count: int
    """How often that flow run was started."""
    others: tuple[str, ...]
    """Names of the other machines."""
    data: PreparedDataset
    _num_attempts: int = field(default=0, init=False)

    def train(self, stop: threading.Event, on_line: OnLine) -> list[Part]:
        """One attempt: the parts of all machines, this one's first. Raises TrialStopped once `stop` is set."""
        self._num_attempts += 1
        meeting = Meeting(
            chief=self.chief, run_count=self.run_count, attempt=self._num_attempts, num_places=self.trial.num_hosts
        )
        parts: dict[int, Part] = {}
        with get_client(sync_client=True) as client, self._submitted(client, meeting, parts, on_line) as runs:
            watch = _Watch(client, runs.values(), stop)
            try:
                own = _train_part(self.trial, meeting, 0, self.data, watch.halt, on_line, watch.is_over)
            except TrialStopped as stopped:
                if stop.is_set() or stopped.part is None:
                    raise
                own = stopped.part
            finally:
                watch.end()
            return [own, *self._collect(client, meeting, runs, parts, stop)]

    @contextmanager
    def _submitted(
        self, client: SyncPrefectClient, meeting: Meeting, parts: Mapping[int, Part], on_line: OnLine
    ) -> Iterator[dict[int, FlowRun]]:
        """The flow runs of the other machines; none but those of `parts` goes on behind this, nothing is left."""
        runs: dict[int, FlowRun] = {}
        try:
            for place, host in enumerate(self.others, start=1):
                on_line(f"asking {host} for its part")
                submission = arun_deployment(
                    DEPLOYMENT,
                    parameters={"trial": self.trial, "run_name": self.run_name, "meeting": meeting, "place": place},
                    flow_run_name=f"{self.run_name}: {self.trial.label}, part of {host}",
                    timeout=0,
                    as_subflow=True,
                    work_queue_name=hosts.rank_queue(host),
                    job_variables={"command": f"python -m flows.engine {self.trial.workers_per_host}"},
                )
                runs[place] = asyncio.run(submission)
            yield runs
        finally:
            cancel(client, [run.id for place, run in runs.items() if place not in parts])
            _clear(client, self.folder, meeting)

    def _collect(
        self,
        client: SyncPrefectClient,
        meeting: Meeting,
        runs: Mapping[int, FlowRun],
        parts: dict[int, Part],
        stop: threading.Event,
    ) -> Iterator[Part]:
        """The other machines' parts; those that come to no end are told to stop, those that stay silent are lost."""
        ended: dict[UUID, State] = {}
        told: set[int] = set()
        for patience in (REPORT_SECONDS, STOP_SECONDS):
            deadline = time.monotonic() + patience
            while missing := runs.keys() - parts.keys():
                if stop.is_set():
                    raise TrialStopped
                ended |= _ended(client, runs.values())
                for place in missing:
                    with suppress(FileNotFoundError, ResultsError):
                        found = _PART.validate_json(self.folder.storage.read(_document(meeting, place)))
                        parts[place] = found if place in told else _as_lost(found)
                if time.monotonic() > deadline or all(runs[place].id in ended for place in missing):
                    break
                time.sleep(POLL_SECONDS / 2)
            if silent := {place for place in runs.keys() - parts.keys() if runs[place].id not in ended}:
                told |= silent
                cancel(client, [runs[place].id for place in silent])
        for place, host in enumerate(self.others, start=1):
            end = ended.get(runs[place].id)
            yield parts.get(place) or _silent(self.trial, place, host, end, was_told=place in told)


class _Watch:
    """Halts the ranks here when the trial is stopped, or a while after another machine's part has ended badly."""

    def __init__(self, client: SyncPrefectClient, runs: Collection[FlowRun], stop: threading.Event) -> None:
        self.halt = threading.Event()
        self._client, self._runs, self._stop = client, runs, stop
        self._lost_at: float | None = None
        self._has_ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def is_over(self) -> bool:
        """Whether the others wait in vain for one another."""
        return self._stop.is_set() or self._lost_at is not None

    def end(self) -> None:
        """Stop watching."""
        self._has_ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._has_ended.wait(POLL_SECONDS):
            if self._lost_at is None and not all(
                state.is_completed() for state in _ended(self._client, self._runs).values()
            ):
                self._lost_at = time.monotonic()
            if self._stop.is_set() or (self._lost_at and time.monotonic() > self._lost_at + FOLLOW_SECONDS):
                self.halt.set()


def cancel(client: SyncPrefectClient, ids: Sequence[UUID]) -> None:
    """Tell those flow runs to stop that have not ended; one that nobody has taken up ends at once."""
    with suppress(*OUTAGES):
        for run in _read(client, ids):
            if run.state and not run.state.is_final():
                waits = run.state.is_scheduled() or run.state.is_pending()
                state = Cancelled if waits else Cancelling
                client.set_flow_run_state(run.id, state(message="its trial has ended"), force=waits)


def disband(run: FlowRun, trial: Trial, folder: RunFolder) -> None:
    """Stop what a lost trial has asked of other machines, and remove what they have left for each other."""
    wanted = FlowRunFilter.model_validate({"parent_flow_run_id": {"any_": [run.id]}})
    with get_client(sync_client=True) as client:
        cancel(client, [child.id for child in client.read_flow_runs(flow_run_filter=wanted)])
        for count, attempt in product(range(1, run.run_count + 1), (1, 2)):
            meeting = Meeting(chief=run.id, run_count=count, attempt=attempt, num_places=trial.num_hosts)
            _clear(client, folder, meeting)


def _clear(client: SyncPrefectClient, folder: RunFolder, meeting: Meeting) -> None:
    places = range(meeting.num_places)
    with suppress(*OUTAGES):
        meeting.forget(client, *places)
    for place in places:
        with suppress(ResultsError):
            folder.storage.remove(_document(meeting, place))


def _leave(folder: RunFolder, meeting: Meeting, place: int) -> None:
    """Take back what machine `place` has told, and its part if it comes too late: its chief has taken all back."""
    with suppress(*OUTAGES, ResultsError), get_client(sync_client=True) as client:
        if not meeting.stands(client, place):
            folder.storage.remove(_document(meeting, place))
        meeting.forget(client, place)


def _train_part(
    trial: Trial,
    meeting: Meeting,
    place: int,
    data: PreparedDataset,
    stop: threading.Event,
    on_line: OnLine,
    is_over: Callable[[], bool],
) -> Part:
    """Meet the other machines and train the ranks of this one."""
    own = free_addresses(hosts.own_address(), trial.workers_per_host)
    try:
        with get_client(sync_client=True) as client:
            addresses = meeting.attend(client, place, own, is_over)
    except MissedError as missed:
        who = " and ".join(_say_ranks(trial, place) for place in missed.places)
        if missed.is_late:
            return lost_part(FailureReason.HOST_LOST, f"{who} did not come for {SECONDS:.0f} s")
        return lost_part(FailureReason.CANCELLED, f"it was over before {who} came")
    return train_part(trial, Ranks(numbers=_ranks(trial, place), addresses=addresses), data, stop=stop, on_line=on_line)


def _ranks(trial: Trial, place: int) -> range:
    """The ranks of machine `place`."""
    return range(place * trial.workers_per_host, (place + 1) * trial.workers_per_host)


def _document(meeting: Meeting, place: int) -> str:
    """Where machine `place` leaves its part, in the folder of the run."""
    return f"parts/{meeting.name(place)}.json"


def _say_ranks(trial: Trial, place: int) -> str:
    ranks = _ranks(trial, place)
    return f"rank {ranks[0]}" if len(ranks) == 1 else f"ranks {ranks[0]} to {ranks[-1]}"


def _as_lost(part: Part) -> Part:
    """That part; if it was stopped, and not by its chief, its machine has left."""
    if part.loss is None or part.loss.reason is not FailureReason.CANCELLED:
        return part
    message = f"its worker was stopped or its flow run cancelled: {part.loss.message}"
    return replace(part, loss=replace(part.loss, reason=FailureReason.HOST_LOST, message=message))


def _silent(trial: Trial, place: int, host: str, end: State | None, was_told: bool) -> Part:
    """The part of machine `place` that has left none, although its flow run came to that end, or to none.

    `was_told` says whether it ended, if it did, because it was told to.
    """
    if end is None:
        reason, how = FailureReason.HOST_LOST, "the machine was lost, or the connection to it"
    elif was_told and end.is_cancelled():
        reason, how = FailureReason.CANCELLED, "it was told to stop before it trained"
    else:
        reason, how = FailureReason.RUN_LOST, f"its flow run ended as {end.name}: {end.message}"
    loss = Loss(reason=reason, message=f"no word of {_say_ranks(trial, place)}: {how}", phase=None, lost_at=time.time())
    return Part(hostname=host, outcomes=(), loss=loss, wall_seconds=0.0, ended_at=0.0, usage=None)


def _read(client: SyncPrefectClient, ids: Sequence[UUID]) -> list[FlowRun]:
    return client.read_flow_runs(flow_run_filter=FlowRunFilter.model_validate({"id": {"any_": list(ids)}}))


def _ended(client: SyncPrefectClient, runs: Iterable[FlowRun]) -> dict[UUID, State]:
    """How those of the runs ended that have come to an end. An outage of the API is no end."""
    with suppress(*OUTAGES):
        found = _read(client, [run.id for run in runs])
        return {run.id: run.state for run in found if run.state and run.state.is_final()}
    return {}
