"""Nights: what the nightly runs of the history say of each cell, night after night, up to tonight."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum

import numpy as np
import pandas as pd
from scipy import special

from tasks.detection.detector import BASELINE_NIGHTS, MIN_PAIRS, CellState, Detector, Floats, locate, spread
from tasks.detection.series import CONTROL, ENVIRONMENT, Observations, observe
from tasks.domain.cell import Cell
from tasks.domain.exit_code import ExitCode, worst
from tasks.domain.outcome import Status
from tasks.results.events import Event, Kind, effective
from tasks.results.history import Ending, Night

LEVEL = 0.95
"""Of the interval that is shown."""
MIN_STEP_NIGHTS = 3
"""Nights below which no step is dated."""


class NightState(StrEnum):
    """What may be said of a cell tonight: the detector's states, and why there is none."""

    OK = CellState.OK
    SUSPECT = CellState.SUSPECT
    REGRESSED = CellState.REGRESSED
    IMPROVED = CellState.IMPROVED
    NO_BASELINE = CellState.NO_BASELINE
    INCONCLUSIVE = "INCONCLUSIVE"
    """Far out and not measured again, too few pairs, or a night that was stopped."""
    INVALID = "INVALID"
    """Too few pairs, for a check of a training did not hold."""
    FAILED = "FAILED"
    """Too few pairs, for trainings did not end; or the night crashed."""
    NOT_MEASURED = "NOT MEASURED"

    @property
    def exit_code(self) -> ExitCode:
        """Of `stratbench verdict`, where this is the worst state."""
        return ExitCode[self.name]


_QUIET = (NightState.OK, NightState.NO_BASELINE)
_STANDING = {1: NightState.REGRESSED, -1: NightState.IMPROVED, 0: None}
"""By the sign of what stands."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cut:
    """Where a series begins a new baseline."""

    day: date
    """The first night of it."""
    why: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """One series tonight, and the nights that led there."""

    label: str
    """Of the cell, for people; `history accept` takes it."""
    cell: Cell | None
    """Null for the control's own seconds, which tell of the machine."""
    state: NightState
    before: NightState | None
    """The state of the night before; null in the first one."""
    standing: NightState | None
    """REGRESSED or IMPROVED, where that stands although tonight says something else."""
    since: date
    """First night of the state, or of what stands."""
    is_drift: bool
    """Whether the change is one against the first nights of the baseline, by the cumulative sum."""
    num_pairs: int
    """Of tonight's first look."""
    num_nights: int
    """Comparable nights before this one, of which the baseline is made."""
    value: float | None
    """Seconds tonight over those of the control; seconds an epoch without one, or of a machine; null: not measured."""
    change: float | None
    """Tonight against the baseline, as a factor of seconds: above 1 is slower; null without either."""
    low: float | None
    high: float | None
    """Of the interval of `change` at LEVEL."""
    is_undecided: bool
    """Whether it is far out and was not measured again."""
    step: date | None
    """First night of the change, by the step that fits the nights about it best; null without a change."""
    difference: tuple[str, ...]
    """What differs in tonight's environment from the night before that step, or else from the night before."""
    cuts: tuple[Cut, ...]
    days: tuple[date, ...]
    """The nights that were to measure it."""
    values: tuple[float | None, ...]
    """Of each of `days`: its `value`."""
    states: tuple[NightState, ...]
    bands: tuple[tuple[float, float] | None, ...]
    """Of each of `days`: between which values nothing is far out; null without a baseline."""

    @property
    def beside(self) -> NightState | None:
        """What stands although tonight's state is another one."""
        return self.standing if self.standing is not self.state else None

    @property
    def worst(self) -> NightState:
        """The worse of tonight's state and of what stands."""
        found = (state for state in (self.state, self.standing) if state is not None)
        return NightState[worst(state.exit_code for state in found).name]


