"""The analysis of a run: everything that a report says, before it is said."""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from tasks.analysis.claims import Claim, judge_claims
from tasks.analysis.coverage import Coverage, build_coverage
from tasks.analysis.equivalence import Equivalence
from tasks.analysis.frames import build_frames
from tasks.analysis.loops import LoopEffect, build_loop_effects
from tasks.analysis.machines import Machine, build_machines
from tasks.analysis.pairs import AccuracyPair, Pair, build_accuracy_pairs, build_pairs
from tasks.analysis.points import Point, build_points, default_cells
from tasks.analysis.statistics import widest_half_width
from tasks.domain.cell import Cell, Setting
from tasks.domain.strategy import Strategy
from tasks.domain.trial import Role
from tasks.results.run import Run
from tasks.results.store import Tables


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Analysis:
    """Statistics of one run, every number with its n."""

    run: Run
    coverage: Coverage
    points: tuple[Point, ...]
    """In the order of the sweep's cells; one without a valid trial is there as well."""
    references: tuple[Point, ...]
    """One device as wide as all slices of a distributed trial."""
    baselines: tuple[Point, ...]
    """Points that are only denominators, apart from the others."""
    pairs: tuple[Pair, ...]
    """The declared family, judged."""
    accuracy_pairs: tuple[AccuracyPair, ...]
    loop_effects: tuple[LoopEffect, ...]
    equivalence: Equivalence
    machines: tuple[Machine, ...]
    claims: tuple[Claim, ...]
    rates: Mapping[tuple[Role, Cell], float]
    """Median examples per second of the valid trials, the discarded ones among them."""
    overhead_seconds: float | None
    """Of a trial beside its training, as `Frames` has it."""
    tainted: pd.DataFrame
    """Trials whose first attempt was tainted: `cell`, `role`, `block`, `status`, `first_taint`."""
    slowdowns: tuple[float, ...]
    """Shares by which trials were slowed on purpose; empty in every honest run."""

    @property
    def is_smoke(self) -> bool:
        """Whether only a part of the training examples was used."""
        return self.run.sweep.max_train_examples is not None

    @property
    def num_blocks(self) -> int:
        """Blocks of the point with the most valid trials."""
        return max(point.n for point in self.points)

    @property
    def num_whole_blocks(self) -> int:
        """Whole blocks of the point with the most of them."""
        return max(point.num_whole for point in self.points)

    @property
    def half_width(self) -> float | None:
        """Half-width of the widest declared pair's plain 95 % interval, as a share; null while a pair has none.

        A pair without any common block is left out: where a strategy always fails, more blocks do not help.
        """
        return widest_half_width([pair.comparison.differences for pair in self.pairs if pair.comparison.n])

    @property
    def setting(self) -> Setting:
        """The setting that answers are for: the first one that the sweep trains under."""
        return self.run.sweep.setting

    @property
    def first_points(self) -> tuple[Point, ...]:
        """The points of `setting`."""
        return tuple(point for point in self.points if point.cell.setting == self.setting)

    def points_of(self, strategy: Strategy) -> tuple[Point, ...]:
        """The points of the strategy's `default_cells`, by batch size."""
        cells = default_cells(self.run.sweep, strategy)
        return tuple(point for point in self.points if point.cell in cells)

    def pair_of(self, cell: Cell, strategy: Strategy, is_unsplit: bool = False) -> Pair | None:
        """The declared pair of `cell` against that strategy, or against the same hardware unsplit; None without one."""
        wanted = cell, strategy, is_unsplit
        found = (p for p in self.pairs if (p.cell, p.against.strategy, p.against_role is Role.REFERENCE) == wanted)
        return next(found, None)

    def best_points(self) -> tuple[Point, ...]:
        """The point of `setting` with the smallest median seconds an epoch at each batch size that has one."""
        found = []
        for batch in self.run.sweep.global_batch_sizes:
            points = [point for point in self.first_points if point.global_batch_size == batch and point.n]
            found += sorted(points, key=lambda point: point.median("seconds_per_epoch") or 0.0)[:1]
        return tuple(found)


def analyze(run: Run, tables: Tables) -> Analysis:
    """The statistics of a run's tables; only valid trials enter a number."""
    sweep, device = run.sweep, run.device
    frames = build_frames(tables, sweep)
    coverage = build_coverage(run, frames)
    points = {role: list[Point]() for role in Role}
    for point in build_points(sweep, device, frames, coverage.problems):
        points[point.role].append(point)
    pairs = build_pairs(sweep, device, frames)
    accuracy_pairs = build_accuracy_pairs(sweep, frames)
    is_tainted = frames.trials["first_taint"].notna()
    return Analysis(
        run=run,
        coverage=coverage,
        points=tuple(points[Role.MEASURED]),
        references=tuple(points[Role.REFERENCE]),
        baselines=tuple(points[Role.BASELINE]),
        pairs=pairs,
        accuracy_pairs=accuracy_pairs,
        loop_effects=build_loop_effects(sweep, frames),
        equivalence=frames.equivalence,
        machines=build_machines(frames),
        claims=judge_claims(sweep, frames, pairs, accuracy_pairs),
        rates=frames.rates,
        overhead_seconds=frames.overhead_seconds,
        tainted=frames.trials.loc[is_tainted, ["cell", "role", "block", "status", "first_taint"]],
        slowdowns=tuple(sorted(set(frames.trials["slowdown"].dropna()))),
    )
