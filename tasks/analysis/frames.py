"""Frames: the tables of results as pandas sees them, valid trials apart and with what follows from their columns."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from tasks.domain import metrics
from tasks.domain.outcome import Status
from tasks.domain.strategy import Strategy
from tasks.domain.trial import Role
from tasks.results.store import Tables

PLACE = ["global_batch_size", "block", "machine_fingerprint"]
"""What two trials must have in common to be compared."""


@dataclass(frozen=True, slots=True, eq=False)
class Frames:
    """All trials, and the valid ones with their epochs and steps: nothing else enters a number."""

    trials: pd.DataFrame
    """By block, then in the order of their start."""
    valid: pd.DataFrame
    """The valid trials in the same order, with these columns beside the table's: `seconds_per_epoch`;
    `seconds_to_target` and `epochs_to_target`, null where the target accuracy was not reached; `speedup` against the
    one-device trial of the same `PLACE` and `efficiency`, speed-up / replicas (strong scaling), null without one."""
    epochs: pd.DataFrame
    """By trial, with `elapsed_seconds` of training, the trial's `PLACE`, `strategy` and `role`."""
    steps: pd.DataFrame
    """Windows of steps with `step_seconds`, their mean step."""


def build_frames(tables: Tables, target_accuracy: float) -> Frames:
    """The tables as frames; epochs and steps of valid trials only."""
    trials = tables.trials.to_pandas().sort_values(["block", "started_at", "trial_key"], kind="stable")
    valid = trials[trials["status"] == Status.VALID].reset_index(drop=True)
    epochs = tables.epochs.to_pandas().merge(valid[["trial_key", *PLACE, "strategy", "role"]], on="trial_key")
    epochs = epochs.sort_values(["trial_key", "epoch"], kind="stable")
    by_trial = epochs.groupby("trial_key")
    epochs["elapsed_seconds"] = by_trial["training_seconds"].cumsum()
    steps = tables.steps.to_pandas()
    steps["step_seconds"] = steps["seconds"] / steps["num_steps"]
    seconds_to = {
        key: metrics.time_to_accuracy(
            zip(rows["training_seconds"], rows["test_accuracy"], strict=True), target_accuracy
        )
        for key, rows in by_trial
    }
    epochs_to = epochs[epochs["test_accuracy"] >= target_accuracy].groupby("trial_key")["epoch"].first()
    valid["seconds_per_epoch"] = valid["training_seconds"] / valid["num_epochs"]
    valid["seconds_to_target"] = valid["trial_key"].map(seconds_to).astype(float)
    valid["epochs_to_target"] = valid["trial_key"].map(epochs_to.to_dict()).astype(float)
    is_single = valid["strategy"] == Strategy.ONE_DEVICE
    asked_first = valid[is_single].sort_values("role", key=lambda role: role != Role.MEASURED, kind="stable")
    single = asked_first.drop_duplicates(PLACE)[[*PLACE, "training_seconds"]]
    valid = valid.merge(single, how="left", on=PLACE, suffixes=("", "_of_single"))
    valid["speedup"] = valid.pop("training_seconds_of_single").where(~is_single) / valid["training_seconds"]
    valid["efficiency"] = valid["speedup"] / valid["num_replicas"]
    return Frames(trials, valid, epochs, steps[steps["trial_key"].isin(valid["trial_key"])])


def by_strategy(rows: pd.DataFrame, column: str, more: Sequence[str] = ()) -> pd.DataFrame:
    """`column` of measured trials: one column a strategy, one row for each `PLACE` (and `more`), by batch and block."""
    table = rows[rows["role"] == Role.MEASURED].set_index([*PLACE, *more, "strategy"])[column].astype(float)
    return table.unstack("strategy").reindex(columns=[str(strategy) for strategy in Strategy])
