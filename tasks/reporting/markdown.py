"""Markdown: a document as text for one reader or another."""

from collections.abc import Callable
from typing import assert_never

from tasks.analysis.analysis import Analysis
from tasks.reporting.certainty import describe_certainty
from tasks.reporting.comparison import describe_original
from tasks.reporting.document import Block, Bullets, Chart, Code, Document, Folded, Picture, Section, Table, Text
from tasks.reporting.escaping import escape, fence
from tasks.reporting.measurements import (
    describe_convergence,
    describe_phases,
    describe_scaling,
    describe_step_times,
    describe_training_time,
)
from tasks.reporting.opening import open_report, title
from tasks.reporting.provenance import describe_failures, describe_machine, describe_repetition


def build_document(analysis: Analysis) -> Document:
    """The whole report, first screen first."""
    sections = (
        describe_certainty(analysis),
        describe_training_time(analysis),
        describe_scaling(analysis),
        describe_convergence(analysis),
        describe_phases(analysis),
        describe_step_times(analysis),
        describe_machine(analysis),
        describe_failures(analysis),
        describe_original(analysis),
        describe_repetition(analysis.run),
    )
    return Document(title(analysis), open_report(analysis), tuple(section for section in sections if section))


def render(document: Document, source_of: Callable[[Chart], str]) -> str:
    """The document as GitHub-flavoured Markdown; `source_of` gives the address of a chart's image."""
    parts = [f"# {document.title}", *(_render(block, source_of) for block in document.opening)]
    for section in document.sections:
        parts += [f"## {section.title}", *(_render(block, source_of) for block in section.blocks)]
    return "\n\n".join(parts) + "\n"


def shorten(document: Document, pointer: str) -> Document:
    """The first screen and the sections of the short version; `pointer` says where the whole report is."""
    sections = tuple(section for section in document.sections if section.is_in_short)
    whole = Section("The whole report", (Text(pointer),))
    return Document(document.title, document.opening, (*sections, whole))


def _render(block: Block, source_of: Callable[[Chart], str]) -> str:
    match block:
        case Text():
            return block.markdown
        case Bullets():
            return "\n".join(f"- {item}" for item in block.items)
        case Table():
            return _table(block)
        case Code():
            return fence(block.text)
        case Picture():
            return f"![{escape(block.alt)}]({source_of(block.chart)})"
        case Folded():
            return f"<details>\n<summary>{block.summary}</summary>\n\n{_table(block.table)}\n\n</details>"
        case _:
            assert_never(block)


def _table(table: Table) -> str:
    marks = [":---" if number < table.num_text_columns else "---:" for number in range(len(table.header))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (table.header, marks, *table.rows))
