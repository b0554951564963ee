"""Series: the rows of nightly runs as arrays, one series for each cell and each machine.

With a control, a value is ln of tonight's seconds over the control's, pair by pair in the same block; without one it is
ln seconds alone. A machine's series are the control's own ln seconds: no change of tonight's software moves them.
"""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pandas as pd
from pydantic import TypeAdapter

from tasks.detection.detector import Bools, Floats
from tasks.domain.cell import Arm, Cell, Setting
from tasks.domain.outcome import Status
from tasks.domain.trial import Role
from tasks.results.history import Night, stack

CELL = ["strategy", "reduction", "global_batch_size", *(field.name for field in fields(Setting))]
CONFIGURATION = [
    *CELL,
    *("num_replicas", "num_hosts", "device", "cores_per_replica", "micro_batch_size", "is_tf32_enabled"),
    *("dataset", "num_train_examples", "model", "learning_rate", "hostname"),
]
"""What was asked for, and where: one series for each of its values."""
SHARED = ["machine_fingerprint", "gpu_driver", "dataset_digest", "num_parameters"]
"""What both arms share: a change of it begins a new baseline."""
ENVIRONMENT = ["stratbench_version", "commit", "tensorflow_version", "keras_version", "numpy_version", "python_version"]
"""What is judged: the control's begins a new baseline, tonight's never."""
CONTROL = "control's environment"
COLUMNS = [*("block", "role", "arm", "status", "training_seconds", "num_epochs"), *CONFIGURATION, *SHARED, *ENVIRONMENT]
"""Of the table `trials`, what is needed."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Observations:
    """What nights left behind, by series: first the cells, then the machines on which a control trained."""

    labels: tuple[str, ...]
    """Of a machine, its name."""
    cells: tuple[Cell | None, ...]
    """Null for a machine."""
    facts: tuple[frozenset[str], ...]
    """All that a label may say of a series: more is said the more series there are."""
    first: Floats
    """Values of the first look, of shape (nights, series, most pairs), NaN behind the others."""
    second: Floats
    """Of the second look; of a machine the first ones again, for it has none."""
    is_asked: Bools
    """Whether a night was to measure a series, of shape (nights, series)."""
    is_planned: Bools
    """Whether it planned the cell of a series that had begun, though perhaps elsewhere; of the same shape."""
    statuses: Mapping[Hashable, set[str]]
    """Of its trials, by night and series."""
    shared: pd.DataFrame
    """By `key`, the series, and `night`: what both arms share, the control's environment with it; null if not known."""
    environments: pd.DataFrame
    """By night: what is judged, of tonight's arm."""


def observe(nights: Sequence[Night]) -> Observations:
    """Nights with COLUMNS as arrays."""
    rows = _rows(nights)
    named = list(_cells(rows))
    cells = [cell for _, cell, _ in named]
    other = rows[rows["arm"] == Arm.OTHER]
    with_control = [number for number, night in enumerate(nights) if night.has_control]
    machines = [str(name) for name in other["hostname"].unique()]
    control = _control(other, machines)
    control["key"] += len(named)
    num_series = len(named) + len(machines)
    first, second = (
        _filled(pd.concat([_looks(rows, role, with_control), control]), len(nights), num_series)
        for role in (Role.MEASURED, Role.AGAIN)
    )
    here = rows[(rows["arm"] == Arm.HERE) & rows["value"].notna()]
    is_asked, is_planned = _asked(rows, nights, cells)
    of_machines = np.isfinite(first[:, len(named) :]).any(axis=2)
    return Observations(
        labels=(*(label for label, _, _ in named), *machines),
        cells=(*cells, *(None for _ in machines)),
        facts=(*(facts for _, _, facts in named), *(frozenset() for _ in machines)),
        first=first,
        second=second,
        is_asked=np.hstack([is_asked, of_machines]),
        is_planned=np.hstack([is_planned, np.zeros_like(of_machines)]),
        statuses=rows.groupby(["night", "key"])["status"].agg(set).to_dict(),
        shared=_shared(rows, nights, len(named), machines),
        environments=here.groupby("night")[ENVIRONMENT].first().fillna("none"),
    )


def _rows(nights: Sequence[Night]) -> pd.DataFrame:
    """The rows that count, each with the number of its `night`, the `key` of its series and its `value`, ln seconds."""
    rows: pd.DataFrame = stack(nights).to_pandas()
    rows = rows[rows["role"].isin((Role.MEASURED, Role.AGAIN))].reset_index(drop=True)
    rows["key"] = rows.groupby(CONFIGURATION, dropna=False, sort=False).ngroup()
    is_valid = rows["status"] == Status.VALID
    seconds = rows["training_seconds"] / rows["num_epochs"]
    rows["value"] = np.log(seconds.where(is_valid & (seconds > 0)).astype(float))
    return rows


def _cells(rows: pd.DataFrame) -> Iterator[tuple[str, Cell, frozenset[str]]]:
    """Label, cell and facts of each series, in the order of their keys; equal cells are told apart by what differs."""
    found = rows.drop_duplicates("key").sort_values("key")[CONFIGURATION].astype(object).to_dict("records")
    records: list[dict[str, Any]] = [{str(name): _plain(value) for name, value in each.items()} for each in found]
    cells = TypeAdapter(list[Cell]).validate_python([record | {"setting": record} for record in records])
    for record, cell in zip(records, cells, strict=True):
        same = [other for other, another in zip(records, cells, strict=True) if another == cell]
        different = [name for name in CONFIGURATION if len({other[name] for other in same}) > 1]
        label = ", ".join([cell.label, *(f"{name} {record[name]}" for name in different)])
        yield label, cell, frozenset(f"{name} {value}" for name, value in record.items())


