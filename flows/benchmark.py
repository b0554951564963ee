"""Flow `benchmark`: prepare the data, run the trials that the planner asks for, report."""

import asyncio
import dataclasses
import json
import re
import shlex
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.concurrency.asyncio import concurrency
from prefect.runtime import deployment, flow_run
from prefect.settings import get_current_settings
from prefect.states import Completed, Failed
from pydantic import Field

from flows import locations
from flows.alerts import send
from flows.cancelling import cancel_children, end_as, report_what_is_there
from flows.crews import muster
from flows.events import Links, missed
from flows.fan_out import cancel_waiting, say_who_is_running
from flows.judging import end_night, final_state
from flows.names import LATEST_START, LEASE, SWEEP_LIMIT
from flows.night import plan_night
from flows.opening import open_run
from flows.patience import Log
from flows.spreading import measure
from tasks.analysis.analysis import Analysis
from tasks.analysis.coverage import RunState
from tasks.analysis.frames import checked
from tasks.data.exchange import publish
from tasks.data.preparation import examine
from tasks.data.task import prepare_dataset
from tasks.domain.device import DeviceType
from tasks.domain.loop import Loop
from tasks.domain.model import Model
from tasks.domain.precision import Precision
from tasks.domain.reduction import Reduction
from tasks.domain.refusal import Refusal
from tasks.domain.strategy import Strategy
from tasks.domain.sweep import Sweep
from tasks.reporting.files import REPORT
from tasks.reporting.night import NIGHT
from tasks.results.error import ResultsError
from tasks.results.history import History, parse_day
from tasks.results.storage import open_storage
from tasks.results.store import RunFolder

DEFAULTS = Sweep()
NIGHT_NAME = r"(\d{4}-\d{2}-\d{2})(?:-\d{6})?"
"""A scheduled run that could not start for so long is refused: measured by day, it would not be that night's."""

Count = Annotated[int, Field(ge=1)]


def name_run() -> str:
    """The run's name, `<deployment>-<scheduled start>` unless given; a retried run keeps the one that it has.

    A night has the name of its date, so that it is continued by naming it. A second one of that date, and one that
    somebody starts beside the schedule, has its time as well, for it measures anew.
    """
    given, start = flow_run.parameters, flow_run.scheduled_start_time
    if name := given.get("run_name"):
        return str(name)
    prefix = deployment.name or "benchmark"
    if re.fullmatch(rf"{re.escape(prefix)}-({NIGHT_NAME}|\d{{8}}-\d{{6}})", str(flow_run.name)):
        return str(flow_run.name)
    if given.get("night"):
        return f"{prefix}-{given['night']}"
    if given.get("is_nightly"):
        night = f"{prefix}-{start:%Y-%m-%d}"
        is_first = "auto-scheduled" in flow_run.tags and not _has_begun(night)
        return night if is_first else f"{night}-{start:%H%M%S}"
    return f"{prefix}-{start:%Y%m%d-%H%M%S}"


