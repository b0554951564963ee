"""Alerts: what of a night is news. Each change of a state is told once, in one event of its kind with all its cells."""

import asyncio
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path

from prefect.client.orchestration import get_client
from prefect.events import Event
from pydantic import TypeAdapter, ValidationError

from flows import events
from flows.events import Happening, Links
from flows.patience import Log, patiently
from tasks.detection.nights import NightState, Tonight, Verdict
from tasks.domain.refusal import first_line
from tasks.results.error import ResultsError
from tasks.results.storage import open_storage

TOLD = "history/told.json"
"""What was told, kept beside the history: nothing is told twice, and nothing left untold."""
UNDECIDED = (NightState.FAILED, NightState.INVALID, NightState.NOT_MEASURED, NightState.INCONCLUSIVE)
"""States that say nothing of the speed: what stood before them stands on."""
MAX_NAMED = 20
LOG = logging.getLogger("stratbench")

_STOOD = (NightState.REGRESSED, NightState.IMPROVED)
_HAPPENS = {
    NightState.REGRESSED: Happening.REGRESSION,
    NightState.IMPROVED: Happening.IMPROVEMENT,
    NightState.SUSPECT: Happening.SUSPECT,
}
_WORDS = {
    Happening.REGRESSION: "REGRESSED",
    Happening.IMPROVEMENT: "IMPROVED",
    Happening.RECOVERED: "back at the baseline",
    Happening.PLATFORM: "the machine itself changed",
    Happening.INCOMPLETE: "no full verdict",
    Happening.SUSPECT: "SUSPECT, the next night decides",
}


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


_KEPT = TypeAdapter(Told)


def read_told(location: Path | str) -> Told:
    """What was told at that results root; nothing where it is damaged, which a warning says.

    Raises ResultsError where it cannot be reached.
    """
    storage = open_storage(location)
    try:
        return _KEPT.validate_json(storage.read(TOLD)) if storage.exists(TOLD) else Told()
    except ValidationError as error:
        LOG.warning("%s cannot be read (%s): what it says is taken from the nights", TOLD, first_line(error))
        return Told()


def keep_told(location: Path | str, told: Told) -> None:
    """Keep it in place of what was kept; raises ResultsError where nothing can be written."""
    open_storage(location).replace(TOLD, _KEPT.dump_json(told, indent=2) + b"\n")


async def announce(tonight: Tonight, links: Links, location: Path | str, logger: Log = LOG) -> tuple[str, ...]:
    """Send what is news tonight, and keep at that results root what was told; the names of the events sent.

    An outage of the server is waited out; what could not be sent is news again, after another night or a retry. A night
    before the last one that was told of is no news.
    """
    told = None
    try:
        told = await asyncio.to_thread(read_told, location)
        if tonight.day < told.night:
            return ()
    except ResultsError as error:
        logger.warning(f"what was told is taken from the nights before: {error}")
    before = (told or Told()).seeded(tonight)
    found = _events(tonight, links, before)
    names = await send(found, logger)
    if told is not None:
        try:
            now = before.and_then(tonight) if len(names) == len(found) else before
            await asyncio.to_thread(keep_told, location, now)
        except ResultsError as error:
            logger.warning(f"some of what was told may be told again: {error}")
    return names


def news(tonight: Tonight, told: Told) -> dict[Happening, list[Verdict]]:
    """What happened tonight beyond what was told, to which series; the largest change first."""
    found: dict[Happening, list[Verdict]] = {}
    for verdict in tonight.verdicts:
        if (kind := _happening(verdict, told)) is not None:
            found.setdefault(kind, []).append(verdict)
    machines = [
        v for v in tonight.platform if _happening(v, told) not in (None, Happening.SUSPECT, Happening.INCOMPLETE)
    ]
    if machines:
        found[Happening.PLATFORM] = machines
    is_empty = not tonight.verdicts and tonight.run_name != told.run_name
    if is_empty or any(told.last.get(label) is not NightState.NOT_MEASURED for label in tonight.never):
        found.setdefault(Happening.INCOMPLETE, [])
    return {kind: sorted(found[kind], key=_extent, reverse=True) for kind in Happening if kind in found}


def _extent(verdict: Verdict) -> float:
    return abs(math.log(verdict.change or 1))


