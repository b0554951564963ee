"""What Prefect has been told of the nights, kept beside the history: nothing is told twice, and nothing left untold."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from tasks.detection.nights import NightState, Tonight, Verdict
from tasks.domain.refusal import first_line
from tasks.results.storage import open_storage

NAME = "history/told.json"
UNDECIDED = (NightState.FAILED, NightState.INVALID, NightState.NOT_MEASURED, NightState.INCONCLUSIVE)
"""States that say nothing of the speed: what stood before them stands on."""
LOG = logging.getLogger("stratbench")


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """The last night of which everything was told."""

    night: date = date.min
    run_name: str = ""
    last: Mapping[str, NightState] = field(default_factory=dict)
    """By label of a series: its state in the last night that was told of."""
    decided: Mapping[str, NightState] = field(default_factory=dict)
    """What stood then, or the last of these states that is not UNDECIDED."""
    begins: Mapping[str, date] = field(default_factory=dict)
    """With which night its baseline began."""

    def seeded(self, tonight: Tonight) -> "Told":
        """With what the nights before say of a series of which nothing was told yet."""
        series = (*tonight.verdicts, *tonight.platform)
        decided = {v.label: state for v in series for state in v.states[:-1] if state not in UNDECIDED}
        return replace(
            self,
            last={v.label: v.before for v in series if v.before} | dict(self.last),
            decided=decided | dict(self.decided),
            begins={v.label: _begin(v) for v in series} | dict(self.begins),
        )

    def before(self, verdict: Verdict) -> NightState | None:
        """The state that was told last; None where the series has begun anew since, for example by an acceptance.

        Of a verdict that is not UNDECIDED, the last such state.
        """
        states = self.last if verdict.state in UNDECIDED else self.decided
        return states.get(verdict.label) if self.begins.get(verdict.label) == _begin(verdict) else None

    def and_then(self, tonight: Tonight) -> "Told":
        """With that night."""
        series = (*tonight.verdicts, *tonight.platform)
        missing = dict.fromkeys(tonight.never, NightState.NOT_MEASURED)
        decided = {v.label: v.standing or v.state for v in series if v.standing or v.state not in UNDECIDED}
        return Told(
            night=tonight.day,
            run_name=tonight.run_name,
            last={**self.last, **{v.label: v.state for v in series}, **missing},
            decided={**self.decided, **decided},
            begins={**self.begins, **{v.label: _begin(v) for v in series}},
        )


def _begin(verdict: Verdict) -> date:
    return max((cut.day for cut in verdict.cuts), default=date.min)


_TOLD = TypeAdapter(Told)


def read_told(location: Path | str) -> Told:
    """What was told at that results root; nothing where it is damaged, which a warning says.

    Raises ResultsError where it cannot be reached.
    """
    storage = open_storage(location)
    try:
        return _TOLD.validate_json(storage.read(NAME)) if storage.exists(NAME) else Told()
    except ValidationError as error:
        LOG.warning("%s cannot be read (%s): what it says is taken from the nights", NAME, first_line(error))
        return Told()


def keep_told(location: Path | str, told: Told) -> None:
    """Keep it in place of what was kept; raises ResultsError where nothing can be written."""
    open_storage(location).replace(NAME, _TOLD.dump_json(told, indent=2) + b"\n")
