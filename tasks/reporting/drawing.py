"""Drawing: what all figures have in common, and the look of each strategy in them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Literal

import matplotlib as mpl
from matplotlib.figure import Figure

from tasks.domain.outcome import Phase
from tasks.domain.strategy import Strategy

Kind = Literal["svg", "png"]
WIDTH, BOTTOM = 8.0, 0.5
"""Width of a figure, height of the axis labels below a drawing, in inches."""
DPI = 175
"""Dots an inch of a PNG, which is 1400 px wide (an SVG is 768)."""


@dataclass(frozen=True, slots=True)
class Look:
    """How one strategy looks; marker and line tell it apart where there is no colour."""

    colour: str
    marker: str
    line: Literal["-", "--", "-."]


LOOKS = {
    Strategy.ONE_DEVICE: Look("#0072B2", "o", "-"),
    Strategy.MIRRORED: Look("#E69F00", "s", "--"),
    Strategy.MULTI_WORKER_MIRRORED: Look("#009E73", "^", "-."),
}
"""Blue, orange and green of Okabe and Ito's palette, which stay apart in grey as well."""

INK, GREY, ALARM = "#222222", "#666666", "#B00020"


@dataclass(frozen=True, slots=True)
class PhaseGroup:
    """Phases that one piece of a bar shows."""

    name: str
    phases: tuple[Phase, ...]
    fill: str | None
    """Colour; null for the strategy's own."""
    hatch: str = ""


PHASE_GROUPS = (
    PhaseGroup("process start, import", (Phase.PROCESS_START, Phase.IMPORT), "#4D4D4D"),
    PhaseGroup("runtime, data, model", (Phase.RUNTIME, Phase.DATA, Phase.MODEL), "#BDBDBD"),
    PhaseGroup("compile, warm-up", (Phase.COMPILE, Phase.WARMUP), "#FFFFFF", "//////"),
    PhaseGroup("training (in the strategy's colour)", (Phase.TRAINING,), None),
    PhaseGroup("evaluation", (Phase.EVALUATION,), "#8C8C8C"),
    PhaseGroup("teardown", (Phase.TEARDOWN,), "#EDEDED"),
)

STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "sans-serif"],
    "font.size": 9,
    "text.parse_math": False,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#999999",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "grid.color": "#E3E3E3",
    "grid.linewidth": 0.7,
    "ytick.major.size": 0,
    "hatch.linewidth": 0.5,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "svg.hashsalt": "stratbench",
    "svg.fonttype": "none",
}
"""Matplotlib's settings; the salt makes the identifiers inside an SVG the same on every run, and text stays text, which
a reader can search and copy, drawn by the reader's machine (Verdana is as wide as DejaVu Sans)."""


def frame(
    title: str, what: str, warnings: Sequence[str], height: float, keys: Sequence[Any], heading: float = 0.0
) -> Figure:
    """A figure with its title and what it is of; in inches, `height` is that of the drawing.

    `heading` is that of the titles above its panels.
    """
    legend_rows = 2 if len(keys) > 4 else 1
    top = 0.7 + 0.2 * (len(warnings) + legend_rows) + heading
    total = height + top + BOTTOM
    figure = Figure((WIDTH, total))
    figure.text(0.1 / WIDTH, 1 - 0.1 / total, title, size=12, weight="bold", va="top")
    figure.text(0.1 / WIDTH, 1 - 0.36 / total, what, size=8, color=GREY, va="top")
    for number, warning in enumerate(warnings):
        figure.text(0.1 / WIDTH, 1 - (0.56 + 0.2 * number) / total, warning, color=ALARM, weight="bold", va="top")
    place = (0.02 / WIDTH, 1 - (0.52 + 0.2 * len(warnings)) / total)
    figure.legend(handles=keys, loc="upper left", bbox_to_anchor=place, ncols=-(-len(keys) // legend_rows))
    figure.subplots_adjust(bottom=BOTTOM / total, top=1 - top / total)
    return figure


@contextmanager
def styled() -> Iterator[None]:
    """What is drawn meanwhile has the charts' style, whatever the user's own is."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE)
        yield


def encode(figure: Figure, kind: Kind) -> bytes:
    """The figure as a file that holds neither date nor version."""
    metadata = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
    figure.savefig(sink := BytesIO(), format=kind, dpi=DPI, metadata=metadata)
    return sink.getvalue()
