"""The original report's published figures, as data with their source."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib import resources

from pydantic import TypeAdapter

from tasks.domain.strategy import Strategy

FILE = "published.toml"


class ClaimName(StrEnum):
    """A conclusion of the original report, or about it, that data can support or refute."""

    ONE_DEVICE_SLOWER = "one_device_slower"
    OVER_99_PERCENT = "over_99_percent"
    MIRRORED_SLOWER = "mirrored_slower"
    MIRRORED_SIMILAR_ACCURACY = "mirrored_similar_accuracy"
    MIRRORED_CONVERGES_FASTER = "mirrored_converges_faster"
    MIRRORED_UTILISATION = "mirrored_utilisation"
    MULTI_WORKER_FASTER = "multi_worker_faster"
    MULTI_WORKER_SCALES = "multi_worker_scales"
    MULTI_WORKER_CONVERGES_FASTEST = "multi_worker_converges_fastest"
    MULTI_WORKER_ACCURACY = "multi_worker_accuracy"
    OWN_FIGURES_AGREE = "own_figures_agree"
    LOG_SHOWS_GPUS = "log_shows_gpus"


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishedSetup:
    """One set-up's figures as printed; the file has more of them by epoch."""

    name: str
    strategy: Strategy
    evidence: str
    """Where the figures stand in the original."""
    global_batch_sizes: tuple[int, ...]
    """Batch sizes that the figures cover; empty where it is not named."""
    training_seconds: tuple[float, float] | None = None
    """Smallest and largest; null where only the epochs' seconds are given."""
    test_accuracy: tuple[float, float]
    """Smallest and largest after the last epoch, as shares."""
    epoch_seconds: tuple[float, ...] = ()

    @property
    def total_seconds(self) -> tuple[float, float]:
        """Smallest and largest training seconds; the epochs' sum where only those are given."""
        total = sum(self.epoch_seconds)
        return self.training_seconds or (total, total)

    def covers(self, global_batch_size: int) -> bool:
        """Whether the figures may be of this batch size."""
        return not self.global_batch_sizes or global_batch_size in self.global_batch_sizes


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishedClaim:
    """A conclusion, shortened, and what the original's own figures say about it."""

    conclusion: str
    own_figures: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """The original report as data."""

    source: str
    setting: str
    log: Mapping[str, str | bool]
    """What the original's log shows of the machine."""
    setups: tuple[PublishedSetup, ...]
    claims: Mapping[ClaimName, PublishedClaim]


@cache
def load_published() -> Published:
    """The package's data file; raises pydantic.ValidationError where it is damaged."""
    text = resources.files("tasks.analysis").joinpath(FILE).read_text(encoding="utf-8")
    return TypeAdapter(Published).validate_python(tomllib.loads(text))
