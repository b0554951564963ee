"""A claim: one conclusion of the original report with the evidence for or against it."""

from dataclasses import dataclass
from enum import StrEnum

from tasks.analysis.published import ClaimName
from tasks.analysis.summary import Summary
from tasks.domain.strategy import Strategy


class ClaimVerdict(StrEnum):
    """What the data say."""

    SUPPORTED = "supported"
    REFUTED = "refuted"
    NOT_DECIDABLE = "not decidable here"


class Obstacle(StrEnum):
    """Why a claim is not decidable here."""

    OTHER_DATA = "other_data"
    """The run trained on another dataset than the original."""
    PART_OF_DATA = "part_of_data"
    """The run trained on a part of the examples."""
    NO_VALUES = "no_values"
    """The run has no valid trial of a set-up that the claim names."""
    TOO_FEW_BLOCKS = "too_few_blocks"
    """A verdict needs more blocks."""
    INCONCLUSIVE = "inconclusive"
    """Some pair that the claim rests on has no verdict."""
    DIFFERS_BY_BATCH = "differs_by_batch"
    """The verdict depends on the batch size."""
    DIFFERS_BY_TRIAL = "differs_by_trial"
    """It holds in some trials and not in others."""
    NOT_TESTED = "not_tested"
    """The quantity is described, there is no rule that decides."""
    NO_NUMBER = "no_number"
    """The claim says of no number how large it must be."""
    NOT_MEASURED = "not_measured"
    """The run does not measure the quantity."""
    FEWER_EPOCHS = "fewer_epochs"
    """The run trained fewer epochs than the claim allows."""


class Measure(StrEnum):
    """The quantity of a claim's evidence."""

    SPEEDUP = "speedup"
    """Times as fast as the other strategy, in training seconds."""
    EFFICIENCY = "efficiency"
    """Strong scaling efficiency, as a share."""
    TARGET_SPEEDUP = "target_speedup"
    """Times as fast as one device to the target accuracy, in training seconds."""
    ACCURACY = "accuracy"
    """Highest test accuracy within the claimed epochs, as a share."""
    ACCURACY_DIFFERENCE = "accuracy_difference"
    """Final test accuracy minus the other strategy's, as a share."""
    EPOCH_DIFFERENCE = "epoch_difference"
    """Test accuracy minus the other strategy's, mean over the epochs, as a share."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """One quantity that was seen."""

    strategy: Strategy
    against: Strategy | None
    global_batch_size: int | None
    """Null where it is a mean over the batch sizes."""
    measure: Measure
    value: Summary


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """One conclusion and what these data say of it."""

    name: ClaimName
    verdict: ClaimVerdict
    obstacle: Obstacle | None = None
    """Why it is not decidable; null where it is."""
    evidence: tuple[Evidence, ...] = ()

    @property
    def num_blocks(self) -> int:
        """Blocks behind the weakest piece of the evidence."""
        return min((item.value.n for item in self.evidence), default=0)
