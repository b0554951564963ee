"""Drawing: what all figures have in common."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from typing import Any, Literal

import matplotlib as mpl
from matplotlib.figure import Figure

from tasks.reporting.palette import ALARM, GREY, STYLE

Kind = Literal["svg", "png"]
WIDTH, BOTTOM = 8.0, 0.5
"""Width of a figure, height of the axis labels below a drawing, in inches."""
DPI = 175
"""Dots an inch of a PNG, which is 1400 px wide (an SVG is 768)."""


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
