"""Labels: how points, devices and the state of a run are called."""

from collections.abc import Iterable

from tasks.analysis.analysis import Analysis
from tasks.analysis.coverage import MISSING, Problem, RunState
from tasks.analysis.points import Point
from tasks.analysis.statistics import MIN_VERDICT_BLOCKS, Comparison, Verdict
from tasks.domain.cell import Cell, Setting
from tasks.domain.dataset import dataset_label
from tasks.domain.device import DeviceType
from tasks.domain.sweep import Sweep
from tasks.domain.trial import Role
from tasks.reporting.markdown import plain_line
from tasks.reporting.numerals import plural, share, span, whole
from tasks.results.run import Run


def workload(run: Run, max_length: int = 60) -> str:
    """Dataset, cut to `max_length`, and model, not yet escaped: `MNIST, reference CNN`."""
    return f"{plain_line(dataset_label(run.sweep.dataset), max_length)}, {run.sweep.model.label}"


def max_replicas(run: Run) -> int:
    """Devices of the largest trial."""
    return max(run.sweep.replicas_of(strategy) for strategy in run.sweep.strategies)


def cores_each(run: Run) -> str:
    """A slice's width, ` (1 core each)`; nothing on GPUs."""
    return "" if run.device is DeviceType.GPU else f" ({plural(run.sweep.cores_per_replica, 'core')} each)"


def devices_in_full(run: Run) -> str:
    """The largest trial's devices with their width: `2 CPU slices (1 core each)`."""
    return plural(max_replicas(run), run.device.label) + cores_each(run)


def one_device(run: Run) -> str:
    """The baseline's device in prose: `one CPU slice`."""
    return f"one {run.device.label}"


def strategy_name(sweep: Sweep, cell: Cell) -> str:
    """The strategy in prose, with its reduction where the sweep has several: `MirroredStrategy (nccl)`.

    One that spans several machines says so: `MultiWorkerMirroredStrategy on 2 hosts`.
    """
    num_hosts = sweep.hosts_of(cell.strategy)
    reduction = f" ({cell.reduction})" if cell.reduction and len(sweep.reductions) > 1 else ""
    return f"{cell.strategy.label}{f' on {num_hosts} hosts' if num_hosts > 1 else ''}{reduction}"


def point_name(run: Run, point: Point) -> str:
    """The point's strategy in prose, with what tells it from the grid's: `OneDeviceStrategy, all 2 cores`."""
    name = strategy_name(run.sweep, point.cell)
    if point.role is Role.REFERENCE:
        return f"{name}, all {plural(run.sweep.cores_of(point.role), 'core')}"
    return f"{name}, {point.cell.arm}" if run.sweep.versus else name


def strategy_code(sweep: Sweep, cell: Cell) -> str:
    """The same in tables, under TensorFlow's names: `mirrored (nccl)`."""
    return strategy_name(sweep, cell).replace(cell.strategy.label, cell.strategy)


def setting_name(sweep: Sweep, setting: Setting, is_loop_named: bool = False) -> str:
    """What tells the setting apart in this sweep: `under Keras fit, with XLA`; empty where there is one only."""
    words = {
        f"under {setting.loop.label}": is_loop_named or len(sweep.loops) > 1,
        f"in {setting.precision}": len(sweep.precisions) > 1,
        "with XLA" if setting.is_xla_enabled else "without XLA": len(sweep.xla) > 1,
        f"at {plural(setting.steps_per_call, 'step')} a call": len(sweep.steps_per_call or ()) > 1,
    }
    return ", ".join(word for word, is_said in words.items() if is_said)


def cell_name(sweep: Sweep, cell: Cell, is_loop_named: bool = False) -> str:
    """The cell in prose: `MirroredStrategy at batch 64`, `MirroredStrategy at batch 64 under Keras fit`."""
    name = f"{strategy_name(sweep, cell)} at batch {cell.global_batch_size}"
    return f"{name} {setting_name(sweep, cell.setting, is_loop_named)}".rstrip()


