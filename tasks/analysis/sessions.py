"""Sessions: two runs point by point, described and not judged."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from tasks.analysis.analysis import Analysis
from tasks.analysis.points import Point
from tasks.analysis.statistics import Estimate, estimate, estimate_quotient
from tasks.domain.cell import Cell
from tasks.domain.device import DeviceType
from tasks.domain.refusal import Refusal
from tasks.domain.strategy import Strategy

Values = Sequence[object]
"""Of one column, in one run."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Side:
    """What one run says of a point."""

    differences: tuple[float, ...]
    """ln of how many times as fast as the run's own one device in the same block, setting and batch size, one a block;
    empty for one device itself, and where the run declares no such pair."""
    seconds_per_epoch: float | None
    """The median; null without a valid trial."""
    num_trials: int
    """Valid trials, behind `seconds_per_epoch`."""

    @property
    def num_blocks(self) -> int:
        """Blocks behind `speedup`."""
        return len(self.differences)

    @property
    def speedup(self) -> Estimate:
        """How many times as fast as one device."""
        return estimate(self.differences)


@dataclass(frozen=True, kw_only=True, slots=True)
class SessionPoint:
    """A cell that both runs have."""

    cell: Cell
    a: Side
    b: Side

    @property
    def quotient(self) -> Estimate:
        """B's ratio to its one device / A's; its interval knows what varies inside a session only."""
        return estimate_quotient(self.b.differences, self.a.differences)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Sessions:
    """Two runs of one workload on the same machines: two samples of these, of which no verdict can come."""

    a: Analysis
    b: Analysis
    points: tuple[SessionPoint, ...]
    """In the order of A's cells."""
    only_a: tuple[Cell, ...]
    only_b: tuple[Cell, ...]


def compare_sessions(a: Analysis, b: Analysis) -> Sessions:
    """B beside A; raises Refusal, by the column and both values, where the two are not of one workload and machine."""
    _check_comparable(a, b)
    ours, theirs = ({point.cell: _side(analysis, point) for point in analysis.points} for analysis in (a, b))
    return Sessions(
        a=a,
        b=b,
        points=tuple(SessionPoint(cell=cell, a=ours[cell], b=theirs[cell]) for cell in ours if cell in theirs),
        only_a=tuple(cell for cell in ours if cell not in theirs),
        only_b=tuple(cell for cell in theirs if cell not in ours),
    )


def _side(analysis: Analysis, point: Point) -> Side:
    one_device = Strategy.ONE_DEVICE
    pair = None if point.strategy is one_device else analysis.pair_of(point.cell, one_device)
    return Side(
        differences=pair.comparison.differences if pair else (),
        seconds_per_epoch=point.median("seconds_per_epoch"),
        num_trials=point.n,
    )


def _check_comparable(a: Analysis, b: Analysis) -> None:
    if (a.run.run_name, a.run.created_at) == (b.run.run_name, b.run.created_at):
        raise Refusal(f"A and B are one run, run_name={a.run.run_name}; name two runs")
    if a.slowdowns or b.slowdowns:
        raise _refusal("slowdown", a.slowdowns, b.slowdowns, "in which no trial was slowed on purpose")
    others = _facts(b)
    for column, value in _facts(a).items():
        if value != others[column]:
            raise _refusal(column, value, others[column], "in which it is the same")
    others = _axes(b)
    for column, values in _axes(a).items():
        if not set(values) & set(others[column]):
            raise _refusal(column, values, others[column], "with a common point")


def _refusal(column: str, a: Values, b: Values, wanted: str) -> Refusal:
    ours, theirs = (", ".join(map(str, dict.fromkeys(values))) or "none" for values in (a, b))
    return Refusal(f"{column} is {ours} in A and {theirs} in B; only runs {wanted} are set side by side")


def _facts(analysis: Analysis) -> dict[str, Values]:
    """What must be the same for seconds and ratios to be of the same thing, by column."""
    run, sweep, is_gpu = analysis.run, analysis.run.sweep, analysis.run.device is DeviceType.GPU
    return {
        "schema_version": [run.schema_version],
        "machine_fingerprint": sorted({str(m.environment["machine_fingerprint"]) for m in analysis.machines}),
        "dataset_digest": [run.dataset_digest],
        "max_train_examples": ["all" if sweep.max_train_examples is None else sweep.max_train_examples],
        "num_train_examples": [run.num_train_examples],
        "model": [sweep.model],
        "device": [run.device],
        "cores_per_replica": [] if is_gpu else [sweep.cores_per_replica],
        "num_replicas": [sweep.num_replicas],
        "num_hosts": [sweep.num_hosts],
        "is_tf32_enabled": [sweep.is_tf32_enabled] if is_gpu else [],
    }


def _axes(analysis: Analysis) -> dict[str, Values]:
    """The values of each column that tells the cells apart; the cells themselves last."""
    columns = ("loop", "precision", "is_xla_enabled", "steps_per_call", "strategy", "reduction", "global_batch_size")
    cells = [asdict(cell.setting) | asdict(cell) | {"cell": cell.label} for cell in analysis.run.sweep.cells]
    return {column: [cell[column] for cell in cells] for column in (*columns, "cell")}