@dataclass(frozen=True, kw_only=True, slots=True)
class Tonight:
    """All series after the last night."""

    day: date
    run_name: str
    ending: Ending
    num_nights: int
    has_control: bool
    is_synthetic: bool
    """Whether a night among them was made up."""
    noise: float | None
    """Standard deviation of one run's ln seconds within nights; null if not known."""
    verdicts: tuple[Verdict, ...]
    """Of the cells."""
    platform: tuple[Verdict, ...]
    """Of each machine: the control's own seconds, which no change of tonight's software moves; empty without one."""
    never: tuple[str, ...]
    """Labels of the cells that were planned tonight and that no night has measured."""

    @property
    def exit_code(self) -> ExitCode:
        """The worst of all; without a cell, why there is none."""
        if not self.verdicts:
            return ExitCode.FAILED if self.ending is Ending.CRASHED else ExitCode.NOT_MEASURED
        codes = [verdict.worst.exit_code for verdict in (*self.verdicts, *self.platform)]
        return worst([*codes, *(ExitCode.NOT_MEASURED for _ in self.never)])

    @property
    def cuts(self) -> dict[Cut, list[Verdict]]:
        """Where series begin new baselines, the latest first, with the series."""
        found: dict[Cut, list[Verdict]] = {}
        for verdict in (*self.verdicts, *self.platform):
            for cut in verdict.cuts:
                found.setdefault(cut, []).append(verdict)
        return {cut: found[cut] for cut in sorted(found, key=lambda cut: (cut.day, cut.why), reverse=True)}

    @property
    def state(self) -> NightState:
        """That as a state."""
        return NightState[self.exit_code.name]


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """A night of one series."""

    number: int
    state: NightState
    standing: NightState | None
    value: float | None
    band: tuple[float, float] | None


@dataclass(kw_only=True, slots=True)
class Timeline:
    """One series, night after night."""

    cuts: dict[int, str]
    """Why a night, by its number, begins a new baseline."""
    points: list[Point] = field(default_factory=list)
    """Of the nights in which it was asked for."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Replay:
    """Nights as the detector saw them, one after the other."""

    nights: Sequence[Night]
    seen: Observations
    first: Floats
    """As `seen.first`, NaN in a night that did not come to its end."""
    timelines: Sequence[Timeline]
    """By series."""
    asked: Sequence[int]
    """The series of which the last night is to say something."""
    detector: Detector
    """After the last night."""


def replay(nights: Sequence[Night], events: Sequence[Event] = ()) -> Replay:
    """Put nights with `series.COLUMNS`, the earliest first, before the detector."""
    seen = observe(nights)
    first = seen.first.copy()
    first[[night.ending is not Ending.ENDED for night in nights]] = np.nan
    accepted = [_accepted(events, nights, seen, key) for key in range(len(seen.labels))]
    moved = [_moves(seen.shared[seen.shared["key"] == key]) for key in range(len(seen.labels))]
    timelines = [Timeline(cuts=moves | decided) for moves, decided in zip(moved, accepted, strict=True)]
    detector, asked = Detector(len(timelines)), list[int]()
    for number, night in enumerate(nights):
        for series in np.flatnonzero(detector.standing):
            cuts = timelines[series].cuts
            if number in cuts and number not in accepted[series]:
                cuts[number] += f"; {_STANDING[int(detector.standing[series])]} stood before, accepted by nobody"
        detector.accept(np.array([number in timeline.cuts for timeline in timelines], dtype=bool))
        detector.judge(first[number], seen.second[number])
        values, (low, high) = locate(first[number]), detector.band()
        asked = np.flatnonzero(seen.is_asked[number] | (seen.is_planned[number] & (detector.standing != 0))).tolist()
        for key in asked:
            point = Point(
                number=number,
                state=_state(night, detector, key, first[number, key], seen, number),
                standing=_STANDING[int(detector.standing[key])],
                value=math.exp(values[key]) if np.isfinite(values[key]) else None,
                band=(math.exp(low[key]), math.exp(high[key])) if np.isfinite(low[key]) else None,
            )
            timelines[key].points.append(point)
    return Replay(nights=nights, seen=seen, first=first, timelines=timelines, asked=asked, detector=detector)


def judge_nights(nights: Sequence[Night], events: Sequence[Event] = ()) -> Tonight | None:
    """Replay the detector over nights with `series.COLUMNS`, the earliest first; None without one."""
    if not nights:
        return None
    past, last = replay(nights, events), nights[-1]
    found = [_verdict(past, key) for key in past.asked]
    return Tonight(
        day=last.day,
        run_name=last.run_name,
        ending=last.ending,
        num_nights=len(nights),
        has_control=last.has_control,
        is_synthetic=any(night.is_synthetic for night in nights),
        noise=_noise(past.first[:, [cell is not None for cell in past.seen.cells]], nights),
        verdicts=tuple(sorted((v for v in found if v.cell), key=lambda v: _place(v.cell, last))),
        platform=tuple(verdict for verdict in found if verdict.cell is None),
        never=tuple(label for label in last.cells if label not in {v.cell.label for v in found if v.cell}),
    )


def _place(cell: Cell | None, night: Night) -> int:
    """Where the night's plan has the cell; behind all others where it has not."""
    return night.cells.index(cell.label) if cell and cell.label in night.cells else len(night.cells)


