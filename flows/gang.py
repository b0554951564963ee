"""Gangs: one trial whose ranks train on several machines; its flow run submits one of flow `rank` to each other one."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import product
from uuid import UUID

import httpx
from prefect import flow, task
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId, FlowRunFilterParentFlowRunId
from prefect.client.schemas.objects import FlowRun, State
from prefect.deployments import arun_deployment
from prefect.exceptions import PrefectHTTPStatusError
from prefect.logging import get_run_logger
from prefect.states import Cancelled, Cancelling, Completed, Failed
from pydantic import TypeAdapter

from flows import hosts
from flows.meeting import Meeting, MissedError
from flows.opening import find_run, obtain_data
from tasks.domain.dataset import PreparedDataset
from tasks.domain.outcome import FailureReason
from tasks.domain.refusal import Refusal
from tasks.domain.trial import Trial
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
OUTAGES = (httpx.TransportError, PrefectHTTPStatusError)

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
            chief=self.chief,
            run_count=self.run_count,
            attempt=self._num_attempts,
            num_places=self.trial.num_hosts,
        )
        with get_client(sync_client=True) as client, self._submitted(client, meeting, on_line) as runs:
            watch = _Watch(client, runs, stop)
            try:
                own = _train_part(self.trial, meeting, 0, self.data, watch.halt, on_line, watch.is_over)
            except TrialStopped as stopped:
                if stop.is_set() or stopped.part is None:
                    raise
                own = stopped.part
            finally:
                watch.end()
            return [own, *self._collect(client, meeting, runs, stop)]

    @contextmanager
    def _submitted(self, client: SyncPrefectClient, meeting: Meeting, on_line: OnLine) -> Iterator[list[FlowRun]]:
        """The flow runs of the other machines; none goes on behind this, and nothing of them is left."""
        runs: list[FlowRun] = []
        try:
            for place, host in enumerate(self.others, start=1):
                on_line(f"asking {host} for its part")
                runs.append(self._submit(meeting, place, host))
            yield runs
        finally:
            has_part = [self.folder.storage.exists(_document(meeting, place)) for place in range(1, len(runs) + 1)]
            cancel(client, [run.id for run, is_done in zip(runs, has_part, strict=True) if not is_done])
            _clear(client, self.folder, meeting)

    def _submit(self, meeting: Meeting, place: int, host: str) -> FlowRun:
        submission = arun_deployment(
            DEPLOYMENT,
            parameters={"trial": self.trial, "run_name": self.run_name, "meeting": meeting, "place": place},
            flow_run_name=f"{self.run_name}: {self.trial.label}, part of {host}",
            timeout=0,
            as_subflow=True,
            work_queue_name=hosts.rank_queue(host),
            job_variables={"command": f"python -m flows.engine {self.trial.workers_per_host}"},
        )
        return asyncio.run(submission)

    def _collect(
        self, client: SyncPrefectClient, meeting: Meeting, runs: Sequence[FlowRun], stop: threading.Event
    ) -> Iterator[Part]:
        """The other machines' parts; those that come to no end are told to stop, those that stay silent are lost."""
        parts: dict[int, Part] = {}
        ended: dict[UUID, str] = {}
        for is_told, patience in ((False, REPORT_SECONDS), (True, STOP_SECONDS)):
            deadline = time.monotonic() + patience
            while missing := [place for place in range(1, self.trial.num_hosts) if place not in parts]:
                if stop.is_set():
                    raise TrialStopped
                over = _ended(client, runs)
                ended |= {} if is_told else over
                for place in missing:
                    with suppress(FileNotFoundError):
                        content = self.folder.storage.read(_document(meeting, place))
                        parts[place] = _PART.validate_json(content)
                if time.monotonic() > deadline or all(runs[place - 1].id in over for place in missing):
                    break
                time.sleep(POLL_SECONDS / 2)
            else:
                break
            cancel(client, [run.id for place, run in enumerate(runs, start=1) if place not in parts])
        for place, (host, run) in enumerate(zip(self.others, runs, strict=True), start=1):
            yield parts.get(place) or _silent(self.trial, place, host, ended.get(run.id))


class _Watch:
    """Halts the ranks here when the trial is stopped, or a while after another machine's part has ended badly."""

    def __init__(self, client: SyncPrefectClient, runs: Sequence[FlowRun], stop: threading.Event) -> None:
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
            if self._lost_at is None and any(_ended(self._client, self._runs).values()):
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
    wanted = FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[run.id]))
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
        folder.storage.remove(_document(meeting, place))


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
        with meeting.attended(place, own, is_over) as addresses:
            ranks = Ranks(numbers=_ranks(trial, place), addresses=addresses)
            return train_part(trial, ranks, data, stop=stop, on_line=on_line)
    except MissedError as missed:
        return lost_part(FailureReason.CANCELLED, str(missed))


def _ranks(trial: Trial, place: int) -> range:
    """The ranks of machine `place`."""
    return range(place * trial.workers_per_host, (place + 1) * trial.workers_per_host)


def _document(meeting: Meeting, place: int) -> str:
    """Where machine `place` leaves its part, in the folder of the run."""
    return f"parts/{meeting.name(place)}.json"


def _silent(trial: Trial, place: int, host: str, end: str | None) -> Part:
    """The part of machine `place` that has left none, although its flow run came to that end, or to none (None)."""
    reason = FailureReason.HOST_LOST if end is None else FailureReason.RUN_LOST
    ranks = _ranks(trial, place)
    who = f"rank {ranks[0]}" if len(ranks) == 1 else f"ranks {ranks[0]} to {ranks[-1]}"
    message = f"no word of {who}: {end or 'the machine was lost, or the connection to it'}"
    loss = Loss(reason=reason, message=message, phase=None, lost_at=time.time())
    return Part(hostname=host, outcomes=(), loss=loss, wall_seconds=0.0, ended_at=0.0, usage=None)


def _read(client: SyncPrefectClient, ids: Sequence[UUID]) -> list[FlowRun]:
    return client.read_flow_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=list(ids))))


def _ended(client: SyncPrefectClient, runs: Sequence[FlowRun]) -> dict[UUID, str]:
    """Of the runs that have come to an end, how; empty for a good one. An outage of the API is no end."""
    found = {}
    with suppress(*OUTAGES):
        for run in _read(client, [run.id for run in runs]):
            if run.state and run.state.is_final():
                bad = f"its flow run ended as {run.state.name}: {run.state.message}"
                found[run.id] = "" if run.state.is_completed() else bad
    return found
