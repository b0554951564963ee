"""Frames: the tables of results as pandas sees them, valid trials apart and with what follows from their columns."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import pandas as pd
from pydantic import TypeAdapter

from tasks.analysis.equivalence import Equivalence, check_equivalence
from tasks.domain import metrics
from tasks.domain.cell import Cell, Setting
from tasks.domain.outcome import Status
from tasks.domain.strategy import Strategy
from tasks.domain.sweep import Sweep
from tasks.domain.trial import Role
from tasks.results.store import Tables

SETTING = [field.name for field in fields(Setting)]
"""The columns of a trial's setting."""
PLACE = ["global_batch_size", "block", "machine_fingerprint", *SETTING]
"""What two trials must have in common to be compared."""


@dataclass(frozen=True, slots=True, eq=False)
class Frames:
    """All trials, and the valid ones with their epochs and steps: nothing else enters a number."""

    trials: pd.DataFrame
    """By block, then in the order of their start, each with its `cell`; a trial whose gradients disagree with those of
    its block's one-device trial is invalid here."""
    valid: pd.DataFrame
    """The valid trials in the same order, with these columns beside the table's: `seconds_per_epoch`;
    `seconds_to_target` and `epochs_to_target`, null where the target accuracy was not reached; `speedup` against the
    one-device trial of the same `PLACE` and `efficiency`, speed-up / replicas (strong scaling), null without one."""
    epochs: pd.DataFrame
    """By trial, with `elapsed_seconds` of training, the trial's `cell`, `block`, `machine_fingerprint` and `role`."""
    steps: pd.DataFrame
    """Windows of steps with `step_seconds`, their mean step."""
    equivalence: Equivalence


def build_frames(tables: Tables, sweep: Sweep) -> Frames:
    """The tables as frames; epochs and steps of valid trials only."""
    trials, rows = tables.trials.to_pandas(), tables.trials.to_pylist()  # where Arrow's null is None
    cells = TypeAdapter(list[Cell]).validate_python([row | {"setting": row} for row in rows])
    trials["cell"] = pd.Series(cells, dtype=object)
    trials = trials.sort_values(["block", "started_at", "trial_key"], kind="stable")
    equivalence = check_equivalence(trials, tables.gradients.to_pandas(), sweep)
    trials = equivalence.applied_to(trials)
    valid = trials[trials["status"] == Status.VALID].reset_index(drop=True)
    of_trial = valid[["trial_key", "cell", "block", "machine_fingerprint", "role"]]
    epochs = tables.epochs.to_pandas().merge(of_trial, on="trial_key")
    epochs = epochs.sort_values(["trial_key", "epoch"], kind="stable")
    by_trial = epochs.groupby("trial_key")
    epochs["elapsed_seconds"] = by_trial["training_seconds"].cumsum()
    steps = tables.steps.to_pandas()
    steps["step_seconds"] = steps["seconds"] / steps["num_steps"]
    target = sweep.target_accuracy
    seconds_to = {
        key: metrics.time_to_accuracy(zip(rows["training_seconds"], rows["test_accuracy"], strict=True), target)
        for key, rows in by_trial
    }
    epochs_to = epochs[epochs["test_accuracy"] >= target].groupby("trial_key")["epoch"].first()
    valid["seconds_per_epoch"] = valid["training_seconds"] / valid["num_epochs"]
    valid["seconds_to_target"] = valid["trial_key"].map(seconds_to).astype(float)
    valid["epochs_to_target"] = valid["trial_key"].map(epochs_to.to_dict()).astype(float)
    is_single = valid["strategy"] == Strategy.ONE_DEVICE
    asked_first = valid[is_single].sort_values("role", key=lambda role: role != Role.MEASURED, kind="stable")
    single = asked_first.drop_duplicates(PLACE)[[*PLACE, "training_seconds"]]
    valid = valid.merge(single, how="left", on=PLACE, suffixes=("", "_of_single"))
    valid["speedup"] = valid.pop("training_seconds_of_single").where(~is_single) / valid["training_seconds"]
    valid["efficiency"] = valid["speedup"] / valid["num_replicas"]
    return Frames(trials, valid, epochs, steps[steps["trial_key"].isin(valid["trial_key"])], equivalence)


def values_at(rows: pd.DataFrame, cell: Cell, column: str, more: Sequence[str] = ()) -> "pd.Series[float]":
    """`column` of the cell's measured trials by block and machine (and `more`): what aligns may be compared."""
    found = rows[(rows["cell"] == cell) & (rows["role"] == Role.MEASURED)]
    return found.set_index(["block", "machine_fingerprint", *more])[column].astype(float)
