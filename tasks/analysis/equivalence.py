"""Equivalence: whether every trial began the same training as the one-device trial of its block."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from tasks.domain.outcome import InvalidReason, Status
from tasks.domain.precision import Precision
from tasks.domain.strategy import Strategy
from tasks.domain.sweep import Sweep

TOLERANCES = {
    Precision.FLOAT32: 3e-5,
    Precision.FLOAT64: 1e-9,
    Precision.MIXED_BFLOAT16: 0.25,
    Precision.MIXED_FLOAT16: 0.05,
}
"""Largest relative difference that the order of additions may cause: 7e-7 was seen in float32, .08 in bfloat16."""
ALIKE = ["block", "arm", "global_batch_size", "seed", "dataset_digest", "model", "precision"]
"""What trials must share to have the same gradients; the loop, XLA and the machine do not matter."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One trial's gradients and losses at the initial weights against its reference's."""

    trial_key: str
    precision: Precision
    num_steps: int
    difference: float
    """Largest relative difference over the steps; infinite where other steps or examples were probed."""
    finding: str
    """What differs most, as a clause."""

    @property
    def is_passed(self) -> bool:
        """Whether the difference is within the tolerance."""
        return self.difference <= TOLERANCES[self.precision]


@dataclass(frozen=True, kw_only=True, slots=True)
class Equivalence:
    """The checks of a run, one for each valid trial that has a reference and is not one itself."""

    checks: tuple[Check, ...]
    num_unchecked: int
    """Valid trials without gradients, or without a valid one-device trial to compare them with."""

    def applied_to(self, trials: pd.DataFrame) -> pd.DataFrame:
        """The trials, invalid where their check is not passed."""
        found = {
            check.trial_key: f"{check.finding} the block's one-device trial (tolerance {TOLERANCES[check.precision]:g})"
            for check in self.checks
            if not check.is_passed
        }
        is_broken, messages = trials["trial_key"].isin(found), trials["trial_key"].map(found)
        texts = {"status": str(Status.INVALID), "reason": str(InvalidReason.GRADIENTS_DISAGREE), "message": messages}
        return trials.assign(**{name: trials[name].mask(is_broken, text) for name, text in texts.items()})


def check_equivalence(trials: pd.DataFrame, gradients: pd.DataFrame, sweep: Sweep) -> Equivalence:
    """Every valid trial against the valid one-device trial that is `ALIKE`, the first by setting and start."""
    probes = dict(iter(gradients.sort_values(["trial_key", "step"]).groupby("trial_key")))
    valid = trials[trials["status"] == Status.VALID]
    probed = valid[valid["trial_key"].isin(probes)]
    ranks = {setting: number for number, setting in enumerate(sweep.settings)}
    singles = probed[probed["strategy"] == Strategy.ONE_DEVICE]
    singles = singles.assign(rank=[ranks.get(cell.setting, len(ranks)) for cell in singles["cell"]])
    references = singles.sort_values(["rank", "started_at", "trial_key"]).drop_duplicates(ALIKE)[[*ALIKE, "trial_key"]]
    pairs = probed.merge(references, on=ALIKE, suffixes=("", "_of_reference"))
    named = zip(pairs["trial_key"], pairs["trial_key_of_reference"], pairs["precision"], strict=True)
    checks = [_check(key, Precision(name), probes[key], probes[other]) for key, other, name in named if key != other]
    return Equivalence(checks=tuple(checks), num_unchecked=len(valid) - len(pairs))


def _check(key: str, precision: Precision, own: pd.DataFrame, reference: pd.DataFrame) -> Check:
    """The largest relative difference of a gradient (L2) or a loss.

    The mean of k squared projections of a vector on independent standard normal vectors estimates its squared norm
    without bias, with relative standard error sqrt(2 / k) (Johnson and Lindenstrauss 1984; Dasgupta and Gupta 2003).
    """
    difference, finding = math.inf, "the probed steps or their examples are not those of"
    if _probed(own) == _probed(reference):
        apart = np.stack(list(own["projections"])) - np.stack(list(reference["projections"]))
        losses = reference["loss_sum"].to_numpy()
        distances = np.stack([np.sqrt(np.mean(apart**2, axis=1)), np.abs(own["loss_sum"].to_numpy() - losses)])
        sizes = np.stack([reference["gradient_norm"].to_numpy(), np.abs(losses)])
        with np.errstate(divide="ignore", invalid="ignore"):
            relative = np.divide(distances, sizes, out=np.zeros_like(distances), where=distances != 0)
        relative[~np.isfinite(relative)] = math.inf
        difference, (what, step) = float(relative.max()), np.unravel_index(relative.argmax(), relative.shape)
        finding = f"the {('gradient', 'loss')[what]} of step {reference['step'].iloc[step]} differs by "
        finding += f"{difference:.2g}, relatively, from that of"
    return Check(trial_key=key, precision=precision, num_steps=len(own), difference=difference, finding=finding)


def _probed(probes: pd.DataFrame) -> list[tuple[int, int, int]]:
    return list(zip(probes["step"], probes["num_examples"], probes["projections"].map(len), strict=True))
