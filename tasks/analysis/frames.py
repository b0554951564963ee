"""Frames: the tables of results as pandas sees them, valid trials apart."""

from dataclasses import dataclass

import pandas as pd

from tasks.domain.outcome import Status
from tasks.domain.strategy import Strategy
from tasks.domain.trial import Role
from tasks.results.store import Tables


@dataclass(frozen=True, slots=True)
class Frames:
    """All trials, and the valid ones with their epochs and steps: nothing else enters an average."""

    trials: pd.DataFrame
    valid: pd.DataFrame
    epochs: pd.DataFrame
    steps: pd.DataFrame

    def valid_at(self, strategy: Strategy, global_batch_size: int, role: Role = Role.MEASURED) -> pd.DataFrame:
        """The valid trials of one point, by block."""
        rows = self.valid
        at = (rows["strategy"] == strategy) & (rows["global_batch_size"] == global_batch_size) & (rows["role"] == role)
        return rows[at]


def build_frames(tables: Tables) -> Frames:
    """The tables as frames, trials in block order; epochs and steps of valid trials only."""
    trials = tables.trials.to_pandas().sort_values(["block", "started_at", "trial_key"], kind="stable")
    valid = trials[trials["status"] == Status.VALID]
    keys = set(valid["trial_key"])
    epochs, steps = tables.epochs.to_pandas(), tables.steps.to_pandas()
    return Frames(
        trials=trials,
        valid=valid,
        epochs=epochs[epochs["trial_key"].isin(keys)].sort_values(["trial_key", "epoch"], kind="stable"),
        steps=steps[steps["trial_key"].isin(keys)],
    )
