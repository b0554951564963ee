"""Markdown: text, tables and pictures in GitHub's dialect, with text from outside shown and nothing else."""

import re
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from operator import attrgetter
from typing import Any, Generic, NamedTuple, TypeVar

from tasks.reporting.numerals import shown

MAX_LENGTH = 500
"""Longer text is cut, so that a traceback cannot bury a table."""
SPECIAL = re.compile(r"([\\`*_\[\]|~$#])")
ENTITIES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
"""Where CommonMark's backslash does not reach."""
LINKS = re.compile(r"(://|www\.|@)")
"""What GitHub's dialect turns into a link or a mention by itself."""

LEFT, RIGHT = ":---", "---:"
Row = TypeVar("Row")
Label = TypeVar("Label")


class Chart(StrEnum):
    """A chart, by the name of its files; in the order of their numbers."""

    TRAINING_TIME = "01-training-time"
    SCALING = "02-scaling"
    CONVERGENCE = "03-convergence"
    STEP_SPLIT = "04-step-split"
    PHASES = "05-phases"
    STEP_TIMES = "06-step-times"


COMPARING = (Chart.SCALING, Chart.STEP_SPLIT)
"""Charts of strategies beside each other."""


class Edition(NamedTuple):
    """The reader that a report is rendered for."""

    image_of: Callable[[Chart], str]
    """Address of a chart's image."""
    is_brief: bool = False
    """Whether tables must be narrow and few: Prefect's page leaves them 560 pixels."""


class Column(NamedTuple, Generic[Row]):
    """One column of a table: what it is called, how it is aligned and what it says of a row."""

    header: str
    align: str
    cell: Callable[[Row], str]
    """Inline Markdown."""
    brief: str = ""
    """The header in a brief edition, which leaves out a column without one."""


def field(header: str, align: str, name: str, form: Callable[[Any], str] = str, brief: str = "") -> Column[Any]:
    """The column of an attribute (dotted: of an attribute's) in the given form; a dash where it is null."""
    get = attrgetter(name)
    return Column(header, align, lambda row: shown(get(row), form), brief)


def table(columns: Sequence[Column[Row]], rows: Iterable[Row], is_brief: bool = False) -> str:
    """One line a row."""
    kept = [column for column in columns if column.brief or not is_brief]
    header = [column.brief if is_brief else column.header for column in kept]
    lines = [header, [column.align for column in kept], *([column.cell(row) for column in kept] for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def folded(summary: str, markdown: str) -> str:
    """A table that opens on a click."""
    return f"<details>\n<summary>{summary}</summary>\n\n{markdown}\n\n</details>"


def bullets(items: Iterable[str]) -> str:
    """A list, one paragraph of inline Markdown an item."""
    return "\n".join(f"- {item}" for item in items)


def plain_line(text: str, max_length: int = MAX_LENGTH) -> str:
    """The text's printable characters on one line, cut to `max_length`; for charts, which read no markup."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= max_length else line[: max_length - 1] + "…"


def escape(text: str) -> str:
    """The text as Markdown that renders as that text: no cell, tag, link, code or emphasis can begin in it."""
    escaped = SPECIAL.sub(r"\\\1", plain_line(text).translate(ENTITIES))
    return LINKS.sub(lambda match: f"&#{ord(match[0][0])};{match[0][1:]}", escaped)


def fence(text: str) -> str:
    """The text as it is, in a fenced block of code that it cannot leave."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    marks = "`" * max(3, longest + 1)
    return f"{marks}sh\n{text}\n{marks}"


def grouped(items: Iterable[Row], label: Callable[[Row], Label]) -> dict[Label, list[Row]]:
    """The items of which the same is said, by it, in the order of the first of each."""
    groups = dict[Label, list[Row]]()
    for item in items:
        groups.setdefault(label(item), []).append(item)
    return groups
