"""Convergence: test accuracy along a training."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import pandas as pd

from tasks.domain import metrics


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """The state after one epoch."""

    epoch: int
    """From 1."""
    training_seconds: float
    """Of this epoch, evaluation excluded."""
    elapsed_seconds: float
    """Training seconds since the start."""
    test_accuracy: float
    """Share of the test examples."""


@dataclass(frozen=True, slots=True)
class Curve:
    """One trial's test accuracy by epoch."""

    block: int
    machine: str
    """Fingerprint of the machine that trained."""
    points: tuple[CurvePoint, ...]

    def seconds_to(self, target: float) -> float | None:
        """Training seconds until the accuracy first reaches `target`; None if it never does."""
        return metrics.time_to_accuracy(((p.training_seconds, p.test_accuracy) for p in self.points), target)

    def epochs_to(self, target: float) -> int | None:
        """Epochs until the accuracy first reaches `target`; None if it never does."""
        return next((point.epoch for point in self.points if point.test_accuracy >= target), None)


def build_curves(trials: pd.DataFrame, epochs: pd.DataFrame) -> tuple[Curve, ...]:
    """One curve a trial, in the trials' order."""
    by_key = {str(key): rows for key, rows in epochs.groupby("trial_key")}
    curves = []
    for trial in trials.to_dict("records"):
        rows = by_key.get(trial["trial_key"])
        if rows is None:
            continue
        columns = (rows["epoch"], rows["training_seconds"], rows["training_seconds"].cumsum(), rows["test_accuracy"])
        points = tuple(CurvePoint(int(e), float(s), float(t), float(a)) for e, s, t, a in zip(*columns, strict=True))
        curves.append(Curve(int(trial["block"]), str(trial["machine_fingerprint"]), points))
    return tuple(curves)


def median_curve(curves: Sequence[Curve]) -> tuple[CurvePoint, ...]:
    """The curves' medians epoch by epoch, over the curves that have the epoch."""
    epochs = sorted({point.epoch for curve in curves for point in curve.points})
    by_epoch = {epoch: [p for curve in curves for p in curve.points if p.epoch == epoch] for epoch in epochs}
    return tuple(
        CurvePoint(
            epoch,
            median(point.training_seconds for point in points),
            median(point.elapsed_seconds for point in points),
            median(point.test_accuracy for point in points),
        )
        for epoch, points in by_epoch.items()
    )