def _state(night: Night, detector: Detector, key: int, pairs: Floats, seen: Observations, number: int) -> NightState:
    """What may be said of that series after that night."""
    if np.isfinite(pairs).sum() >= MIN_PAIRS:
        return NightState.INCONCLUSIVE if detector.is_undecided[key] else NightState(detector.states[key])
    if night.ending is Ending.CRASHED:
        return NightState.FAILED
    statuses, num_pairs = seen.statuses.get((number, key), set()), np.isfinite(seen.first[number, key]).sum()
    if num_pairs < MIN_PAIRS and Status.FAILED in statuses:
        return NightState.FAILED
    if num_pairs < MIN_PAIRS and Status.INVALID in statuses:
        return NightState.INVALID
    return NightState.INCONCLUSIVE if statuses or num_pairs else NightState.NOT_MEASURED  # a machine has no statuses


def _moves(shared: pd.DataFrame) -> dict[int, str]:
    """Where what both arms share differs from the night before that is known, and how; `shared` is of one series."""
    values = shared.drop(columns=["key", "night"]).ffill()
    before = values.shift()
    differs = (values != before) & values.notna() & before.notna()
    found = {}
    for place in np.flatnonzero(differs.any(axis=1)):
        names = [name for name in values if differs[name].iloc[place]]
        names = next(([name] for name in ("control", CONTROL) if name in names), names)  # which says the others
        found[int(shared["night"].iloc[place])] = "; ".join(
            f"{name} was {before[name].iloc[place]}, now {values[name].iloc[place]}" for name in names
        )
    return found


def _accepted(events: Sequence[Event], nights: Sequence[Night], seen: Observations, key: int) -> dict[int, str]:
    """The nights from which on somebody accepted a change of that series; a machine is named by its name."""
    found = {}
    for event in effective(events):
        is_meant = event.kind is Kind.ACCEPT and (
            not event.cells or any(_names(seen, key, name) for name in event.cells)
        )
        number = next((n for n, night in enumerate(nights) if event.night and night.day >= event.night), None)
        if is_meant and number is not None:
            found[number] = f"accepted by {event.by}: {event.why}"
    return found


def _names(seen: Observations, key: int, name: str) -> bool:
    """Whether that is a label of the series, or was one when there were fewer series, or others."""
    cell, label = seen.cells[key], seen.labels[key]
    if cell is None or not name.startswith(f"{cell.label}, "):
        return name in (label, cell and cell.label)
    return name == label or set(name.removeprefix(f"{cell.label}, ").split(", ")) <= seen.facts[key]


