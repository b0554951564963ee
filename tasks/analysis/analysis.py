"""The analysis of a run: everything that a report says, before it is said."""

import math
from dataclasses import dataclass

from tasks.analysis.accuracy import AccuracyPair, AccuracySpread, build_accuracy_pairs, build_accuracy_spreads
from tasks.analysis.claim import Claim
from tasks.analysis.claims import Findings, judge_claims
from tasks.analysis.coverage import Coverage, RunState, build_coverage
from tasks.analysis.frames import build_frames
from tasks.analysis.machines import Machine, build_machines
from tasks.analysis.pairs import Pair, build_pairs
from tasks.analysis.points import Point, build_baselines, build_points
from tasks.analysis.published import Published, load_published
from tasks.analysis.summary import MIN_RANGE_VALUES, pooled_deviation
from tasks.results.run import Run
from tasks.results.store import Tables


@dataclass(frozen=True, kw_only=True, slots=True)
class Analysis:
    """Statistics of one run, every number with its n."""

    run: Run
    coverage: Coverage
    points: tuple[Point, ...]
    """By batch size, then by strategy, in the sweep's order; one without a valid trial is there as well."""
    baselines: tuple[Point, ...]
    """Points that are only denominators, apart from the others."""
    pairs: tuple[Pair, ...]
    accuracy_spreads: tuple[AccuracySpread, ...]
    accuracy_pairs: tuple[AccuracyPair, ...]
    machines: tuple[Machine, ...]
    published: Published
    claims: tuple[Claim, ...]

    @property
    def block_noise(self) -> float | None:
        """Relative spread of training seconds between the blocks of a point, as a share; None below 3 blocks.

        Standard deviation of ln(seconds), pooled over the points.
        """
        groups = [point.training_seconds for point in self.points if point.training_seconds]
        return pooled_deviation([math.log(value) for value in g.values] for g in groups if g.n >= MIN_RANGE_VALUES)

    @property
    def state(self) -> RunState:
        """How much of the run may be used."""
        return self.coverage.state

    @property
    def is_smoke(self) -> bool:
        """Whether only a part of the training examples was used."""
        return self.run.sweep.max_train_examples is not None

    @property
    def num_blocks(self) -> int:
        """Blocks of the point with the most valid trials."""
        return max((point.n for point in self.points), default=0)


def analyze(run: Run, tables: Tables) -> Analysis:
    """The statistics of a run's tables; only valid trials enter a number."""
    frames = build_frames(tables)
    coverage = build_coverage(run, frames)
    points = build_points(run.sweep, frames, coverage.problems)
    pairs = build_pairs(run.sweep, frames)
    accuracy_pairs = build_accuracy_pairs(run.sweep, frames)
    published = load_published()
    return Analysis(
        run=run,
        coverage=coverage,
        points=points,
        baselines=build_baselines(run.sweep, frames, coverage.problems),
        pairs=pairs,
        accuracy_spreads=build_accuracy_spreads(run.sweep, frames),
        accuracy_pairs=accuracy_pairs,
        machines=build_machines(frames),
        published=published,
        claims=judge_claims(
            Findings(sweep=run.sweep, points=points, pairs=pairs, accuracy_pairs=accuracy_pairs, published=published)
        ),
    )
