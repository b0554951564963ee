"""Reports of example runs as text, without charts, and readings of them."""

import re
from collections.abc import Callable
from math import exp
from pathlib import Path

from tasks.domain.cell import Arm
from tasks.domain.sweep import Sweep
from tasks.domain.trial import Role, Trial
from tasks.reporting.markdown import Edition
from tasks.reporting.report import compose
from tests.analysis.example_runs import (
    MIRRORED,
    ONE,
    Outcome,
    analyze_example,
    grid,
    make_result,
    realistic,
)

EVIDENCE = Path(__file__).parents[2] / "reports" / "evidence" / "headline-2-cores"
"""The committed report."""
CHARTS = ["01-training-time", "02-scaling", "03-convergence", "04-step-split", "05-phases", "06-step-times"]
RUNNING = {"end": None}
"""Of a run that goes on, or was cut short."""


def pair(num_blocks: int = 6, **fields: object) -> Sweep:
    """One device and its mirrored rival at one batch size: two declared pairs, the other against all cores unsplit."""
    return grid(num_blocks, **({"strategies": (ONE, MIRRORED), "global_batch_sizes": (64,), "num_epochs": 1} | fields))


def versus(num_blocks: int = 6) -> Sweep:
    """One device at one batch size in two environments: one declared pair."""
    return grid(num_blocks, strategies=(ONE,), global_batch_sizes=(64,), num_epochs=1, versus="/other/bin/python")


def paced(
    speed: float, unsplit: float = 1.5, noise: float = 0.01, accuracy: float = 0.0, **more: float
) -> Callable[[Trial], Outcome]:
    """Trainings at `speed` (mirrored, the other environment) and `unsplit` (all cores) times that of one device.

    `noise` is added to and taken from ln `speed` from block to block, `accuracy` is that of mirrored above 98 % and
    `swing` is added to and taken from it.
    """

    def outcome(trial: Trial) -> Outcome:
        side = 1 if trial.block % 2 else -1
        is_rival = trial.strategy is MIRRORED or trial.arm is Arm.OTHER
        factor = speed * exp(side * noise) if is_rival else unsplit if trial.role is Role.REFERENCE else 1.0
        share = 0.98 + (accuracy + side * more.get("swing", 0.0)) * is_rival
        return make_result(trial, 12.0 * trial.num_epochs / factor, (share,) * trial.num_epochs)

    return outcome


def write_text(
    path: Path,
    sweep: Sweep | None = None,
    outcome_of: Callable[[Trial], Outcome] = realistic,
    is_brief: bool = False,
    **changes: object,
) -> str:
    """The report of an example run as Markdown, without its charts."""
    edition = Edition(lambda chart: f"charts/{chart}.svg", is_brief=is_brief)
    return compose(analyze_example(path, sweep, outcome_of, **changes), edition)


def tables_of(text: str) -> list[list[list[str]]]:
    """Every table as rows of cells, the line of dashes left out."""
    tables: list[list[list[str]]] = []
    previous = ""
    for line in text.splitlines():
        if line.startswith("|"):
            if not previous.startswith("|"):
                tables.append([])
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            if not set(line) <= set("|:- "):
                tables[-1].append(cells)
        previous = line
    return tables


def rows_of(table: list[list[str]]) -> list[dict[str, str]]:
    """A table's rows by header."""
    header, *rows = table
    return [dict(zip(header, row, strict=True)) for row in rows]


def rows_in(text: str, heading: str | None = None) -> list[dict[str, str]]:
    """The rows of the first table under a heading, or of all, by header."""
    return rows_of(tables_of(section_of(text, heading) if heading else text)[0])


def paragraphs(text: str) -> list[str]:
    """The first screen: title, coverage, answer, notes, and what follows them."""
    return text.split("\n## ", 1)[0].split("\n\n")


def section_of(text: str, title: str) -> str:
    """What stands under a heading."""
    return text.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def verdicts_in(text: str) -> set[str]:
    """The words that a verdict on speed gives, but in its rules and in what the original is asked."""
    own = text.split("\n## The original report", 1)[0].replace("waiting for the slower replica", "")
    own = re.sub(r"^- Speed: .*$", "", own, flags=re.M)
    return set(re.findall(r"\b(faster|slower|equivalent|inconclusive|won(?= against)|lost(?= against)|drew)\b", own))
