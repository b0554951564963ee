"""Evidence: what a night's report is made of."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import pandas as pd

from tasks.detection.backtest import Characteristic
from tasks.detection.nights import NightState, Tonight, Verdict
from tasks.detection.series import COLUMNS
from tasks.domain.device import DeviceType
from tasks.domain.exit_code import WORST_FIRST, ExitCode
from tasks.domain.trial import Role
from tasks.reporting.markdown import escape
from tasks.reporting.numerals import plural, share
from tasks.results.history import Night

DETAILS = ("reason", "first_taint", "slowdown")
"""Columns of the table `trials` that a report tells, where nights have them, beside those they are judged by."""
MEANING = {NightState.REGRESSED: "REGRESSED (slower)", NightState.IMPROVED: "IMPROVED (faster)"}
"""The states that stand."""
NIGHTS_DRAWN = 120
"""Most nights of a chart, the last ones."""
MOST_NAMED = 3
"""More cells of one state are counted only."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Evidence:
    """What a night's report is made of."""

    tonight: Tonight
    nights: Sequence[Night]
    """Those that were judged, the last one tonight; with `series.COLUMNS`, and best with DETAILS."""
    characteristic: Characteristic | None = None
    """Of the detector under this installation's noise; null: not known."""
    command: str | None = None
    """That measures such a night again."""

    @property
    def ranked(self) -> list[Verdict]:
        """The cells, the worst first, then the machines."""
        ranks = {code: rank for rank, code in enumerate([*WORST_FIRST, ExitCode.OK])}
        verdicts = (*self.tonight.verdicts, *self.tonight.platform)
        return sorted(verdicts, key=lambda verdict: (verdict.cell is None, ranks[verdict.worst.exit_code]))

    @property
    def num_cells(self) -> int:
        """Of tonight, ever measured or not."""
        return len(self.tonight.verdicts) + len(self.tonight.never)

    @property
    def sample(self) -> Mapping[str, Any]:
        """A trial of the last night that has one; empty without any."""
        rows = (rows_of(night) for night in reversed(self.nights) if night.trials.num_rows)
        return next((dict(found.iloc[0]) for found in rows if len(found)), {})

    @property
    def device(self) -> str:
        """On what nights train: ` on CPU slices`; nothing where no trial tells it."""
        return f" on {DeviceType(self.sample['device']).label}s" if self.sample else ""

    @property
    def tags(self) -> list[str]:
        """What must be known before any number."""
        slowdowns = sorted(set(rows_of(self.nights[-1])["slowdown"].dropna()))
        return [
            *(["SYNTHETIC: nobody measured this"] if self.tonight.is_synthetic else []),
            *(f"SLOWED ON PURPOSE: by {share(value)}, as a test" for value in slowdowns),
        ]

    @property
    def extent(self) -> str:
        """Of how many nights the chart is."""
        num_drawn, nights = len(drawn_days(self.ranked)), plural(self.tonight.num_nights, "night")
        return nights if num_drawn == self.tonight.num_nights else f"the last {num_drawn} of {nights}"

    def names(self, verdicts: Sequence[Verdict]) -> str:
        """Cells and machines as the subject of a sentence."""
        cells, machines = ([name_of(v) for v in verdicts if (v.cell is None) is each] for each in (False, True))
        if len(cells) == self.num_cells > 1:
            cells = [f"all {len(cells)} cells"]
        elif len(cells) > 1:
            listed = f" ({'; '.join(cells)})" if len(cells) <= MOST_NAMED else ""
            cells = [f"{len(cells)} cells{listed}"]
        return " and ".join([*cells, *machines])


def name_of(verdict: Verdict) -> str:
    """A cell, or what tells of a machine."""
    return escape(verdict.label) if verdict.cell else f"the control on machine {escape(verdict.label)}"


def rows_of(night: Night) -> pd.DataFrame:
    """The trials that count for a night's verdicts."""
    rows: pd.DataFrame = night.trials.to_pandas().reindex(columns=[*COLUMNS, *DETAILS])
    return rows[rows["role"].isin((Role.MEASURED, Role.AGAIN))]


def drawn_days(verdicts: Iterable[Verdict]) -> list[date]:
    """The nights that are drawn."""
    return sorted({day for verdict in verdicts for day in verdict.days})[-NIGHTS_DRAWN:]
