"""Machines: what the trials ran on."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
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
    return tuple(
        Machine(
            environment={name: _plain(rows[name].iloc[0]) for name in columns},
            versions={name: tuple(sorted(rows[name].dropna().unique())) for name in VERSIONS},
            is_pinned=tuple(sorted({bool(value) for value in rows["is_pinned"].dropna()})),
            num_trials=len(rows),
            others=tuple(sorted({name for names in rows["hostnames"] for name in names[1:]})),
        )
        for _, rows in frames.trials.groupby(columns, dropna=False, sort=False)
    )


def _plain(value: Any) -> str | int | bool | None:
    """A cell as JSON knows it; None where pandas holds a null of any kind."""
    if pd.isna(value):
        return None
    plain: str | int | bool = value.item() if isinstance(value, np.generic) else value
    return plain
