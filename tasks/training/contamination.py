"""Contamination: the limits beyond which what others did to the machine spoils a trial."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tasks.domain.outcome import InvalidReason
from tasks.training.sampling import HostUsage


@dataclass(frozen=True, slots=True)
class Limit:
    """What one reading of the host may be at most."""

    limit: float
    value: Callable[[HostUsage], float | None]
    """In the limit's unit; None: not known, which breaks nothing."""
    clause: str
    """What happened, with places for the value and the limit."""


LIMITS = {
    InvalidReason.FOREIGN_LOAD: Limit(
        20,
        lambda usage: _percent(usage.contention),
        "other processes took {value:.1f} % of the trial's cores (limit {limit:.0f} %)",
    ),
    InvalidReason.STEAL_TIME: Limit(
        5,
        lambda usage: _percent(usage.steal_share),
        "the hypervisor gave {value:.1f} % of the cores' time away (limit {limit:.0f} %)",
    ),
    InvalidReason.GPU_THROTTLED: Limit(
        0,
        lambda usage: None if usage.gpu_throttle_reasons is None else len(_judged(usage.gpu_throttle_reasons)),
        "reasons that slowed the GPUs' clocks: {value:.0f} (limit {limit:.0f})",
    ),
    InvalidReason.GPU_SHARED: Limit(
        0,
        lambda usage: usage.foreign_gpu_processes,
        "processes of others that computed on the trial's GPUs: {value:.0f} (limit {limit:.0f})",
    ),
}
"""By the reason that a trial is invalid for if it happens twice."""


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _judged(reasons: Iterable[str]) -> set[str]:
    """A power cap of the driver's is the normal state of a busy GPU: recorded, not held against a trial."""
    return set(reasons) - {"sw_power_cap"}


@dataclass(frozen=True, slots=True)
class Taint:
    """One limit that was exceeded."""

    reason: InvalidReason
    message: str


def find_taint(usage: HostUsage) -> Taint | None:
    """The first limit that was exceeded; None where none was."""
    for reason, limit in LIMITS.items():
        value = limit.value(usage)
        if value is not None and value > limit.limit:
            return Taint(reason, limit.clause.format(value=value, limit=limit.limit))
    return None
