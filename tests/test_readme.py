"""The documents say what the code does: commands, options, columns, exit codes, links."""

import argparse
import re
from pathlib import Path

import pytest
import yaml

from flows.__main__ import _parser
from tasks.analysis.equivalence import TOLERANCES
from tasks.domain.exit_code import ExitCode
from tasks.domain.loop import Loop
from tasks.domain.outcome import FailureReason, InvalidReason
from tasks.domain.precision import Precision
from tasks.domain.reduction import Reduction
from tasks.domain.strategy import Strategy
from tasks.planning.planner import CPU_MICRO_BATCH_SIZE
from tasks.results import schema

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
COMMAND_LINE = (ROOT / "docs" / "command-line.md").read_text()
METHOD = (ROOT / "docs" / "method.md").read_text()
RESULTS = (ROOT / "docs" / "results.md").read_text()
PAGES = [
    path
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "reports").rglob("*.md")]
    if path.parent.parent != ROOT / "reports" or path.parent.name == "evidence"
]


def subparsers() -> dict[str, argparse.ArgumentParser]:
    (action,) = (a for a in _parser()._actions if isinstance(a, argparse._SubParsersAction))
    return dict(action.choices)


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


def test_readme_names_every_command_and_strategy() -> None:
    for command in ("run", "report"):
        assert f"stratbench {command}" in README
    for strategy in Strategy:
        assert strategy in COMMAND_LINE


def test_command_line_page_lists_every_command_option_and_default() -> None:
    commands = subparsers()
    assert set(re.findall(r"^\| `stratbench (\w+)", COMMAND_LINE, re.MULTILINE)) == set(commands)
    options = {o for a in commands["run"]._actions for o in a.option_strings if o not in ("-h", "--help")}
    assert set(re.findall(r"^\| `(--[\w-]+)` \|", COMMAND_LINE, re.MULTILINE)) == options


def test_command_line_page_lists_every_exit_code() -> None:
    assert set(map(int, re.findall(r"^\| (\d+) \|", COMMAND_LINE, re.MULTILINE))) == set(ExitCode)


def test_method_page_lists_every_reason() -> None:
    for reason in (*InvalidReason, *FailureReason):
        assert f"`{reason}`" in METHOD


def test_method_page_explains_every_loop_precision_and_reduction() -> None:
    for choice in (*Loop, *Precision, *Reduction):
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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_changelog_mentions_the_schema_version() -> None:
    assert f"Schema version {schema.VERSION}" in (ROOT / "CHANGELOG.md").read_text()
