"""What to run next: a pure function of the sweep and of what has been recorded."""

import random
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

from tasks.analysis.statistics import expected_half_width
from tasks.domain.cell import Arm, Cell
from tasks.domain.dataset import PreparedDataset
from tasks.domain.device import DeviceType
from tasks.domain.loop import Loop
from tasks.domain.strategy import Strategy
from tasks.domain.sweep import Sweep
from tasks.domain.trial import Role, Trial
from tasks.planning.stopping import Clock, Finished, next_block

CPU_MICRO_BATCH_SIZE = 64
"""Rows at a time on a CPU slice under the fused loop, so that activations stay in the caches."""

DISCARDED_STEPS = 64
"""Optimizer steps of the trial that is run before a block and thrown away."""

OVERHEAD_SECONDS = 8.0
"""Expected of a trial beside its training, until two trials of this run say otherwise."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Again:
    """The second look of a night: what is measured again once the first one is complete."""

    cells: tuple[Cell, ...]
    """Of any arm; every arm trains them."""
    num_blocks: int
    """Further blocks of those cells alone."""
    seconds_left: float | None = None
    """Of the time budget; null without one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recorded:
    """What a run has so far."""

    keys: Collection[str] = ()
    """Keys of the trials that have a record, valid or not: they are not run again."""
    half_width: float | None = None
    """Of the widest declared pair's interval, as a share; null while it is not known."""
    seconds_left: float | None = None
    """Of the time budget; null without one."""
    examples_per_second: Mapping[tuple[Role, Cell], float] = field(default_factory=dict)
    """Medians of the valid trials; what is missing is expected to train as the slowest of them."""
    overhead_seconds: float | None = None
    """Of a trial beside its training; null while it is not known."""
    again: Again | None = None
    """Null where nothing is measured again."""


def next_trials(
    sweep: Sweep, device: DeviceType, data: PreparedDataset, recorded: Recorded
) -> tuple[Trial, ...] | Finished:
    """The trials to run now, in order: what is missing of the block that was begun, or the next block.

    A discarded trial comes before them; it has a record, too, and enters no number. Within a time budget the first
    one comes alone: by its throughput the blocks are planned.
    """
    num_blocks = num_whole = 0
    while num_blocks < sweep.max_blocks:
        whole, short = (plan_block(sweep, device, data, num_blocks + 1, is_whole) for is_whole in (True, False))
        kinds = [plan for plan, other in ((whole, short), (short, whole)) if _is_begun(plan, other, recorded)]
        if not kinds:
            break
        if missing := _missing(kinds[0], recorded):
            return missing
        num_blocks, num_whole = num_blocks + 1, num_whole + (kinds[0] is whole)
    clock = None if recorded.seconds_left is None else _clock(sweep, device, data, recorded)
    first = plan_block(sweep, device, data, 1)[0]
    if clock and not recorded.examples_per_second and first.key not in recorded.keys:
        return (first,)
    step = next_block(sweep, num_blocks=num_blocks, num_whole=num_whole, half_width=recorded.half_width, clock=clock)
    if isinstance(step, Finished):
        return _next_again(sweep, device, data, recorded, num_blocks) or step
    return _missing(plan_block(sweep, device, data, num_blocks + 1, step), recorded)


def _next_again(
    sweep: Sweep, device: DeviceType, data: PreparedDataset, recorded: Recorded, num_blocks: int
) -> tuple[Trial, ...]:
    """What is missing of the second look, which comes after so many blocks; nothing where no time is left for more."""
    if (again := recorded.again) is None:
        return ()
    wanted = {replace(cell, arm=Arm.HERE) for cell in again.cells}
    members = [(Role.AGAIN, cell) for cell in sweep.cells if replace(cell, arm=Arm.HERE) in wanted]
    for block in range(num_blocks + 1, num_blocks + again.num_blocks + 1):
        plan = _shuffled(sweep, device, data, block, False, members)
        if missing := _missing(plan, recorded):
            is_begun = any(trial.key in recorded.keys for trial in plan[1:])
            is_late = again.seconds_left is not None and _seconds_of(plan, recorded) > again.seconds_left
            return () if is_late and not is_begun else missing
    return ()


def _is_begun(plan: Sequence[Trial], other: Sequence[Trial], recorded: Recorded) -> bool:
    """Whether a trial is recorded that tells the plan from the other one, where they differ."""
    keys, others = ({trial.key for trial in trials[1:]} for trials in (plan, other))
    return any(key in recorded.keys for key in (keys - others or keys))


