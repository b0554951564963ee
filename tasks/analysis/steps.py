"""Step times: how long one optimizer step takes, window by window."""

import statistics
from dataclasses import dataclass

import numpy as np
import pandas as pd

QUANTILES = (0.50, 0.95, 0.99)


@dataclass(frozen=True, kw_only=True, slots=True)
class StepTimes:
    """Seconds per optimizer step over the windows of a point's trials; percentiles describe, they decide nothing."""

    window_seconds: tuple[float, ...]
    """Mean step time of every window of every trial, in seconds."""
    steps_per_window: int
    """Steps of the longest window."""
    num_trials: int
    p50: float
    """Median over the trials of each trial's 50th percentile over its windows, in seconds."""
    p95: float
    p99: float

    @property
    def num_windows(self) -> int:
        """Windows of all trials."""
        return len(self.window_seconds)


def build_step_times(trials: pd.DataFrame, steps: pd.DataFrame) -> StepTimes | None:
    """The step times of these trials; None without any window."""
    rows = steps[steps["trial_key"].isin(set(trials["trial_key"]))]
    if rows.empty:
        return None
    step_seconds = rows["seconds"] / rows["num_steps"]
    by_trial = [part.quantile(list(QUANTILES)) for _, part in step_seconds.groupby(rows["trial_key"])]
    p50, p95, p99 = (statistics.median(float(part.loc[q]) for part in by_trial) for q in QUANTILES)
    return StepTimes(
        window_seconds=tuple(float(value) for value in step_seconds),
        steps_per_window=int(rows["num_steps"].max()),
        num_trials=len(by_trial),
        p50=p50,
        p95=p95,
        p99=p99,
    )


def histogram(times: StepTimes, limit: float, num_bins: int) -> tuple[float, ...]:
    """Windows in equal bins from 0 to `limit` seconds, as shares of the fullest bin; longer windows are left out."""
    counts, _ = np.histogram(times.window_seconds, num_bins, (0.0, limit))
    return tuple(float(count) for count in counts / max(counts.max(), 1))
