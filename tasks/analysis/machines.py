"""Machines: what the trials ran on."""

from collections.abc import Mapping
from dataclasses import dataclass, fields

import pandas as pd

from tasks.analysis.frames import Frames
from tasks.results.environment import Environment

VERSIONS = ("python_version", "tensorflow_version", "keras_version", "numpy_version")


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """One machine in one state of its software."""

    environment: Mapping[str, str | int | bool | None]
    """Values of the environment columns, by name."""
    versions: Mapping[str, tuple[str, ...]]
    """Distinct versions that its training processes imported, by column; empty where none was imported."""
    is_pinned: tuple[bool, ...]
    """Distinct answers to whether the processes were bound to their cores."""
    num_trials: int
    others: tuple[str, ...]
    """Names of the machines with which it trained together, as the one of rank 0."""


def build_machines(frames: Frames) -> tuple[Machine, ...]:
    """The distinct machines, in the order in which they were first used."""
    columns = [field.name for field in fields(Environment)]
    return tuple(_machine(rows, columns) for _, rows in frames.trials.groupby(columns, dropna=False, sort=False))


def _machine(rows: pd.DataFrame, columns: list[str]) -> Machine:
    (first,) = rows[columns].head(1).to_dict("records")  # as JSON knows the values, but for nulls of any kind
    return Machine(
        environment={str(name): None if pd.isna(value) else value for name, value in first.items()},
        versions={name: tuple(sorted(rows[name].dropna().unique())) for name in VERSIONS},
        is_pinned=tuple(sorted({bool(value) for value in rows["is_pinned"].dropna()})),
        num_trials=len(rows),
        others=tuple(sorted({name for names in rows["hostnames"] for name in names[1:]})),
    )