def _plain(value: Any) -> Any:
    """As it was asked for: pandas makes numbers with a fraction of whole ones beside a null."""
    if pd.isna(value):
        return None
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _looks(rows: pd.DataFrame, role: Role, with_control: Sequence[int]) -> pd.DataFrame:
    """By `night` and `key` the ln ratio of each pair, or without a control ln seconds, as `value`."""
    chosen = rows[(rows["role"] == role) & rows["value"].notna()]
    table = chosen.pivot_table(index=["night", "key", "block"], columns="arm", values="value")
    table = table.reindex(columns=list(Arm)).reset_index()
    control = table[Arm.OTHER].where(table["night"].isin(with_control), 0.0)
    table["value"] = table[Arm.HERE] - control
    return table[["night", "key", "value"]].dropna(subset="value")


def _control(other: pd.DataFrame, machines: Sequence[str]) -> pd.DataFrame:
    """The control's ln seconds on each machine, the mean over the cells of a block; as `_looks`, `key` the machine.

    A cell that is missing in some blocks, or was added, leaves the mean where it was: each counts by how it differs
    from its own median.
    """
    chosen = other[(other["role"] == Role.MEASURED) & other["value"].notna()]
    usual = chosen.groupby(["hostname", "key"])["value"].median()
    levels = usual.groupby("hostname").mean()
    pairs = pd.MultiIndex.from_frame(chosen[["hostname", "key"]])
    chosen = chosen.assign(value=chosen["value"].to_numpy() - usual.reindex(pairs).to_numpy())
    blocks = chosen.groupby(["night", "hostname", "block"])["value"].mean().reset_index()
    blocks["value"] += levels.reindex(blocks["hostname"]).to_numpy()
    blocks["key"] = [machines.index(name) for name in blocks["hostname"]]
    return blocks[["night", "key", "value"]]


def _filled(table: pd.DataFrame, num_nights: int, num_series: int) -> Floats:
    """The values as an array of shape (nights, series, most pairs), NaN behind the others."""
    ranks = table.groupby(["night", "key"]).cumcount().to_numpy()
    found = np.full((num_nights, num_series, max(ranks, default=0) + 1), np.nan)
    found[table["night"].to_numpy(int), table["key"].to_numpy(int), ranks] = table["value"].to_numpy(float)
    return found


def _asked(rows: pd.DataFrame, nights: Sequence[Night], cells: Sequence[Cell]) -> tuple[Bools, Bools]:
    """Whether each night was to measure each cell: it left rows of it, or planned the cell and left no rows of it.

    A cell that was planned on other data or another machine has another series, with rows of its own; the second array
    has it as planned all the same.
    """
    has_rows = np.zeros((len(nights), len(cells)), dtype=bool)
    has_rows[rows["night"], rows["key"]] = True
    is_named = np.array([[cell.label in night.cells for cell in cells] for night in nights], dtype=bool)
    is_planned = is_named.reshape(has_rows.shape) & np.maximum.accumulate(has_rows, axis=0)
    is_same = np.array([[cell == other for other in cells] for cell in cells], dtype=bool).reshape(2 * [len(cells)])
    is_elsewhere = has_rows @ is_same
    return np.asarray(has_rows | (is_planned & ~is_elsewhere)), is_planned


def _shared(rows: pd.DataFrame, nights: Sequence[Night], num_cells: int, machines: Sequence[str]) -> pd.DataFrame:
    """By `key` and `night`: what both arms share, the control's environment with it, as texts; null if not known."""
    with_control = [number for number, night in enumerate(nights) if night.has_control]
    by_cell = ["key", "night"]
    of_cells = rows.groupby(by_cell)[SHARED].first()
    is_shared = ~rows["night"].isin(with_control) | (rows["arm"] == Arm.OTHER)  # tonight's own model is what is judged
    of_cells["num_parameters"] = rows[is_shared].groupby(by_cell)["num_parameters"].first()
    of_cells["gpu_driver"] = of_cells["gpu_driver"].fillna("none")
    of_cells["num_parameters"] = of_cells["num_parameters"].astype("Int64")  # null where nothing was trained
    is_control = (rows["arm"] == Arm.OTHER) & rows["value"].notna()
    control = rows[is_control].groupby(by_cell)[ENVIRONMENT].first().fillna("none")
    of_cells = of_cells.join(control.add_prefix("control's ")).reset_index()
    of_cells["control"] = np.where(of_cells["night"].isin(with_control), "pinned", "none")
    of_cells[CONTROL] = [nights[number].control for number in of_cells["night"]]
    of_machines = of_cells[of_cells["night"].isin(with_control)].merge(rows[[*by_cell, "hostname"]].drop_duplicates())
    of_machines = (
        of_machines.drop(columns=["key", "num_parameters"]).groupby(["hostname", "night"]).first().reset_index()
    )
    of_machines = of_machines[of_machines["hostname"].isin(machines)]
    of_machines["key"] = [num_cells + machines.index(name) for name in of_machines["hostname"]]
    return pd.concat([of_cells, of_machines.drop(columns="hostname")]).sort_values(["key", "night"])
