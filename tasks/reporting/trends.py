"""Trends: night after night as small charts, one a series, all over the same days."""

from collections.abc import Sequence
from datetime import date
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from tasks.detection.nights import Cut, NightState, Verdict
from tasks.reporting.drawing import ALARM, BOTTOM, GREY, INK, LOOKS, WIDTH, encode, frame, styled
from tasks.reporting.evidence import drawn_days
from tasks.reporting.markdown import plain_line
from tasks.reporting.numerals import digits, ratio

PANELS, CUTS_NAMED = 10, 8
"""Most panels of a figure; most cuts, the last ones."""
PANEL, LINE = 0.83, 0.17
"""Heights of a panel with its title and of a line of text below the drawing, in inches."""
LEAST_REACH = 0.06
"""So far an axis reaches around 1 at least, as a share: noise shall look small."""
MARKS: dict[NightState, dict[str, Any]] = {
    NightState.OK: {"marker": "o", "markersize": 3.6, "markeredgecolor": INK, "markeredgewidth": 0.4},
    NightState.NO_BASELINE: {"marker": "o", "markersize": 3.6, "markerfacecolor": "white"},
    NightState.SUSPECT: {"marker": "D", "markersize": 5.5, "markerfacecolor": "white", "color": ALARM},
    NightState.REGRESSED: {"marker": "^", "markersize": 6, "color": ALARM},
    NightState.IMPROVED: {"marker": "v", "markersize": 6, "color": INK},
    NightState.INCONCLUSIVE: {"marker": "s", "markersize": 4.5, "markerfacecolor": "white", "color": GREY},
    NightState.INVALID: {"marker": "+", "markersize": 6, "markeredgewidth": 1.6, "color": ALARM},
    NightState.FAILED: {"marker": "x", "markersize": 5, "markeredgewidth": 1.6, "color": ALARM},
    NightState.NOT_MEASURED: {"marker": "|", "markersize": 7, "markeredgewidth": 1.4, "color": GREY},
}
"""How a night of that state looks; without a colour it has that of its strategy."""


def draw_trends(verdicts: Sequence[Verdict], title: str, what: str, warnings: Sequence[str]) -> list[bytes]:
    """SVGs of at most PANELS series each."""
    days = drawn_days(verdicts)
    groups = [verdicts[first : first + PANELS] for first in range(0, len(verdicts), PANELS)]
    with styled():
        return [_draw(group, days, title, what, warnings) for group in groups]


def _draw(verdicts: Sequence[Verdict], days: Sequence[date], title: str, what: str, warnings: Sequence[str]) -> bytes:
    cuts = sorted({cut for v in verdicts for cut in v.cuts if cut.day >= days[0]}, key=lambda cut: (cut.day, cut.why))
    cuts = cuts[-CUTS_NAMED:]
    seen = {s for v in verdicts for day, s in zip(v.days, v.states, strict=True) if day >= days[0]}
    marks = {state: {"color": INK} | look for state, look in MARKS.items() if state in seen}
    keys: list[Any] = [Line2D([], [], linestyle="", label=state, **look) for state, look in marks.items()]
    keys.append(Patch(color=GREY, alpha=0.25, linewidth=0, label="not far out"))
    figure = frame(title, what, warnings, PANEL * len(verdicts) + LINE * len(cuts), keys, 0.25)
    space, height = figure.subplotpars, figure.get_size_inches()[1]
    bottom = (BOTTOM + LINE * len(cuts)) / height
    figure.subplots_adjust(0.62 / WIDTH, bottom, 1 - 0.15 / WIDTH, space.top, hspace=0.62)
    panels = figure.subplots(len(verdicts), 1, sharex=True, squeeze=False)[:, 0]
    for axes, verdict in zip(panels, verdicts, strict=True):
        _panel(axes, verdict, days[0], cuts)
    first, last = (day.toordinal() - _EPOCH for day in (days[0], days[-1]))
    ticks = range(first, last + 1, 1 + (last - first) // 7)
    panels[-1].set_xticks([x for x in ticks if x <= first + 0.95 * (last - first)])
    panels[-1].xaxis.set_major_formatter(lambda x, _: str(date.fromordinal(int(x) + _EPOCH)))
    panels[-1].set_xlim(first - 1, last + 1)
    for number, cut in enumerate(cuts, start=1):
        y = (LINE * (len(cuts) - number) + 0.06) / height
        figure.text(0.1 / WIDTH, y, f"[{number}] {cut.day}: {plain_line(cut.why, 110)}", size=8, color=INK)
    return encode(figure, "svg")


_EPOCH = date(1970, 1, 1).toordinal()
"""Matplotlib counts days from it."""


def _panel(axes: Axes, verdict: Verdict, first: date, cuts: Sequence[Cut]) -> None:
    """One series: its band, its nights, those without a value at the bottom, and where baselines begin."""
    start = next(n for n, day in enumerate(verdict.days) if day >= first)
    days = np.array([day.toordinal() - _EPOCH for day in verdict.days[start:]])
    values = np.array([np.nan if value is None else value for value in verdict.values[start:]])
    bands = np.array([(np.nan, np.nan) if band is None else band for band in verdict.bands[start:]])
    states = verdict.states[start:]
    middle = np.nanmedian(values) if np.isfinite(values).any() else 1.0
    ends = [*values, *bands.ravel(), middle * (1 - LEAST_REACH), middle * (1 + LEAST_REACH)]
    low, high = np.nanmin(ends), np.nanmax(ends)
    room = 0.1 * (high - low)
    floor = low - 3 * room if np.isnan(values).any() else low - room
    axes.fill_between(days, bands[:, 0], bands[:, 1], step="mid", color=GREY, alpha=0.25, linewidth=0)
    colour = LOOKS[verdict.cell.strategy].colour if verdict.cell else INK
    for state, look in MARKS.items():
        chosen = np.array([found is state for found in states])
        if chosen.any():
            heights = np.where(np.isnan(values), floor + room, values)[chosen]
            style: dict[str, Any] = {"color": colour, "linestyle": "", "clip_on": False} | look
            axes.plot(days[chosen], heights, **style)
    for number, cut in enumerate(cuts, start=1):
        if cut in verdict.cuts:
            x = cut.day.toordinal() - _EPOCH - 0.5
            axes.axvline(x, color=INK, linestyle="--", linewidth=0.9)
            axes.annotate(f"[{number}]", (x, high + room), (2, -1), textcoords="offset points", va="top", fontsize=8)
    axes.set_ylim(floor, high + room)
    axes.yaxis.set_major_locator(MaxNLocator(3, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(lambda value, _: digits(value))
    label = plain_line(verdict.label, 60 if verdict.cell else 40)
    axes.set_title(label if verdict.cell else f"the control on machine {label}, s", weight="bold", pad=3)
    words: list[str] = [verdict.state]
    words += [f"{verdict.beside} stands"] if verdict.beside else []
    words += [] if verdict.change is None else [f"{ratio(verdict.change)} its baseline"]
    is_bad = ALARM in (MARKS[verdict.worst].get("color"), MARKS[verdict.state].get("color"))
    axes.set_title(", ".join(words), loc="right", pad=3, color=ALARM if is_bad else GREY)
