"""Phases: where the wall time of a point's trials goes."""

from dataclasses import dataclass

import pandas as pd

from tasks.domain.outcome import Phase
from tasks.results.record import PHASE_COLUMNS


@dataclass(frozen=True, kw_only=True, slots=True)
class PhaseTimes:
    """Medians over the trials, in seconds; a median of sums is not the sum of medians."""

    phases: tuple[tuple[Phase, float], ...]
    """In the order in which they happen; a phase without a record is left out."""
    unexplained: float
    """Wall time that no phase covers."""
    wall: float
    """Launch to exit of the last process."""
    queue: float | None
    """Submission to launch; null without a queue."""


def build_phase_times(trials: pd.DataFrame) -> PhaseTimes | None:
    """The phases of these trials; None without a trial."""
    if trials.empty:
        return None
    medians = {name: trials[name].dropna().astype(float) for name in PHASE_COLUMNS.values()}
    queue = trials["queue_seconds"].dropna().astype(float)
    return PhaseTimes(
        phases=tuple((p, float(medians[c].median())) for p, c in PHASE_COLUMNS.items() if not medians[c].empty),
        unexplained=float(trials["unexplained_seconds"].astype(float).median()),
        wall=float(trials["wall_seconds"].median()),
        queue=None if queue.empty else float(queue.median()),
    )
