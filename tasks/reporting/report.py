"""A report folder: written from a run's tables, rebuilt from its own."""

import dataclasses
import json
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from tasks.analysis.analysis import Analysis
from tasks.reporting.certainty import describe_certainty
from tasks.reporting.charts import draw_charts
from tasks.reporting.comparison import describe_original
from tasks.reporting.files import CHARTS, PAGE, REPORT, new_files, write_text
from tasks.reporting.html import data_uri
from tasks.reporting.markdown import Chart, Edition, escape
from tasks.reporting.measurements import MEASUREMENTS, TRAINING_TIME, describe
from tasks.reporting.opening import open_report
from tasks.reporting.provenance import describe_failures, describe_machine, describe_repetition, describe_validity
from tasks.reporting.steps import describe_loops
from tasks.results.error import ResultsError
from tasks.results.run import Run, decode_run, encode_run
from tasks.results.store import Tables, read_tables, write_tables

ENVIRONMENT = "environment.json"
IN_BRIEF = (Chart.SCALING, Chart.CONVERGENCE, Chart.STEP_SPLIT)
"""Charts that the short version has beside the first."""


class Section(NamedTuple):
    """A heading with what stands under it; left out where that is nothing."""

    title: str
    describe: Callable[[Analysis, Edition], Iterable[str]]
    is_in_brief: bool = False


SECTIONS = (
    Section("How sure", describe_certainty, True),
    Section("What the loop does", lambda analysis, _: describe_loops(analysis)),
    *(Section(m.title, partial(describe, m), m.chart in IN_BRIEF) for m in MEASUREMENTS),
    Section("The machine", lambda analysis, _: describe_machine(analysis)),
    Section("What failed", describe_failures, True),
    Section("What is held against a trial", lambda analysis, _: describe_validity(analysis)),
    Section(
        "The original report", lambda analysis, _: () if analysis.run.sweep.versus else describe_original(analysis)
    ),
    Section("How to repeat it", lambda analysis, _: describe_repetition(analysis)),
)


def compose(analysis: Analysis, edition: Edition) -> str:
    """The report as GitHub-flavoured Markdown."""
    parts = [*open_report(analysis, edition, describe(TRAINING_TIME, analysis, edition))]
    for section in SECTIONS:
        if (section.is_in_brief or not edition.is_brief) and (blocks := tuple(section.describe(analysis, edition))):
            parts += [f"## {section.title}", *blocks]
    return "\n\n".join(parts) + "\n"


def write_report(analysis: Analysis, tables: Tables, folder: Path) -> Path:
    """Write the report of `tables` into `folder`, beside whatever else is there; returns the path of `report.md`."""
    with new_files(folder, REPORT) as new:
        write_tables(tables, new)
        for file, content in draw_charts(analysis).items():
            (new / CHARTS / file).write_bytes(content)
        (new / ENVIRONMENT).write_text(_environment(analysis), encoding="utf-8")
        text = compose(analysis, Edition(lambda chart: f"{CHARTS}/{chart}.svg"))
        write_text(text, new / REPORT, new / PAGE)
    return folder / REPORT


def read_report(folder: Path) -> tuple[Run, Tables]:
    """What the report in `folder` was written from; raises ResultsError where it is missing or damaged.

    Raises ResultsError, too, where its tables are of another schema version.
    """
    path = folder / ENVIRONMENT
    if not folder.is_dir():
        raise ResultsError(f"folder={folder} is none; name a run's folder or a report's, for example under reports/")
    try:
        run = decode_run(json.dumps(json.loads(path.read_bytes())["run"]).encode(), folder)
    except ResultsError:
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        first_line = str(error).partition("\n")[0]
        raise ResultsError(f"{path} cannot be read ({first_line}); write the report again from its run") from error
    return run, read_tables(folder)


def artifact_markdown(analysis: Analysis, report_path: Path) -> str:
    """The short version: the first screen and the charts of the report at `report_path`, images inside the text."""
    charts = report_path.parent / CHARTS
    brief = compose(analysis, Edition(lambda chart: data_uri((charts / f"{chart}.svg").read_bytes()), is_brief=True))
    return f"{brief}\n## The whole report\n\nAll sections, tables and charts: {escape(str(report_path))}\n"


def _environment(analysis: Analysis) -> str:
    document = {
        "command": analysis.run.command,
        "run": json.loads(encode_run(analysis.run)),
        "machines": [dataclasses.asdict(machine) for machine in analysis.machines],
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
