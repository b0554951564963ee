"""The documents say what the code does: commands, options, columns, exit codes, links."""

import argparse
import re
from pathlib import Path

import pytest
import yaml

from flows.__main__ import _parser
from tasks.analysis.analysis import analyze
from tasks.analysis.equivalence import TOLERANCES
from tasks.domain.exit_code import ExitCode
from tasks.domain.loop import Loop
from tasks.domain.outcome import FailureReason, InvalidReason
from tasks.domain.precision import Precision
from tasks.domain.reduction import Reduction
from tasks.domain.strategy import Strategy
from tasks.planning.planner import CPU_MICRO_BATCH_SIZE
from tasks.reporting.numerals import digits, ratio_with_interval
from tasks.reporting.report import read_report
from tasks.results import schema

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
COMMAND_LINE = (ROOT / "docs" / "command-line.md").read_text()
METHOD = (ROOT / "docs" / "method.md").read_text()
RESULTS = (ROOT / "docs" / "results.md").read_text()


def test_every_make_target_of_the_readme_exists() -> None:
    targets = set(re.findall(r"^([a-z ]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    known = {word for line in targets for word in line.split()}
    named = set(re.findall(r"(?:`|^    )make ([a-z]+)", README, re.MULTILINE))
    assert {"benchmark", "test", "down"} <= named <= known


def test_readme_names_every_deployment_and_the_schedule() -> None:
    declared = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    names = {f"{d['entrypoint'].rsplit('.', 1)[-1]}/{d['name']}" for d in declared}
    assert set(re.findall(r"^\| `(\w+/\w+)` \|", README, re.MULTILINE)) == names
    (schedule,) = (s for d in declared for s in d.get("schedules", []))
    minute, hour, *_ = schedule["cron"].split()
    assert f"{int(hour):02}:{int(minute):02} {schedule['timezone']}" in README


def test_command_line_page_lists_every_command_option_and_strategy() -> None:
    (action,) = (a for a in _parser()._actions if isinstance(a, argparse._SubParsersAction))
    assert set(re.findall(r"^\| `stratbench (\w+)", COMMAND_LINE, re.MULTILINE)) == set(action.choices)
    options = {o for a in action.choices["run"]._actions for o in a.option_strings if o not in ("-h", "--help")}
    assert set(re.findall(r"^\| `(--[\w-]+)` \|", COMMAND_LINE, re.MULTILINE)) == options
    for strategy in Strategy:
        assert strategy in COMMAND_LINE
    for command in ("run", "report"):
        assert f"stratbench {command}" in README


def test_command_line_page_lists_every_exit_code() -> None:
    assert set(map(int, re.findall(r"^\| (\d+) \|", COMMAND_LINE, re.MULTILINE))) == set(ExitCode)


def test_method_page_explains_every_reason_loop_precision_and_reduction() -> None:
    for choice in (*InvalidReason, *FailureReason, *Loop, *Precision, *Reduction):
        assert f"`{choice}`" in METHOD
    for precision, tolerance in TOLERANCES.items():
        assert f"| `{precision}` | {tolerance:g} |" in METHOD
    assert f"micro-batches of {CPU_MICRO_BATCH_SIZE} rows" in METHOD


@pytest.mark.parametrize(("name", "columns"), schema.TABLES.items())
def test_results_page_is_the_schema(name: str, columns: tuple[schema.Column, ...]) -> None:
    section = RESULTS.split(f"## {name}\n")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| `")]
    escaped = [str(c.type).replace("<", "\\<") for c in columns]
    assert rows == [
        f"| `{c.name}` | {kind} | {c.unit or ''} | {'yes' if c.is_nullable else ''} | {c.doc} |"
        for c, kind in zip(columns, escaped, strict=True)
    ]
    assert f"Schema version {schema.VERSION}" in RESULTS
    assert f"Schema version {schema.VERSION}" in (ROOT / "CHANGELOG.md").read_text()


def test_headline_of_the_readme_follows_from_the_evidence() -> None:
    run, tables = read_report(ROOT / "reports" / "evidence" / "headline-2-cores")
    analysis, readme = analyze(run, tables), " ".join(README.split())
    for strategy in (Strategy.MIRRORED, Strategy.MULTI_WORKER_MIRRORED):
        points = analysis.points_of(strategy)
        for is_unsplit in (False, True):
            pairs = [analysis.pair_of(point.cell, Strategy.ONE_DEVICE, is_unsplit) for point in points]
            found = [ratio_with_interval(pair.comparison).replace(" x", "") for pair in pairs if pair]
            assert len(found) == 3
            assert " / ".join(found) in readme, (strategy, is_unsplit)
            verdicts = [str(pair.comparison.verdict) for pair in pairs if pair]
            assert f"): {' / '.join(verdicts if len(set(verdicts)) > 1 else verdicts[:1])} |" in readme
        seconds = [point.median("training_seconds") for point in points]
        assert " / ".join(digits(value) for value in seconds if value) in readme
    assert f"n = {analysis.num_blocks}" in readme
    assert {str(pair.comparison.verdict) for pair in analysis.accuracy_pairs} == {"equivalent"}
