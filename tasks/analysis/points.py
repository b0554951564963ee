"""Points: strategy x batch size, with the numbers of its valid trials."""

from dataclasses import dataclass

import pandas as pd

from tasks.analysis.convergence import Curve, build_curves
from tasks.analysis.coverage import Problem
from tasks.analysis.frames import Frames
from tasks.analysis.pairs import blocked_ratios
from tasks.analysis.phases import PhaseTimes, build_phase_times
from tasks.analysis.steps import StepTimes, build_step_times
from tasks.analysis.summary import Summary, summarize
from tasks.domain.strategy import Strategy
from tasks.domain.sweep import Sweep
from tasks.domain.trial import Role


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """One point of the grid; every summary is null where no valid trial gives the value."""

    strategy: Strategy
    global_batch_size: int
    """Examples per optimizer step over all replicas."""
    role: Role
    num_replicas: int
    """Devices that one trial holds."""
    blocks: tuple[int, ...]
    """Blocks of the valid trials, in the order of the summaries' values."""
    problems: tuple[Problem, ...]
    """Planned trials without a number."""
    training_seconds: Summary | None
    seconds_per_epoch: Summary | None
    examples_per_second: Summary | None
    test_accuracy: Summary | None
    """After the last epoch, as a share."""
    seconds_to_target: Summary | None
    """Of the trials that reached the target accuracy only: read it with `n`."""
    device_seconds: Summary | None
    """Training seconds x devices held."""
    speedup: Summary | None
    """Against the measured one-device trial of the same batch size and block; null for one device itself."""
    efficiency: Summary | None
    """Strong scaling efficiency: speed-up / replicas, as a share."""
    resident_bytes: Summary | None
    """Peak resident memory over the workers."""
    device_bytes: Summary | None
    """Peak memory of the fullest GPU; null without one."""
    curves: tuple[Curve, ...]
    step_times: StepTimes | None
    phase_times: PhaseTimes | None

    @property
    def n(self) -> int:
        """Number of valid trials."""
        return len(self.blocks)

    @property
    def per_replica_batch_size(self) -> int:
        """Examples per optimizer step on each replica."""
        return self.global_batch_size // self.num_replicas


def build_points(sweep: Sweep, frames: Frames, problems: tuple[Problem, ...]) -> tuple[Point, ...]:
    """The points that the sweep asks for: by batch size, then by strategy, both in the sweep's order."""
    return tuple(
        _point(sweep, frames, problems, strategy=strategy, batch=global_batch_size, role=Role.MEASURED)
        for global_batch_size in sweep.global_batch_sizes
        for strategy in sweep.strategies
    )


def build_baselines(sweep: Sweep, frames: Frames, problems: tuple[Problem, ...]) -> tuple[Point, ...]:
    """The points that only serve as the denominator of others, by batch size."""
    rows = frames.trials[frames.trials["role"] == Role.BASELINE]
    cells = sorted(set(zip(rows["global_batch_size"], rows["strategy"], strict=True)))
    return tuple(
        _point(sweep, frames, problems, strategy=Strategy(strategy), batch=int(batch), role=Role.BASELINE)
        for batch, strategy in cells
    )


def ideal_rates(points: tuple[Point, ...]) -> tuple[float | None, ...]:
    """Examples per second by batch size if the largest number of devices scaled one device's median without loss."""
    replicas = max(point.num_replicas for point in points)
    batches = dict.fromkeys(point.global_batch_size for point in points)
    single = {
        point.global_batch_size: point.examples_per_second.median
        for point in points
        if point.strategy is Strategy.ONE_DEVICE and point.examples_per_second
    }
    return tuple(replicas * single[batch] if batch in single else None for batch in batches)


def _point(
    sweep: Sweep, frames: Frames, problems: tuple[Problem, ...], *, strategy: Strategy, batch: int, role: Role
) -> Point:
    trials = frames.valid_at(strategy, batch, role)
    seconds = trials["training_seconds"]
    curves = build_curves(trials, frames.epochs)
    times = [curve.seconds_to(sweep.target_accuracy) for curve in curves]
    ratios = [] if strategy is Strategy.ONE_DEVICE else blocked_ratios(trials, _one_device(frames, batch))
    replicas = sweep.replicas_of(strategy)
    return Point(
        strategy=strategy,
        global_batch_size=batch,
        role=role,
        num_replicas=replicas,
        blocks=tuple(int(block) for block in trials["block"]),
        problems=tuple(p for p in problems if (p.strategy, p.global_batch_size, p.role) == (strategy, batch, role)),
        training_seconds=summarize(seconds),
        seconds_per_epoch=summarize(seconds / trials["num_epochs"]),
        examples_per_second=summarize(trials["examples_per_second"]),
        test_accuracy=summarize(trials["test_accuracy"]),
        seconds_to_target=summarize(time for time in times if time is not None),
        device_seconds=summarize(trials["device_seconds"]),
        speedup=summarize(ratios),
        efficiency=summarize(ratio / replicas for ratio in ratios),
        resident_bytes=summarize(trials["max_resident_bytes"].dropna()),
        device_bytes=summarize(trials["peak_device_memory_bytes"].dropna()),
        curves=curves,
        step_times=build_step_times(trials, frames.steps),
        phase_times=build_phase_times(trials),
    )


def _one_device(frames: Frames, batch: int) -> pd.DataFrame:
    """The valid one-device trials of this batch size, asked for or added as a baseline."""
    asked = frames.valid_at(Strategy.ONE_DEVICE, batch)
    return asked if not asked.empty else frames.valid_at(Strategy.ONE_DEVICE, batch, Role.BASELINE)