@flow(
    name="benchmark",
    flow_run_name=name_run,
    on_cancellation=[cancel_children, report_what_is_there],
    on_crashed=[cancel_children, report_what_is_there],
    persist_result=False,
)
async def benchmark(
    strategies: Annotated[tuple[Strategy, ...], Field(min_length=1)] = DEFAULTS.strategies,
    global_batch_sizes: Annotated[tuple[Count, ...], Field(min_length=1)] = DEFAULTS.global_batch_sizes,
    num_epochs: Count = DEFAULTS.num_epochs,
    min_blocks: Count = DEFAULTS.min_blocks,
    max_blocks: Count = DEFAULTS.max_blocks,
    half_width: Annotated[float, Field(gt=0, lt=1)] = DEFAULTS.half_width,
    num_whole_blocks: Count | None = DEFAULTS.num_whole_blocks,
    short_epochs: Count = DEFAULTS.short_epochs,
    budget_minutes: Annotated[float, Field(gt=0)] | None = DEFAULTS.budget_minutes,
    versus: str | None = DEFAULTS.versus,
    num_replicas: Count = DEFAULTS.num_replicas,
    num_hosts: Count = DEFAULTS.num_hosts,
    device: DeviceType | None = DEFAULTS.device,
    cores_per_replica: Count = DEFAULTS.cores_per_replica,
    dataset: str = DEFAULTS.dataset,
    max_train_examples: Count | None = DEFAULTS.max_train_examples,
    model: Model = DEFAULTS.model,
    loops: Annotated[tuple[Loop, ...], Field(min_length=1)] = DEFAULTS.loops,
    precisions: Annotated[tuple[Precision, ...], Field(min_length=1)] = DEFAULTS.precisions,
    xla: Annotated[tuple[bool, ...], Field(min_length=1)] = DEFAULTS.xla,
    reductions: Annotated[tuple[Reduction, ...], Field(min_length=1)] = DEFAULTS.reductions,
    steps_per_call: tuple[Count, ...] | None = DEFAULTS.steps_per_call,
    skip_unsupported: bool = DEFAULTS.skip_unsupported,
    is_tf32_enabled: bool = DEFAULTS.is_tf32_enabled,
    learning_rate: Annotated[float, Field(gt=0, lt=1)] = DEFAULTS.learning_rate,
    target_accuracy: Annotated[float, Field(gt=0, lt=1)] = DEFAULTS.target_accuracy,
    seed: Annotated[int, Field(ge=0)] = DEFAULTS.seed,
    trial_timeout_seconds: Annotated[float, Field(gt=0)] = DEFAULTS.trial_timeout_seconds,
    is_nightly: bool = False,
    night: date | None = None,
    run_name: str | None = None,
) -> State:
    """Measure every strategy at every batch size and report.

    Args:
        strategies: what is compared.
        global_batch_sizes: examples per optimizer step over all replicas.
        num_epochs: passes over the training data in a whole block.
        min_blocks: complete passes over the grid, each in a shuffled order with a seed of its own; 6 can decide.
        max_blocks: blocks are added up to so many, until the widest pair is as narrow as half_width.
        half_width: wanted half-width of the widest pair's 95 % interval, as a share.
        num_whole_blocks: the first so many blocks train all epochs, the others short_epochs; empty: all.
        short_epochs: passes over the training data in a short block.
        budget_minutes: no block is begun that would not end in time; empty: no limit.
        versus: Python of another environment, which trains every point as well; empty: none.
        num_replicas: devices of the distributed strategies.
        num_hosts: machines over which `multi_worker_mirrored` spreads its devices; the others train on one.
        device: what one replica trains on; empty: GPUs where there are some, otherwise slices of cores.
        cores_per_replica: width of a CPU slice in physical cores.
        dataset: `mnist`, `fashion_mnist`, or a path to a folder of IDX files or to an `.npz` file.
        max_train_examples: train on the first so many examples only; empty: all.
        model: what is trained.
        loops: how the training steps are driven.
        precisions: the types in which the model computes.
        xla: whether XLA compiles each replica's computation.
        reductions: how replicas add up their gradients; each for the strategies that know it.
        steps_per_call: optimizer steps in one call of the compiled loop; empty: 32 under the fused loop, else 1.
        skip_unsupported: leave out combinations that cannot work instead of refusing them.
        is_tf32_enabled: TensorFloat-32 in float32 products; affects GPUs only.
        learning_rate: Adam's step size.
        target_accuracy: test accuracy whose first reaching is the time to accuracy.
        seed: seed of block 1; also shuffles the trials.
        trial_timeout_seconds: deadline of one trial.
        is_nightly: judge the run against the nights before; their noise says how many blocks there are.
        night: the night that it stands for; empty: of a nightly run the day of its scheduled start, in UTC.
        run_name: names the results and the report; a run of that name and configuration is continued.
    """
    given = {**locals(), "dataset": locations.dataset(dataset)}  # the signature is Sweep's, and Prefect's form
    logger, has_begun = get_run_logger(), False
    try:
        name = run_name or str(flow_run.name)
        day = _checked(night or _date_of(name)) if is_nightly or night else None
        if late := await _too_late(day, logger):
            return late
        asked = sweep = Sweep(**{field.name: given[field.name] for field in dataclasses.fields(Sweep)})
        await say_who_is_running(logger)
        async with concurrency(SWEEP_LIMIT, **LEASE):
            if late := await _too_late(day, logger):  # another benchmark may have taken hours
                return late
            if day is not None:
                sweep = await asyncio.to_thread(plan_night, asked, day, logger)
            data = await asyncio.to_thread(examine, sweep.dataset, locations.data_cache())
            crews = await muster(sweep, data, logger)
            with open_run(
                sweep,
                run_name=name,
                command=_command(asked),
                location=locations.run(name),
                data=data,
                devices=crews[0].devices,
                may_continue=True,
                night=day,
            ) as opened:
                has_begun, report = True, locations.reports() / name
                try:
                    await cancel_waiting(name, logger)
                    prepared = prepare_dataset(sweep.dataset, str(locations.data_cache()))
                    if not (root := open_storage(locations.results())).is_local:
                        await asyncio.to_thread(publish, prepared, root)
                    end = await measure(opened, crews, report)
                except Exception:
                    await end_as(name, str(flow_run.id), "crashed")
                    raise
                if day is not None:
                    tonight = await end_night(end.analysis.run, end.tables, report, str(flow_run.id), logger)
                    return final_state(tonight, report / NIGHT)
                history = History(locations.results())
                await asyncio.to_thread(history.append, end.analysis.run, checked(end.tables, asked))
    except Refusal as refusal:
        return Failed(name="Failed" if has_begun else "Refused", message=str(refusal))
    return _final_state(end.analysis, report / REPORT)


