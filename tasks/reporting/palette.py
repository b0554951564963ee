"""Palette: one colour, marker and line for each strategy in every chart, and the charts' common style."""

from dataclasses import dataclass
from typing import Any, Literal

from tasks.domain.outcome import Phase
from tasks.domain.strategy import Strategy


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