def _happening(verdict: Verdict, told: Told) -> Happening | None:
    """What happened to that series; None where it is as it was."""
    before = told.before(verdict)
    if verdict.state == before:
        return None
    if verdict.state in UNDECIDED:
        return Happening.INCOMPLETE
    # NO BASELINE after a change that stood: somebody accepted it, or nothing before is comparable
    gone = Happening.RECOVERED if before in _STOOD and verdict.state is NightState.OK else None
    return _HAPPENS.get(verdict.state, gone)


def _events(tonight: Tonight, links: Links, told: Told) -> list[Event]:
    return [_event(tonight, kind, verdicts, links) for kind, verdicts in news(tonight, told).items()]


def _event(tonight: Tonight, kind: Happening, verdicts: Sequence[Verdict], links: Links) -> Event:
    never = tonight.never if kind is Happening.INCOMPLETE and tonight.verdicts else ()
    series = tonight.platform if kind is Happening.PLATFORM else (*tonight.verdicts, *never)
    names = [*(verdict.label for verdict in verdicts), *never]
    whom = names[0] if len(names) == 1 else f"{len(names)} of {len(series)}"
    extent = f", {_factor(verdicts[0])}" if verdicts and verdicts[0].change and kind is not Happening.INCOMPLETE else ""
    lines = [line for verdict in verdicts[:MAX_NAMED] for line in _lines(verdict)]
    if len(verdicts) > MAX_NAMED:
        lines.append(f"- and {len(verdicts) - MAX_NAMED} more")
    lines += [f"- {label}: NOT MEASURED, tonight or ever" for label in never[:MAX_NAMED]]
    if not names:
        lines.append(f"No cell has a verdict: {tonight.state}; the night {tonight.ending}.")
    if not tonight.has_control:
        lines.append("There is no control: a change of the machine looks the same as one of the software.")
    if tonight.is_synthetic:
        lines.append("Some of the nights before were made up.")
    return events.make(
        kind,
        tonight.day,
        tonight.run_name,
        subject=f"{_WORDS[kind]}: {whom}{extent}" if names else _WORDS[kind],
        lines=lines,
        links=links,
        cells=[_facts(verdict) for verdict in verdicts],
    )


def _lines(verdict: Verdict) -> Iterable[str]:
    """What whoever is on call has to know of a series."""
    before = f" ({verdict.before} the night before)" if verdict.before else ""
    yield f"- {verdict.label}: {verdict.state}{before}"
    if verdict.beside:
        yield f"  {verdict.beside} stands"
    if verdict.change and verdict.low and verdict.high:
        yield (
            f"  {_factor(verdict)} (95 % interval {verdict.low:.3f} to {verdict.high:.3f}; "
            f"n = {verdict.num_pairs} blocks tonight, {verdict.num_nights} nights before)"
        )
    else:
        yield f"  n = {verdict.num_pairs} blocks tonight, {verdict.num_nights} nights before"
    if verdict.step:
        why = "; ".join(verdict.difference) or "no recorded version changed then"
        yield f"  first seen in the night of {verdict.step}; {why}"
    elif verdict.difference:
        yield f"  changed since the night before: {'; '.join(verdict.difference)}"


def _factor(verdict: Verdict) -> str:
    change = verdict.change or math.nan
    return f"x {change:.3f}, {abs(change - 1):.1%} {'slower' if change > 1 else 'faster'}"


def _facts(verdict: Verdict) -> dict[str, object]:
    return {
        "cell": verdict.label,
        "state": verdict.state,
        "before": verdict.before,
        "ratio": verdict.change,
        "low": verdict.low,
        "high": verdict.high,
        "num_pairs": verdict.num_pairs,
        "since": str(verdict.step or verdict.since),
        "difference": list(verdict.difference),
    }


async def send(found: Sequence[Event], logger: Log = LOG) -> tuple[str, ...]:
    """Their names, once the server has them; what cannot be sent is in the log, and harms nothing else."""

    async def ask() -> None:
        async with get_client() as client:
            await events.send(client, found)

    if not found:
        return ()
    try:
        await patiently(ask, logger)
    except Exception as error:
        subjects = "; ".join(event.payload["subject"] for event in found)
        logger.error(f"An alert could not be sent ({type(error).__name__}: {error}): {subjects}")
        return ()
    return tuple(event.event for event in found)
