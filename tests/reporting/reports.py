"""Reports of example runs as text, without charts, and readings of them."""

import re
from collections.abc import Callable
from pathlib import Path

from tasks.domain.outcome import InvalidReason
from tasks.domain.sweep import Sweep
from tasks.domain.trial import Trial
from tasks.reporting.markdown import Edition
from tasks.reporting.report import compose
from tests.analysis.example_runs import (
    MIRRORED,
    WORKERS,
    Outcome,
    analyze_example,
    make_failure,
    make_result,
    realistic,
)


def degraded(trial: Trial) -> Outcome:
    """In every block one failed, one invalid and one missing trial."""
    if (trial.strategy, trial.global_batch_size) == (MIRRORED, 128):
        return make_failure(trial)
    if (trial.strategy, trial.global_batch_size) == (WORKERS, 256):
        return make_result(trial, 30.0, invalid_reason=InvalidReason.WEIGHTS_DISAGREE)
    if (trial.strategy, trial.global_batch_size) == (WORKERS, 64):
        return None
    return realistic(trial)


def write_text(
    path: Path, sweep: Sweep | None = None, outcome_of: Callable[[Trial], Outcome] = realistic, **changes: object
) -> str:
    """The whole report of an example run as Markdown, without its charts."""
    return compose(analyze_example(path, sweep, outcome_of, **changes), Edition(lambda chart: f"charts/{chart}.svg"))


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


def section_of(text: str, title: str) -> str:
    """What stands under a heading."""
    return text.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]
