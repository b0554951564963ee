"""Fan-out: one flow run a trial into the GPU pool, and the patience to wait for all of them."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from uuid import UUID

from prefect import get_run_logger
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowFilter, FlowRunFilter
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.deployments import arun_deployment
from prefect.runtime import flow_run
from prefect.states import Cancelled

from flows.cancelling import WAITING
from flows.crews import TRIAL, WAIT_SECONDS, Attendance, Crew
from flows.gang import disband
from flows.opening import OpenRun
from flows.patience import OUTAGES, Log, patiently
from tasks.domain.cell import Arm
from tasks.domain.outcome import FailureReason
from tasks.domain.trial import Trial
from tasks.results.error import ResultsError
from tasks.training.measurement import record_loss

POLL_SECONDS = 5.0
"""The next trial waits in the pool already: asking more often would only take time from the one that trains."""

Show = Callable[[], Awaitable[None]]
"""Brings the progress that people see up to date with the records."""

_WAITING = {"type": {"any_": WAITING}}


async def run_trials(trials: Sequence[Trial], opened: OpenRun, crew: Crew, show: Show) -> None:
    """Submit the trials to the crew one after another, wait for all, and see to it that each has a record.

    A trial that goes wrong is a record, never an error here. Where waiting ends by an error, what waits is cancelled.
    """
    logger = get_run_logger()
    submitted: dict[UUID, Trial] = {}
    try:
        for trial in trials:
            run = await patiently(partial(_submit, trial, opened, crew), logger)
            submitted[run.id] = trial
            logger.info(f"submitted {trial.label}")
        await _wait(submitted, opened, crew, show, logger)
    except Exception:
        with suppress(*OUTAGES):  # one may be the error; whoever continues the run cancels them then
            await _cancel({"id": {"any_": list(submitted)}, "state": _WAITING}, logger)
        raise


async def say_who_is_running(logger: Log) -> None:
    """Say in the log which other benchmark holds the machine, if one does."""
    async with get_client() as client:
        running = await client.read_flow_runs(
            flow_filter=FlowFilter.model_validate({"name": {"any_": ["benchmark"]}}),
            flow_run_filter=FlowRunFilter.model_validate({"state": {"type": {"any_": [StateType.RUNNING]}}}),
        )
    others = [run.name for run in running if str(run.id) != flow_run.id]
    if others:
        logger.info(f"waiting until {', '.join(others)} has ended: one benchmark at a time")


async def cancel_waiting(run_name: str, logger: Log) -> None:
    """Cancel trials that an earlier flow run of that name left waiting; one that trains goes on to its record."""
    prefix = _name(run_name, "")
    await _cancel({"name": {"like_": prefix}, "state": _WAITING}, logger, prefix)


async def _cancel(where: Mapping[str, object], logger: Log, prefix: str = "") -> None:
    """Cancel the flow runs that the filter finds and whose name begins so."""
    async with get_client() as client:
        for run in await client.read_flow_runs(flow_run_filter=FlowRunFilter.model_validate(where)):
            if run.name.startswith(prefix):
                logger.info(f"cancelling {run.name}: its benchmark does not wait for it any more")
                await client.set_flow_run_state(run.id, Cancelled(message="its benchmark ended"), force=True)


def _name(run_name: str, label: str) -> str:
    """Of a trial's flow run."""
    return f"{run_name}: {label}"


async def _submit(trial: Trial, opened: OpenRun, crew: Crew) -> FlowRun:
    return await arun_deployment(
        TRIAL,
        parameters={
            "trial": trial,
            "run_name": opened.run.run_name,
            "submitted_at": datetime.now(UTC),
            "interpreter": opened.run.sweep.versus if trial.arm is Arm.OTHER else None,
            "num_retries": opened.retries.get(trial.key, 0),
            "others": crew.others if trial.num_hosts > 1 else (),
        },
        flow_run_name=_name(opened.run.run_name, trial.label),
        timeout=0,
        as_subflow=True,
        work_queue_name=crew.queue,
        job_variables={"command": f"python -m flows.engine {trial.workers_per_host}"},
        # The same attempt submits a trial once, however often it is retried; another attempt submits it anew.
        idempotency_key=f"{flow_run.id}:{flow_run.run_count}:{trial.key}",
    )


async def _wait(submitted: dict[UUID, Trial], opened: OpenRun, crew: Crew, show: Show, logger: Log) -> None:
    """Poll until every run has ended; an outage of the API or of the store is waited out, a lost machine is not."""
    going, attendance = dict(submitted), Attendance(crew)
    outages = OUTAGES if opened.folder.storage.is_local else (*OUTAGES, ResultsError)  # a folder's say what to mend
    while going:
        await asyncio.sleep(POLL_SECONDS)
        num_going = len(going)
        await patiently(partial(_look, going, opened, crew, attendance, logger), logger, outages)
        if len(going) < num_going:
            await patiently(show, logger, outages)


async def _look(going: dict[UUID, Trial], opened: OpenRun, crew: Crew, attendance: Attendance, logger: Log) -> None:
    """Take out of `going` what has its record: the trials that have ended, and those whose machine is gone."""
    wanted = FlowRunFilter.model_validate({"id": {"any_": list(going)}})
    async with get_client() as client:
        runs = await client.read_flow_runs(flow_run_filter=wanted)
    for run in runs:
        if run.state and run.state.is_final():
            await asyncio.to_thread(_finish, run, going[run.id], opened, crew, logger)
            del going[run.id]
    absent = await attendance.absent()
    for run in runs:
        trial = going.get(run.id)
        if trial and run.state_type in WAITING and (away := absent.intersection(crew.hosts[: trial.num_hosts])):
            await _give_up(run, trial, opened, crew, away)
            del going[run.id]


async def _give_up(run: FlowRun, trial: Trial, opened: OpenRun, crew: Crew, absent: Collection[str]) -> None:
    """Write the record of a run that waits for a machine that is gone, and end it; may be repeated."""
    message = f"{' and '.join(sorted(absent))} has been away or paused for {WAIT_SECONDS:.0f} s"
    await asyncio.to_thread(_record_loss, trial, opened, crew, FailureReason.HOST_LOST, message)
    async with get_client() as client:
        await client.set_flow_run_state(run.id, Cancelled(message="its machine is gone"), force=True)


def _finish(run: FlowRun, trial: Trial, opened: OpenRun, crew: Crew, logger: Log) -> None:
    """Log how a trial ended; write its record if the run that should have written it was lost; may be repeated."""
    assert run.state is not None
    if trial.key not in opened.finished_keys():
        reason = FailureReason.CANCELLED if run.state.is_cancelled() else FailureReason.RUN_LOST
        said = f": {run.state.message}" if run.state.message else ""
        if trial.num_hosts > 1:
            disband(run, trial, opened.folder)
        _record_loss(trial, opened, crew, reason, f"its flow run ended as {run.state.name} without a record{said}")
    logger.info(f"{trial.label}: {run.state.message or run.state.name}")


def _record_loss(trial: Trial, opened: OpenRun, crew: Crew, reason: FailureReason, message: str) -> None:
    record_loss(
        trial,
        run_name=opened.run.run_name,
        folder=opened.folder,
        environment=crew.environment,
        hostnames=crew.hosts[: trial.num_hosts],
        message=message,
        reason=reason,
        num_retries=opened.retries.get(trial.key, 0),
    )