def counts(points: Iterable[Point]) -> str:
    """How many trials stand behind each point that has some: `n = 1` or `n = 2 to 3`."""
    return f"n = {span((point.n for point in points if point.n), whole)}"


def basis(analysis: Analysis) -> str:
    """The n of a finding about the first setting, and which that is where there are several."""
    basis = f"{counts(analysis.first_points)} a point" if any(point.n for point in analysis.first_points) else ""
    return f"({', '.join(filter(None, (basis, setting_name(analysis.run.sweep, analysis.setting))))})"


def undecided(num_blocks: int) -> str:
    """Why so few blocks decide nothing about speed."""
    return f"{plural(num_blocks, 'block')}, at least {MIN_VERDICT_BLOCKS} needed"


def verdict_name(comparison: Comparison) -> str:
    """The verdict; an inconclusive one with what would probably decide it."""
    if comparison.verdict is not Verdict.INCONCLUSIVE:
        return str(comparison.verdict)
    if comparison.n < MIN_VERDICT_BLOCKS:
        return f"none yet: {plural(comparison.n, 'block')}"
    needed = comparison.blocks_needed
    return f"inconclusive: {f'about {needed}' if needed else 'more than 200'} blocks would probably decide"


def said(comparison: Comparison) -> str:
    """The verdict in prose with its n: `faster, n = 6`; where the blocks are too few, n alone."""
    count = f"n = {comparison.n}"
    return count if comparison.n < MIN_VERDICT_BLOCKS else f"{verdict_name(comparison)}, {count}"


def width(run: Run, point: Point) -> str:
    """The devices of one trial of the point: `2 CPU slices`, `2 CPU slices on 2 hosts`, `1 x 2 cores`."""
    if point.role is Role.REFERENCE:
        return f"1 x {plural(run.sweep.cores_of(point.role), 'core')}"
    num_hosts = run.sweep.hosts_of(point.strategy)
    wide = cores_each(run) if run.sweep.cores_per_replica > 1 else ""
    return f"{plural(point.num_replicas, run.device.label)}{wide}{f' on {num_hosts} hosts' if num_hosts > 1 else ''}"


def unsplit(run: Run) -> str:
    """The reference's device in prose: `one device with all 2 cores`."""
    return f"one device with all {plural(run.sweep.cores_of(Role.REFERENCE), 'core')}"


def tags(analysis: Analysis) -> dict[str, str]:
    """What a reader must know before any number, by its word; empty where the run is complete on all data."""
    run, coverage, found = analysis.run, analysis.coverage, {}
    if analysis.is_smoke:
        found["SMOKE"] = f"first {run.sweep.max_train_examples:,} training examples only"
    if analysis.slowdowns:
        found["SLOWED ON PURPOSE"] = f"by {', '.join(share(value) for value in analysis.slowdowns)}, as a test"
    if coverage.num_begun and not coverage.has_ended:
        text = f"{plural(coverage.num_begun, 'block')} of at least {run.sweep.min_blocks} begun"
        found["FIRST ANSWER, NOT THE END"] = f"{text}, {coverage.valid} of {coverage.planned} trials valid"
    if coverage.state not in (RunState.COMPLETE, RunState.PARTIAL) or not coverage.num_begun:
        found[coverage.state.replace("_", " ").upper()] = f"{coverage.valid} of {coverage.planned} trials valid"
    return found


def tag_lines(analysis: Analysis) -> list[str]:
    """The tags in full: `SMOKE: first 2,048 training examples only`."""
    return [f"{word}: {text}" for word, text in tags(analysis).items()]


def problem_name(problem: Problem) -> str:
    """A shortfall with its code, not yet escaped: `failed: timeout`."""
    return f"{problem.shortfall}: {plain_line(problem.reason)}" if problem.reason else problem.shortfall


def shortfall_name(point: Point) -> str:
    """Why the point has no number, not yet escaped: `failed: timeout, missing (2 blocks)`."""
    names = [problem_name(problem) for problem in point.problems] or [MISSING]
    counted = {name: names.count(name) for name in names}
    return ", ".join(name if count == 1 else f"{name} ({count} blocks)" for name, count in counted.items())