def _has_begun(name: str) -> bool:
    """Whether there is a run of that name at the results root."""
    with suppress(ResultsError):  # which the run itself then says
        return RunFolder(locations.run(name)).exists()
    return False


def _final_state(analysis: Analysis, report: Path) -> State:
    coverage = analysis.coverage
    message = f"{coverage.valid} of {coverage.planned} trials valid; report: {report}"
    if coverage.valid == 0:
        return Failed(message=message)
    if coverage.state is not RunState.COMPLETE:
        return Completed(name="Degraded", message=message)
    return Completed(message=message)


def _date_of(name: str) -> date:
    """The night in a run's name, which stays when the run is retried; or else of its scheduled start."""
    found = re.search(f"{NIGHT_NAME}$", name)
    return parse_day("run_name", found and found[1]) or flow_run.scheduled_start_time.date()


def _checked(night: date) -> date:
    """That night; raises Refusal for one that is still to come: every later one would be judged as if before it."""
    if night > (today := datetime.now(UTC).date()):
        raise Refusal(f"night={night} is still to come; name {today} (today, in UTC) or an earlier one")
    return night


async def _too_late(night: date | None, logger: Log) -> State | None:
    """The state of a run that a schedule created and that begins too late, which is told of a night; or None."""
    if "auto-scheduled" not in flow_run.tags or flow_run.run_count > 1:
        return None
    late = datetime.now(UTC) - flow_run.scheduled_start_time
    if late <= LATEST_START:
        return None
    why = f"scheduled {late / timedelta(hours=1):.1f} hours ago; not measured, not caught up"
    if night is not None:
        links = Links(run_id=str(flow_run.id), ui_url=get_current_settings().ui_url)
        await send([missed([night], why, str(flow_run.name), links)], logger)
    return Failed(name="NotMeasured", message=why)


def _command(sweep: Sweep) -> str:
    """The command that measures the same sweep again: what differs from the defaults is stated."""
    command = ["prefect", "deployment", "run", f"benchmark/{deployment.name or 'full'}"]
    for field in dataclasses.fields(Sweep):
        if (value := getattr(sweep, field.name)) != getattr(DEFAULTS, field.name):
            command += ["--param", f"{field.name}={json.dumps(value)}"]
    return shlex.join(command)