def _missing(plan: Sequence[Trial], recorded: Recorded) -> tuple[Trial, ...]:
    """The trials of a block without a record; none where only the discarded one has none."""
    missing = tuple(trial for trial in plan if trial.key not in recorded.keys)
    return missing if any(trial.role is not Role.DISCARDED for trial in missing) else ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Forecast:
    """What a run is expected to come to if trials differ from run to run by `EXPECTED_NOISE`."""

    num_whole: int
    num_short: int
    """Blocks of both kinds, those that are recorded among them."""
    seconds: tuple[float, float]
    """Of a whole and of a short block."""
    half_width: float | None
    """Of a pair's 95 % interval, as a share; null below 2 blocks."""


def forecast(sweep: Sweep, device: DeviceType, data: PreparedDataset, recorded: Recorded) -> Forecast:
    """The blocks that the stop rule will ask for, from the first one, at the expected noise and pace."""
    clock = _clock(sweep, device, data, recorded)
    budget = sweep.budget_minutes
    left, counts = float("inf") if budget is None else 60 * budget, {True: 0, False: 0}
    while True:
        count = sum(counts.values())
        width = expected_half_width(count)
        now = None if budget is None else replace(clock, left=left)
        step = next_block(sweep, num_blocks=count, num_whole=counts[True], half_width=width, clock=now)
        if isinstance(step, Finished):
            seconds = clock.whole_block, clock.short_block
            return Forecast(num_whole=counts[True], num_short=counts[False], seconds=seconds, half_width=width)
        counts[step] += 1
        left -= clock.whole_block if step else clock.short_block


def plan_block(
    sweep: Sweep, device: DeviceType, data: PreparedDataset, block: int, is_whole: bool = True
) -> tuple[Trial, ...]:
    """A discarded trial, then every member of a block once, in an order of its own."""
    return _shuffled(sweep, device, data, block, is_whole, sweep.members(device))


def _shuffled(
    sweep: Sweep,
    device: DeviceType,
    data: PreparedDataset,
    block: int,
    is_whole: bool,
    members: Iterable[tuple[Role, Cell]],
) -> tuple[Trial, ...]:
    """A discarded trial, then the members, shuffled by the sweep's seed and the block.

    Randomised complete blocks: Cox and Cox, Experimental Designs, section 4.2.
    """
    order = list(members)
    random.Random(f"{sweep.seed}:{block}").shuffle(order)
    discarded = Role.DISCARDED, sweep.cells[0]
    return tuple(_trial(sweep, device, data, block, is_whole, *member) for member in (discarded, *order))


def _seconds_of(plan: Sequence[Trial], recorded: Recorded) -> float:
    """What a block will take, by the throughput that was recorded; only the overhead where there is none."""
    rates = recorded.examples_per_second
    slowest = min(rates.values(), default=float("inf"))
    overhead = OVERHEAD_SECONDS if recorded.overhead_seconds is None else recorded.overhead_seconds
    roles = [Role.MEASURED if trial.role is Role.AGAIN else trial.role for trial in plan]
    return sum(
        overhead + trial.num_epochs * trial.num_train_examples / rates.get((role, trial.cell), slowest)
        for role, trial in zip(roles, plan, strict=True)
    )


def _clock(sweep: Sweep, device: DeviceType, data: PreparedDataset, recorded: Recorded) -> Clock:
    whole, short = (_seconds_of(plan_block(sweep, device, data, 1, is_whole), recorded) for is_whole in (True, False))
    return Clock(left=recorded.seconds_left or 0.0, whole_block=whole, short_block=short)


def _trial(
    sweep: Sweep, device: DeviceType, data: PreparedDataset, block: int, is_whole: bool, role: Role, cell: Cell
) -> Trial:
    replicas = sweep.replicas_of(cell.strategy)
    num_workers = replicas if cell.strategy is Strategy.MULTI_WORKER_MIRRORED else 1
    on_cpu = device is DeviceType.CPU_SLICE
    num_epochs, num_examples = sweep.epochs_of(role, is_whole), sweep.examples_of(data)
    if role is Role.DISCARDED:
        num_epochs, num_examples = 1, min(num_examples, DISCARDED_STEPS * cell.global_batch_size)
    return Trial(
        strategy=cell.strategy,
        global_batch_size=cell.global_batch_size,
        num_hosts=sweep.hosts_of(cell.strategy),
        num_workers=num_workers,
        replicas_per_worker=replicas // num_workers,
        device=device,
        cores_per_replica=sweep.cores_of(role) if on_cpu else None,
        dataset=sweep.dataset,
        dataset_digest=data.digest,
        num_train_examples=num_examples,
        model=sweep.model,
        num_epochs=num_epochs,
        learning_rate=sweep.learning_rate,
        seed=sweep.seed + block - 1,
        block=block,
        role=role,
        arm=cell.arm,
        is_tf32_enabled=sweep.is_tf32_enabled,
        reduction=cell.reduction,
        micro_batch_size=CPU_MICRO_BATCH_SIZE if on_cpu and cell.setting.loop is Loop.FUSED else None,
        **asdict(cell.setting),
        timeout_seconds=sweep.trial_timeout_seconds,
    )
