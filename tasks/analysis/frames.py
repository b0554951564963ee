"""Frames: the tables of results as pandas sees them, valid trials apart and with what follows from their columns."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import TypeAdapter

from tasks.analysis.equivalence import Equivalence, check_equivalence
from tasks.domain.cell import Cell, Setting
from tasks.domain.outcome import Status
from tasks.domain.strategy import Strategy
from tasks.domain.sweep import Sweep
from tasks.domain.trial import Role
from tasks.results.record import PHASE_COLUMNS
from tasks.results.store import Tables

Elapsed = Mapping[str, NDArray[np.float64]]
SETTING = [field.name for field in fields(Setting)]
"""The columns of a trial's setting."""
PLACE = ["block", "machine_fingerprint", "arm", *SETTING]
"""What two trials must have in common, beside the batch size, to be compared."""
BESIDE = ["block", "machine_fingerprint"]
"""What the trials of two cells must have in common to stand beside each other."""
OF_WHOLE = [
    *("training_seconds", "device_seconds", "test_accuracy", "test_loss"),
    *("wall_seconds", "unexplained_seconds"),
    *PHASE_COLUMNS.values(),
]
"""Columns that only trials of all epochs keep: those of a shorter training are another quantity."""


@dataclass(frozen=True, slots=True, eq=False)
class Frames:
    """All trials, and the valid ones with their epochs and steps: nothing else enters a number.

    The discarded ones are left out, and those of a night's second look.

    Two trials are compared over the epochs that both trained, so that a short one may stand beside a whole one.
    """

    trials: pd.DataFrame
    """By block, then in the order of their start, each with its `cell`; a trial whose gradients disagree with those of
    its block's one-device trial is invalid here."""
    valid: pd.DataFrame
    """The valid trials in the same order; what a trial of fewer epochs cannot tell (`OF_WHOLE`) is null in it.

    Columns beside the table's: `seconds_per_epoch`, `device_seconds_per_epoch`, `step_seconds`; `seconds_to_target` and
    `epochs_to_target`, null where the target accuracy was not reached (as MLPerf Training defines it, by whole epochs);
    and, null without the one-device trial of the same `PLACE` that they need: `speedup` (the same global batch) and
    `efficiency`, speed-up / replicas (strong scaling); `weak_efficiency` and `overhead_seconds`, step time beyond that
    of one device (the same per-replica batch)."""
    epochs: pd.DataFrame
    """Of whole trials, with `elapsed_seconds` of training, the trial's `cell`, `block`, `machine_fingerprint`,
    `role`."""
    steps: pd.DataFrame
    """Windows of steps with `step_seconds`, their mean step."""
    elapsed: Elapsed
    """Training seconds up to the end of each epoch, by key of a valid trial."""
    rates: Mapping[tuple[Role, Cell], float]
    """Median examples per second of the valid trials, the discarded ones among them."""
    overhead_seconds: float | None
    """Median of what passed from the start of a trial to the start of the next one beside its training: processes,
    evaluation, queue, reports."""
    equivalence: Equivalence


def build_frames(tables: Tables, sweep: Sweep) -> Frames:
    """The tables as frames; epochs and steps of valid trials only."""
    trials = _trials(tables)
    by_point = trials[trials["status"] == Status.VALID].groupby(["role", "cell"], sort=False)
    rates: Any = by_point["examples_per_second"].median()
    trials = trials[~trials["role"].isin((Role.DISCARDED, Role.AGAIN))]
    trials = trials.sort_values(["block", "started_at", "trial_key"], kind="stable")
    equivalence = check_equivalence(trials, tables.gradients.to_pandas(), sweep)
    trials = equivalence.applied_to(trials)
    valid = trials[trials["status"] == Status.VALID].reset_index(drop=True)
    of_trial = valid[["trial_key", "cell", "block", "machine_fingerprint", "role", "num_epochs"]]
    epochs = tables.epochs.to_pandas().merge(of_trial, on="trial_key")
    epochs = epochs.sort_values(["trial_key", "epoch"], kind="stable")
    epochs["elapsed_seconds"] = epochs.groupby("trial_key")["training_seconds"].cumsum()
    elapsed = {str(key): rows["elapsed_seconds"].to_numpy() for key, rows in epochs.groupby("trial_key")}
    epochs = epochs[epochs["num_epochs"] == sweep.num_epochs].drop(columns="num_epochs")
    steps = tables.steps.to_pandas()
    steps["step_seconds"] = steps["seconds"] / steps["num_steps"]
    return Frames(
        trials=trials,
        valid=_with_derived(valid, epochs, elapsed, sweep),
        epochs=epochs,
        steps=steps[steps["trial_key"].isin(valid["trial_key"])],
        elapsed=elapsed,
        rates={(Role(role), cell): float(rate) for (role, cell), rate in rates.items()},
        overhead_seconds=_overhead_seconds(trials),
        equivalence=equivalence,
    )


