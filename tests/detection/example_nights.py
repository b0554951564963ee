"""Nights as a history holds them: a few cells in two environments, whatever befalls them."""

from collections.abc import Callable, Collection, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from tasks.detection.nights import Tonight, judge_nights
from tasks.detection.series import COLUMNS
from tasks.domain.cell import Arm
from tasks.reporting.evidence import DETAILS
from tasks.results import schema
from tasks.results.events import Event, Kind
from tasks.results.history import Ending, Night

Row = dict[str, Any]
Change = Callable[[int, Row], Row | None]
"""Of the night with that number, a row instead of the row given; None for none."""
NUM_BLOCKS, NUM_NIGHTS = 6, 20
BEGAN = date(2026, 1, 1)
LABELS = ("one_device, batch 128", "mirrored, batch 128")
CELLS = ({"strategy": "one_device", "reduction": None}, {"strategy": "mirrored", "reduction": "auto"})
ROW: Row = {
    **{"status": "valid", "num_epochs": 1, "global_batch_size": 128},
    **{"loop": "fused", "precision": "float32", "is_xla_enabled": False, "steps_per_call": 32, "num_replicas": 1},
    **{"num_hosts": 1, "device": "cpu_slice", "cores_per_replica": 1, "micro_batch_size": None},
    **{"is_tf32_enabled": False, "dataset": "mnist", "num_train_examples": 60_000, "model": "cnn"},
    **{"learning_rate": 0.001, "hostname": "node", "machine_fingerprint": "m1", "gpu_driver": None},
    **{"dataset_digest": "d1", "num_parameters": 225_034, "stratbench_version": "1.0", "commit": "c0"},
    **{"tensorflow_version": "2.21.0", "keras_version": "3.15.1", "numpy_version": "2.4.0", "python_version": "3.11.7"},
}
GRID = tuple(
    {"strategy": strategy, "reduction": reduction, "global_batch_size": batch}
    for strategy, reduction in (("one_device", None), ("mirrored", "auto"), ("multi_worker_mirrored", "auto"))
    for batch in (64, 128, 256)
)
"""The nine cells of an installation."""
DECLARED = pa.schema([schema.arrow_schema(schema.TRIALS).field(name) for name in [*COLUMNS, *DETAILS]])


def make_nights(
    change: Change = lambda night, row: row,
    num_nights: int = NUM_NIGHTS,
    again: Collection[int] = (),
    arms: Sequence[Arm] = tuple(Arm),
    last: Ending = Ending.ENDED,
    cells: Sequence[Row] = CELLS,
    suspect: int = 1,
    prefix: str = "nightly-",
) -> list[Night]:
    """So many nights of those cells; in those of `again` the one with the number `suspect` was measured again."""
    source, nights = np.random.default_rng(5), []
    for night in range(num_nights):
        looks = [(cell, "measured", range(1, NUM_BLOCKS + 1)) for cell in cells]
        looks += [(cells[suspect], "again", range(NUM_BLOCKS + 1, 3 * NUM_BLOCKS + 1))] if night in again else []
        rows = [
            ROW
            | cell
            | {"role": role, "block": block, "arm": arm.value}
            | {"training_seconds": 10.0 * np.exp(0.02 * source.standard_normal())}
            for cell, role, blocks in looks
            for block in blocks
            for arm in arms
        ]
        changed = [change(night, row) for row in rows]
        nights.append(
            Night(
                day=BEGAN + timedelta(days=night),
                run_name=f"{prefix}{night:03}",
                ending=last if night == num_nights - 1 else Ending.ENDED,
                cells=tuple(f"{cell['strategy']}, batch {(ROW | cell)['global_batch_size']}" for cell in cells),
                has_control=Arm.OTHER in arms,
                trials=pa.Table.from_pylist([row for row in changed if row is not None], schema=DECLARED),
            )
        )
    return nights


def judge(nights: Sequence[Night], events: Sequence[Event] = ()) -> Tonight:
    """The verdicts of the last of them."""
    found = judge_nights(nights, events)
    assert found is not None
    return found


def states(tonight: Tonight) -> list[str]:
    """Of the cells."""
    return [verdict.state for verdict in tonight.verdicts]


def replay(
    change: Change = lambda night, row: row,
    num_nights: int = NUM_NIGHTS,
    again: Collection[int] = (),
    arms: Sequence[Arm] = tuple(Arm),
    last: Ending = Ending.ENDED,
    events: Sequence[Event] = (),
) -> Tonight:
    """The verdicts of such nights."""
    return judge(make_nights(change, num_nights, again, arms, last), events)


def day(number: int) -> date:
    """That of the night with that number."""
    return BEGAN + timedelta(days=number)


def accept(night: int, *cells: str) -> Event:
    """Ann's decision."""
    at = datetime(2026, 5, 1, tzinfo=UTC)
    return Event(kind=Kind.ACCEPT, at=at, by="ann", why="meant", night=day(night), cells=cells)


def altered(first: int, arm: str | None = None, last: int = 10**6, **fields: Any) -> Change:
    """Other fields from that night on, in that arm or both."""
    return lambda night, row: row | (fields if first <= night <= last and arm in (None, row["arm"]) else {})


def slower(first: int, share: float = 0.15, arms: Collection[str] = ("here",), last: int = 10**6) -> Change:
    """`mirrored`, from that night on."""

    def change(night: int, row: Row) -> Row:
        is_slow = first <= night <= last and row["strategy"] == "mirrored" and row["arm"] in arms
        return row | ({"training_seconds": row["training_seconds"] * (1 + share)} if is_slow else {})

    return change
