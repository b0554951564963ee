"""Formulas of the field as pure functions on floats."""

from collections.abc import Iterable


def throughput(num_examples: int, seconds: float) -> float:
    """Examples per second: all replicas' examples / the slowest worker's clock (a ratio of sums)."""
    return num_examples / seconds


def speedup(baseline_seconds: float, seconds: float) -> float:
    """How many times as fast as the baseline: T(1) / T(n)."""
    return baseline_seconds / seconds


def time_to_accuracy(epochs: Iterable[tuple[float, float | None]], target: float) -> float | None:
    """Training seconds until the test accuracy first reaches `target`; None if it never does.

    `epochs` are (training seconds of the epoch, test accuracy after it) in order. Evaluation is not in the clock,
    and accuracy is known only after whole epochs (the definition of MLPerf Training, at this resolution).
    """
    elapsed = 0.0
    for seconds, accuracy in epochs:
        elapsed += seconds
        if accuracy is not None and accuracy >= target:
            return elapsed
    return None


def device_seconds(training_seconds: float, num_replicas: int) -> float:
    """Cost of a training: seconds x devices held."""
    return training_seconds * num_replicas
