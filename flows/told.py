"""What Prefect has been told of the nights, kept beside the history: nothing is told twice, and nothing left untold."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from tasks.detection.nights import NightState, Tonight, Verdict
from tasks.domain.refusal import first_line
from tasks.results.error import ResultsError
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
    """The last of these that is not UNDECIDED."""

    def before(self, verdict: Verdict) -> NightState | None:
        """The state that was told last; of a series of which nothing was told, that of the night before."""
        return self.last.get(verdict.label, verdict.before)

    def decided_before(self, verdict: Verdict) -> NightState | None:
        """The same of what is not UNDECIDED."""
        earlier = (state for state in reversed(verdict.states[:-1]) if state not in UNDECIDED)
        return self.decided.get(verdict.label, next(earlier, None))

    def and_then(self, tonight: Tonight) -> "Told":
        """With that night."""
        states = {verdict.label: verdict.state for verdict in (*tonight.verdicts, *tonight.platform)}
        decided = {label: state for label, state in states.items() if state not in UNDECIDED}
        return Told(
            night=tonight.day,
            run_name=tonight.run_name,
            last={**self.last, **states},
            decided={**self.decided, **decided},
        )


_TOLD = TypeAdapter(Told)


def read_told(location: Path | str) -> Told:
    """What was told at that results root; nothing where it cannot be read, which a warning says."""
    storage = open_storage(location)
    try:
        return _TOLD.validate_json(storage.read(NAME)) if storage.exists(NAME) else Told()
    except (ValidationError, ResultsError) as error:
        LOG.warning("%s cannot be read (%s): what it says is taken from the nights", NAME, first_line(error))
        return Told()


def keep_told(location: Path | str, told: Told) -> None:
    """Keep it in place of what was kept; where it cannot be, a warning says that some of it may be told again."""
    try:
        open_storage(location).replace(NAME, _TOLD.dump_json(told, indent=2) + b"\n")
    except ResultsError as error:
        LOG.warning("%s cannot be written (%s): some of it may be told again", NAME, first_line(error))
