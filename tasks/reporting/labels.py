"""Labels: how points, devices and the state of a run are called."""

from collections.abc import Iterable

from tasks.analysis.analysis import Analysis
from tasks.analysis.coverage import Problem, RunState, Shortfall
from tasks.analysis.points import Point
from tasks.domain.dataset import dataset_label
from tasks.domain.device import DeviceType
from tasks.domain.strategy import Strategy
from tasks.reporting.escaping import plain_line
from tasks.reporting.numerals import plural
from tasks.results.run import Run


def dataset_name(run: Run) -> str:
    """The dataset's name on one short line, not yet escaped."""
    return plain_line(dataset_label(run.sweep.dataset), max_length=60)


def workload(run: Run) -> str:
    """Dataset and model, not yet escaped: `MNIST, reference CNN`."""
    return f"{dataset_name(run)}, {run.sweep.model.label}"


def max_replicas(run: Run) -> int:
    """Devices of the largest trial."""
    return max(run.sweep.replicas_of(strategy) for strategy in run.sweep.strategies)


def devices(run: Run, count: int) -> str:
    """So many devices: `2 CPU slices`; wider slices say so."""
    is_wide = run.device is DeviceType.CPU_SLICE and run.sweep.cores_per_replica > 1
    return plural(count, run.device.label) + (f" ({run.sweep.cores_per_replica} cores each)" if is_wide else "")


def devices_in_full(run: Run) -> str:
    """The largest trial's devices with their width: `2 CPU slices (1 core each)`."""
    count = plural(max_replicas(run), run.device.label)
    if run.device is DeviceType.GPU:
        return count
    return f"{count} ({plural(run.sweep.cores_per_replica, 'core')} each)"


def one_device(run: Run) -> str:
    """The baseline's device in prose: `one CPU slice`."""
    return f"one {run.device.label}"


def short_device(run: Run) -> str:
    """The baseline's device in a table's header: `1 slice`."""
    return {DeviceType.CPU_SLICE: "1 slice", DeviceType.GPU: "1 GPU"}[run.device]


def point_name(point: Point) -> str:
    """The point in prose: `MirroredStrategy at batch 64`."""
    return f"{point.strategy.label} at batch {point.global_batch_size}"


def tags(analysis: Analysis) -> tuple[str, ...]:
    """What a reader must know before any number; empty where the run is complete on all data."""
    run, coverage = analysis.run, analysis.coverage
    found = []
    if analysis.is_smoke:
        found.append(f"SMOKE: first {run.sweep.max_train_examples:,} training examples only")
    if coverage.state is not RunState.COMPLETE:
        word = coverage.state.replace("_", " ").upper()
        found.append(f"{word}: {coverage.valid} of {coverage.planned} trials valid")
    return tuple(found)


def problem_name(problem: Problem) -> str:
    """A shortfall with its code, not yet escaped: `failed: timeout`."""
    return f"{problem.shortfall}: {plain_line(problem.reason)}" if problem.reason else str(problem.shortfall)


def shortfall_name(point: Point) -> str:
    """Why the point has no number, not yet escaped: `failed: timeout, missing (2 blocks)`."""
    names = [problem_name(problem) for problem in point.problems] or [str(Shortfall.MISSING)]
    counted = {name: names.count(name) for name in names}
    return ", ".join(name if count == 1 else f"{name} ({count} blocks)" for name, count in counted.items())


def strategy_order(run: Run) -> tuple[Strategy, ...]:
    """The run's strategies, one device first."""
    return tuple(sorted(run.sweep.strategies, key=lambda strategy: strategy is not Strategy.ONE_DEVICE))


def subtitle(analysis: Analysis) -> str:
    """What a chart must say of itself: workload, devices, n and date."""
    run = analysis.run
    counts = sorted({point.n for point in analysis.points}) or [0]
    n = f"n = {counts[0]}" if len(counts) == 1 else f"n = {counts[0]} to {counts[-1]}"
    cores = plural(run.sweep.cores_per_replica, "core")
    what = plural(max_replicas(run), run.device.label)
    if run.device is DeviceType.CPU_SLICE:
        what += f", {cores} each: not a GPU"
    data = f"{plain_line(dataset_name(run), max_length=24)}, {run.sweep.model.label}"
    return f"{data}  ·  {what}  ·  {n} a point  ·  {run.created_at:%Y-%m-%d}"


def gap_notes(points: Iterable[Point]) -> str:
    """Two lines for each point without a number: `batch 128, MirroredStrategy` and `failed: timeout`."""
    empty = [point for point in points if not point.n]
    return "\n".join(f"batch {p.global_batch_size}, {p.strategy.label}:\n{shortfall_name(p)}" for p in empty)
