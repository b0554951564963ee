"""Verdicts: nights of the history weighed against each other, and what was decided about their changes."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime

from flows import locations
from tasks.detection.backtest import Characteristic
from tasks.detection.backtest import measure as backtest
from tasks.detection.detector import MIN_PAIRS
from tasks.detection.nights import NightState, Verdict, judge_nights
from tasks.detection.series import COLUMNS
from tasks.detection.synthetic import Noise
from tasks.domain.refusal import Refusal
from tasks.reporting.evidence import DETAILS, Evidence
from tasks.results.events import Event, Events, Kind, effective
from tasks.results.history import History, Night, Span

NEEDED = [*COLUMNS, *DETAILS]
"""Of the table `trials`, what is judged and reported."""
NIGHT_EFFECT = 0.01
"""Taken for what a night does to one arm alone, in ln seconds: too few nights tell it."""
NUM_SIMULATED = 20
"""Installations behind the operating characteristic that a report quotes."""
CHANGES = (NightState.REGRESSED, NightState.IMPROVED, NightState.SUSPECT)


def read_evidence(day: date | None = None, run_name: str | None = None, until: date = date.max) -> Evidence | None:
    """The last nightly run of the history, or that night's or that run, as the nights before it judge it."""
    nights = History(locations.results()).nights(NEEDED, until=day or until)
    found = [n for n, night in enumerate(nights) if day in (None, night.day) and run_name in (None, night.run_name)]
    return weigh(nights[: found[-1] + 1]) if found else None


def weigh(nights: Sequence[Night], command: str | None = None) -> Evidence:
    """The last of nights with NEEDED, against the others, and what was decided."""
    found = judge_nights(nights, Events(locations.results()).read())
    assert found is not None
    return Evidence(tonight=found, nights=nights, command=command)


def with_characteristic(evidence: Evidence) -> Evidence:
    """The same with what the detector is worth at the noise of these nights and with so many pairs."""
    noise, num_pairs = evidence.tonight.noise, max((v.num_pairs for v in evidence.tonight.verdicts), default=0)
    if noise is None or num_pairs < MIN_PAIRS:
        return evidence
    return replace(evidence, characteristic=characteristic(noise, num_pairs))


def characteristic(noise: float, num_pairs: int) -> Characteristic:
    """What the detector does with so many pairs at that noise, simulated."""
    return backtest(Noise(run=noise, night=NIGHT_EFFECT), num_pairs, NUM_SIMULATED, seed=1)


def describe_cuts(span: Span) -> Iterator[str]:
    """A line for each new baseline of that span, the earliest first: why, and of which series of the last night."""
    evidence = read_evidence(until=span.until)
    cuts = evidence.tonight.cuts if evidence else {}
    for cut in reversed([cut for cut in cuts if cut.day >= span.since]):
        yield f"{cut.day}  new baseline of {'; '.join(verdict.label for verdict in cuts[cut])}: {cut.why}"


def accept(cells: Sequence[str], night: date | None, why: str, by: str) -> Iterator[str]:
    """Record that the change of those cells is intended; without names, of all that have changed. Says what it did.

    The new baseline begins with that night, or else with the first night of each cell's change. Raises Refusal for a
    cell that no night measured, for a night before the first or after the last, and where nothing has changed.
    """
    evidence = read_evidence()
    if evidence is None:
        raise Refusal("the history holds no nightly run; there is nothing to accept")
    tonight = evidence.tonight
    verdicts = {verdict.label: verdict for verdict in (*tonight.verdicts, *tonight.platform)}
    if unknown := [label for label in cells if label not in verdicts]:
        raise Refusal(
            f"cell={unknown[0]!r} was not measured in the night of {tonight.day}; name one of {'; '.join(verdicts)}"
        )
    days = [each.day for each in evidence.nights]
    if night and not days[0] <= night <= days[-1]:
        raise Refusal(f"night={night} is none of the history; name one from {days[0]} to {days[-1]}")
    if unchanged := [label for label in cells if not (night or _changes(verdicts[label]))]:
        raise Refusal(
            f"cell={unchanged[0]!r} has not changed by the night of {tonight.day}; name the first night of its new "
            "baseline by --night"
        )
    chosen = [verdicts[label] for label in cells] or [v for v in verdicts.values() if _changes(v)]
    if not chosen:
        raise Refusal(f"no cell has changed by the night of {tonight.day}; name those that are meant by --cell")
    for verdict in chosen:
        begin = night or verdict.step or verdict.since
        event = Event(kind=Kind.ACCEPT, at=datetime.now(UTC), by=by, why=why, night=begin, cells=(verdict.label,))
        Events(locations.results()).append(event)
        yield f"{event.id}: {verdict.label} has a new baseline from the night of {begin} on"
    after = read_evidence()
    named = {verdict.label for verdict in chosen}
    for verdict in (*after.tonight.verdicts, *after.tonight.platform) if after else ():
        states = _changes(verdict) + [verdict.state] * verdict.is_undecided
        if verdict.label in named and states:
            yield f"{verdict.label} is still {' and '.join(states)}: it changed after the new baseline had begun"


def _changes(verdict: Verdict) -> list[NightState]:
    """What of it may be accepted: what stands, whatever tonight says, and what is suspected."""
    return [state for state in CHANGES if state in (verdict.state, verdict.standing)]


def undo(identifiers: Sequence[str], why: str, by: str) -> Iterator[str]:
    """Record that events count no longer; raises ResultsError, and records nothing, where one of them does not."""
    now = datetime.now(UTC)
    events = [Event(kind=Kind.UNDO, at=now, by=by, why=why, undoes=each) for each in dict.fromkeys(identifiers)]
    Events(locations.results()).append(*events)
    for event in events:
        yield f"{event.id}: {event.undoes} counts no longer"


def list_events() -> Iterator[str]:
    """A line for each event, the earliest first, below the columns' names."""
    events = Events(locations.results()).read()
    counting = {event.id for event in effective(events)}
    yield f"{'event':<10}{'when (UTC)':<18}{'what':<10}{'counts':<8}by, of what and why"
    for event in events:
        what = {
            Kind.ACCEPT: f"{'; '.join(event.cells) or 'all cells'}, from {event.night}",
            Kind.CONTROL: event.control or "no control",
            Kind.UNDO: event.undoes,
        }[event.kind]
        counts = "yes" if event.id in counting else "-" if event.kind is Kind.UNDO else "no"
        said = " ".join(f"{event.by}, {what}: {event.why}".split())  # a decision is one line, whatever is in it
        yield f"{event.id:<10}{event.at:%Y-%m-%d %H:%M}  {event.kind:<10}{counts:<8}{said}"
