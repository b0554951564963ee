"""The analysis of a run: everything that a report says, before it is said."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from tasks.analysis.claims import Claim, judge_claims
from tasks.analysis.coverage import Coverage, build_coverage
from tasks.analysis.equivalence import Equivalence
from tasks.analysis.frames import build_frames
from tasks.analysis.loops import LoopEffect, build_loop_effects
from tasks.analysis.machines import Machine, build_machines
from tasks.analysis.pairs import AccuracySpread, Pair, build_accuracy_spreads, build_pairs
from tasks.analysis.points import Point, build_baselines, build_points, default_cells
from tasks.analysis.published import Published, load_published
from tasks.analysis.summary import MIN_RANGE_VALUES, pooled_deviation
from tasks.domain.cell import Setting
from tasks.domain.strategy import Strategy
from tasks.results.run import Run
from tasks.results.store import Tables


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Analysis:
    """Statistics of one run, every number with its n."""

    run: Run
    coverage: Coverage
    points: tuple[Point, ...]
    """In the order of the sweep's cells; one without a valid trial is there as well."""
    baselines: tuple[Point, ...]
    """Points that are only denominators, apart from the others."""
    pairs: tuple[Pair, ...]
    loop_effects: tuple[LoopEffect, ...]
    equivalence: Equivalence
    accuracy_spreads: tuple[AccuracySpread, ...]
    machines: tuple[Machine, ...]
    published: Published
    claims: tuple[Claim, ...]

    @property
    def block_noise(self) -> float | None:
        """Relative spread of training seconds between the blocks of a point, as a share; None below 3 blocks.

        Standard deviation of ln(seconds), pooled over the points.
        """
        rows = [np.log(p.trials["training_seconds"]).tolist() for p in self.points if p.n >= MIN_RANGE_VALUES]
        return pooled_deviation(pd.DataFrame(rows))

    @property
    def is_smoke(self) -> bool:
        """Whether only a part of the training examples was used."""
        return self.run.sweep.max_train_examples is not None

    @property
    def num_blocks(self) -> int:
        """Blocks of the point with the most valid trials."""
        return max(point.n for point in self.points)

    @property
    def setting(self) -> Setting:
        """The setting that answers are for: the first one that the sweep trains under."""
        return self.points[0].cell.setting

    @property
    def first_points(self) -> tuple[Point, ...]:
        """The points of `setting`."""
        return tuple(point for point in self.points if point.cell.setting == self.setting)

    def points_of(self, strategy: Strategy) -> tuple[Point, ...]:
        """The points of the strategy's `default_cells`, by batch size."""
        cells = default_cells(self.run.sweep, strategy)
        return tuple(point for point in self.points if point.cell in cells)

    def best_points(self) -> tuple[Point, ...]:
        """The point of `setting` with the smallest median training seconds at each batch size that has one."""
        found = []
        for batch in self.run.sweep.global_batch_sizes:
            points = [point for point in self.first_points if point.global_batch_size == batch and point.n]
            found += sorted(points, key=lambda point: point.value("training_seconds"))[:1]
        return tuple(found)


def analyze(run: Run, tables: Tables) -> Analysis:
    """The statistics of a run's tables; only valid trials enter a number."""
    frames = build_frames(tables, run.sweep)
    coverage = build_coverage(run, frames)
    published = load_published()
    return Analysis(
        run=run,
        coverage=coverage,
        points=build_points(run.sweep, frames, coverage.problems),
        baselines=build_baselines(run.sweep, frames, coverage.problems),
        pairs=build_pairs(run.sweep, frames),
        loop_effects=build_loop_effects(run.sweep, frames),
        equivalence=frames.equivalence,
        accuracy_spreads=build_accuracy_spreads(run.sweep, frames),
        machines=build_machines(frames),
        published=published,
        claims=judge_claims(run.sweep, frames, published),
    )
