"""A document: what a report says, before it becomes Markdown for one reader or another."""

from dataclasses import dataclass
from enum import StrEnum


class Chart(StrEnum):
    """A chart, by the name of its files; in the order of their numbers."""

    TRAINING_TIME = "01-training-time"
    SCALING = "02-scaling"
    CONVERGENCE = "03-convergence"
    STEP_TIMES = "04-step-times"
    PHASES = "05-phases"


@dataclass(frozen=True, slots=True)
class Text:
    """A paragraph of inline Markdown."""

    markdown: str


@dataclass(frozen=True, slots=True)
class Bullets:
    """A list, one paragraph of inline Markdown an item."""

    items: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of inline Markdown under a header; every row has the header's length."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    num_text_columns: int
    """Columns aligned left; the numbers after them are aligned right."""

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.header):
                raise ValueError(f"row={row} has {len(row)} cells, header={self.header} has {len(self.header)}")


@dataclass(frozen=True, slots=True)
class Code:
    """A command, as it is."""

    text: str


@dataclass(frozen=True, slots=True)
class Picture:
    """A chart with the finding that it shows."""

    chart: Chart
    alt: str


@dataclass(frozen=True, slots=True)
class Folded:
    """A table that opens on a click."""

    summary: str
    table: Table


Block = Text | Bullets | Table | Code | Picture | Folded


@dataclass(frozen=True, slots=True)
class Section:
    """A heading with what stands under it."""

    title: str
    blocks: tuple[Block, ...]
    is_in_short: bool = False
    """Whether the short version has it too."""


@dataclass(frozen=True, slots=True)
class Document:
    """A whole report."""

    title: str
    opening: tuple[Block, ...]
    """The first screen."""
    sections: tuple[Section, ...]