def _verdict(past: Replay, key: int) -> Verdict:
    nights, seen, detector, timeline = past.nights, past.seen, past.detector, past.timelines[key]
    points, last = timeline.points, timeline.points[-1]
    shown = [point.standing or point.state for point in points]
    held = next((n for n, state in enumerate(reversed(shown)) if state != shown[-1]), len(shown))
    change, error = float(detector.change[key]), float(detector.error[key])
    is_known = last.band is not None
    width = error * float(special.stdtrit(detector.freedom[key], (1 + LEVEL) / 2))
    low, middle, high = (math.exp(change + sign * width) if is_known else None for sign in (-1, 0, 1))
    has_changed = {last.state, last.standing} & {NightState.SUSPECT, NightState.REGRESSED, NightState.IMPROVED}
    step = _begin_of_change(timeline, bool(detector.is_drift[key])) if has_changed else None
    after = last.number if step is None else step
    before = next((point.number for point in reversed(points) if point.number < after), None)
    return Verdict(
        label=seen.labels[key],
        cell=seen.cells[key],
        state=last.state,
        before=points[-2].state if len(points) > 1 else None,
        standing=last.standing,
        since=nights[points[-held].number].day,
        is_drift=bool(detector.is_drift[key]),
        num_pairs=int(np.isfinite(seen.first[-1, key]).sum()),
        num_nights=min(int(detector.num_before[key]), BASELINE_NIGHTS),
        value=last.value,
        change=middle,
        low=low,
        high=high,
        is_undecided=last.state is NightState.INCONCLUSIVE and bool(detector.is_undecided[key]),
        step=None if step is None else nights[step].day,
        difference=_difference(seen.environments, before, after),
        cuts=tuple(Cut(day=nights[number].day, why=why) for number, why in sorted(timeline.cuts.items())),
        days=tuple(nights[night.number].day for night in points),
        values=tuple(night.value for night in points),
        states=tuple(night.state for night in points),
        bands=tuple(night.band for night in points),
    )


def _begin_of_change(timeline: Timeline, is_drift: bool) -> int | None:
    """The first night of the change that is suspected or stands: of the step that fits the nights about it best.

    They are those since it was noticed and those before in which it may have begun, not before the last cut: of a drift
    all, else as many as make a baseline. A change that follows on another one began when it was noticed.
    """
    points = [point for point in timeline.points if point.number >= max(timeline.cuts, default=0)]
    suspected = points[-1].state is NightState.SUSPECT
    stood = {NightState.REGRESSED, NightState.IMPROVED} - ({points[-1].standing} if not suspected else set())
    noticed = len(points)
    while noticed and _shown(points[noticed - 1]) not in (*_QUIET, *stood):
        noticed -= 1
    if noticed and points[noticed - 1].standing:
        return points[noticed].number
    begin = 0 if is_drift else max(0, noticed - BASELINE_NIGHTS)
    last = next((n for n in reversed(range(begin, noticed)) if points[n].standing), begin - 1)
    return _step(points[last + 1 :])


def _shown(point: Point) -> NightState:
    """What is suspected in that night, or else what stands."""
    return point.state if point.state is NightState.SUSPECT else point.standing or point.state


def _step(points: Sequence[Point]) -> int | None:
    """The number of the first night of the second level, by least squares over ln values; None below 3 values."""
    known = [(point.number, math.log(point.value)) for point in points if point.value is not None]
    if len(known) < MIN_STEP_NIGHTS:
        return None
    values = np.array([value for _, value in known])
    sums, counts = np.cumsum(values - values.mean())[:-1], np.arange(1, len(values))
    explained = sums**2 * (1 / counts + 1 / (len(values) - counts))  # what is after it sums to the opposite
    return known[1 + int(np.argmax(explained))][0]


def _difference(environments: pd.DataFrame, before: int | None, after: int) -> tuple[str, ...]:
    """What tonight's environment had otherwise in night `after` than in night `before`."""
    if before not in environments.index or after not in environments.index:
        return ()
    old, new = (environments.loc[number].astype(str).to_dict() for number in (before, after))
    return tuple(f"{name} was {old[name]}, now {new[name]}" for name in ENVIRONMENT if old[name] != new[name])


def _noise(looks: Floats, nights: Sequence[Night]) -> float | None:
    """Standard deviation of one run's ln seconds within nights, their mean; None where no night tells it.

    The mean of variances that are each resistant to outliers: their median would be 20 % too low at 6 pairs, 9 % at 14
    (simulated), for a median absolute deviation of few values is skewed; the mean is 7 and 2 %.
    """
    runs = np.repeat([2 if night.has_control else 1 for night in nights], looks.shape[1])  # behind one value
    found = spread(looks.reshape(-1, looks.shape[2])) ** 2 / runs
    found = found[np.isfinite(looks).sum(axis=2).ravel() >= MIN_PAIRS]
    return math.sqrt(float(np.mean(found))) if len(found) else None