def checked(tables: Tables, sweep: Sweep) -> Tables:
    """The tables as the history and its nights count them: trials whose gradients disagree are invalid."""
    trials = _trials(tables)
    found = check_equivalence(trials[trials["role"] != Role.DISCARDED], tables.gradients.to_pandas(), sweep)
    marked = found.applied_to(trials)
    return tables.with_trials({name: marked[name].tolist() for name in ("status", "reason", "message")})


def _trials(tables: Tables) -> pd.DataFrame:
    """The table `trials`, each with its `cell`."""
    trials: pd.DataFrame
    trials, rows = tables.trials.to_pandas(), tables.trials.to_pylist()  # where Arrow's null is None
    cells = TypeAdapter(list[Cell]).validate_python([row | {"setting": row} for row in rows])
    trials["cell"] = pd.Series(cells, dtype=object)
    return trials


def _overhead_seconds(trials: pd.DataFrame) -> float | None:
    ordered = trials.sort_values("started_at")
    passed = ordered["started_at"].diff().shift(-1).dt.total_seconds() - ordered["training_seconds"]
    return float(passed.median()) if passed.notna().any() else None


def rows_of(rows: pd.DataFrame, cell: Cell, role: Role) -> pd.DataFrame:
    """The rows of the cell's trials of that role."""
    return rows[(rows["cell"] == cell) & (rows["role"] == role)]


def values_at(rows: pd.DataFrame, cell: Cell, column: str, role: Role = Role.MEASURED) -> "pd.Series[float]":
    """`column` of the cell's trials of that role by block and machine: what aligns may be compared."""
    return rows_of(rows, cell, role).set_index(BESIDE)[column].astype(float)


def log_ratios(frames: Frames, cell: Cell, against: Cell, role: Role = Role.MEASURED) -> "pd.Series[float]":
    """ln of how many times as fast `cell` trained as `against` in that role, by block and machine."""
    keys = rows_of(frames.valid, cell, Role.MEASURED).set_index(BESIDE)["trial_key"]
    others = rows_of(frames.valid, against, role).set_index(BESIDE)["trial_key"]
    ratios = _ratios(frames.elapsed, keys, others)
    return ratios.map(np.log)


def _ratios(elapsed: Elapsed, keys: "pd.Series[str]", others: "pd.Series[str]") -> "pd.Series[float]":
    """How many times as fast each trial trained as the other one at its index, over the epochs that both trained."""
    pairs, found = keys.to_frame("own").join(others.to_frame("other"), how="inner"), []
    for own, other in zip(pairs["own"], pairs["other"], strict=True):
        last = min(len(elapsed[own]), len(elapsed[other])) - 1
        found.append(elapsed[other][last] / elapsed[own][last])
    return pd.Series(found, index=pairs.index, dtype=float)


def _with_derived(valid: pd.DataFrame, epochs: pd.DataFrame, elapsed: Elapsed, sweep: Sweep) -> pd.DataFrame:
    valid["seconds_per_epoch"] = valid["training_seconds"] / valid["num_epochs"]
    num_steps = -(-valid["num_train_examples"] // valid["global_batch_size"])
    valid["step_seconds"] = valid["seconds_per_epoch"] / num_steps
    valid["device_seconds_per_epoch"] = valid["seconds_per_epoch"] * valid["num_replicas"]
    reached = epochs[epochs["test_accuracy"] >= sweep.target_accuracy].groupby("trial_key").first()
    valid["seconds_to_target"] = valid["trial_key"].map(reached["elapsed_seconds"]).astype(float)
    valid["epochs_to_target"] = valid["trial_key"].map(reached["epoch"]).astype(float)
    valid.loc[valid["num_epochs"] != sweep.num_epochs, OF_WHOLE] = np.nan
    is_single = valid["strategy"] == Strategy.ONE_DEVICE
    single = valid[is_single & (valid["role"] != Role.REFERENCE)]
    single = single.sort_values("role", key=lambda role: role != Role.MEASURED, kind="stable")
    split = ~is_single & (valid["num_replicas"] > 1)
    same_batch = _partners(valid[split], single, "global_batch_size")
    same_share = _partners(valid[split], single, "per_replica_batch_size")
    step_of = valid.set_index("trial_key")["step_seconds"]

    valid["speedup"] = _ratios(elapsed, valid["trial_key"], same_batch)
    valid["efficiency"] = valid["speedup"] / valid["num_replicas"]
    # The same examples in as many times the steps: speed-up over the same data is the weak one in throughput.
    valid["weak_efficiency"] = _ratios(elapsed, valid["trial_key"], same_share) / valid["num_replicas"]
    valid["overhead_seconds"] = valid["step_seconds"] - same_share.map(step_of)
    return valid


def _partners(rows: pd.DataFrame, others: pd.DataFrame, batch: str) -> "pd.Series[str]":
    """By row: the key of the first of `others` in the same place whose global batch size is the row's `batch`."""
    first = others.drop_duplicates([*PLACE, "global_batch_size"])
    keys = first.set_index([*PLACE, "global_batch_size"])["trial_key"]
    wanted = pd.MultiIndex.from_frame(rows[[*PLACE, batch]])
    return pd.Series(keys.reindex(wanted).to_numpy(), index=rows.index, dtype=object).dropna()
