"""Parts of a trial: what the ranks of one machine leave behind."""

from dataclasses import dataclass

from tasks.domain.outcome import FailureReason
from tasks.training.request import WorkerOutcome
from tasks.training.sampling import HostUsage


@dataclass(frozen=True, kw_only=True, slots=True)
class Ranks:
    """The ranks of a trial that one machine runs."""

    numbers: range
    addresses: tuple[str, ...] = ()
    """`host:port` of every rank of the trial; empty where there is one rank."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Loss:
    """The first rank of a part that did not end well."""

    reason: FailureReason
    message: str
    """One sentence that names the rank and how it was lost."""
    phase: str | None
    """The `Phase` in which it was lost; null if no process started."""
    lost_at: float
    """Unix time in seconds: monotonic clocks of two machines have nothing to do with each other."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """What came of the ranks of one machine."""

    hostname: str
    outcomes: tuple[WorkerOutcome, ...]
    """Of its ranks in their order; empty where one was lost."""
    loss: Loss | None
    wall_seconds: float
    """Launch to exit of the last process; 0 if none started."""
    ended_at: float
    """Reading of this machine's monotonic clock at that exit, in seconds."""
    usage: HostUsage | None
    """Null where nothing was sampled."""
