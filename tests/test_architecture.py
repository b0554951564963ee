"""The import rules of docs/architecture.md, read off the syntax trees."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted([*(ROOT / "flows").rglob("*.py"), *(ROOT / "tasks").rglob("*.py")])
DRAWERS = {"utils", "util", "common", "helpers", "helper", "core", "misc"}
STAGES = {"planning", "data", "training", "analysis", "reporting", "selfcheck", "detection"}
SEES = {
    "training": {"tasks.data.reading"},
    "planning": {"tasks.analysis"},
    "reporting": {"tasks.analysis", "tasks.detection"},
    "selfcheck": {"tasks.planning", "tasks.analysis"},
}
"""What a stage may import of other stages; `results` and `domain` are open to all."""


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def imports(path: Path) -> Iterator[str]:
    """Every absolute module that a file imports, `from a.b import c` as `a.b`."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def top(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imports(path)}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_module_keeps_the_import_rules(path: Path) -> None:
    name, found = name_of(path), set(imports(path))
    parts = name.split(".")
    if name.startswith("tasks.domain"):
        assert all(i.split(".")[0] in sys.stdlib_module_names or i.startswith("tasks.domain") for i in found)
    if not name.startswith("tasks.training.worker"):
        assert not top(path) & {"tensorflow", "keras"}
        assert not any(i.startswith("tasks.training.worker") for i in found)
    if "prefect" in top(path):
        assert parts[0] == "flows" or parts[-1] == "task"
    assert "matplotlib.pyplot" not in found, "it keeps every figure, for all threads"
    if "matplotlib" in top(path):
        assert name in ("tasks.reporting.charts", "tasks.reporting.drawing", "tasks.reporting.trends")
    if "pyarrow" in top(path):
        assert parts[1] in ("results", "data")
    if parts[0] == "tasks":
        assert not any(i.startswith("flows") for i in found)
        for other in STAGES - {parts[1]}:
            seen = {i for i in found if i.startswith(f"tasks.{other}.")}
            assert all(any(i.startswith(allowed) for allowed in SEES.get(parts[1], ())) for i in seen), seen
    if parts[:2] == ["tasks", "results"]:
        assert not any(i.startswith(f"tasks.{stage}") for stage in STAGES for i in found)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_no_import_inside_a_function(path: Path) -> None:
    if name_of(path) in ("flows.__main__", "flows.night_commands"):
        return
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert not [n for n in ast.walk(node) if isinstance(n, ast.Import | ast.ImportFrom)], node.name


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_module_is_one_documented_noun(path: Path) -> None:
    if path.name == "__init__.py":
        assert not path.read_text().strip()
        return
    assert not set(name_of(path).split(".")) & DRAWERS
    assert ast.get_docstring(ast.parse(path.read_text())), "a module says what it is"
    assert len(path.read_text().splitlines()) <= 400


def loaded_by(statement: str) -> set[str]:
    program = f"import sys; {statement}; print('\\n'.join(sys.modules))"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    return {part for name in answer.stdout.split() for part in (name, name.split(".")[0])}


def test_flows_do_not_load_tensorflow() -> None:
    assert not loaded_by("import flows.benchmark, flows.trial") & {"tensorflow", "keras"}


def test_command_line_starts_without_heavy_imports() -> None:
    heavy = {"prefect", "tensorflow", "keras", "pandas", "matplotlib", "pyarrow", "scipy", "numpy"}
    assert not loaded_by("import flows.__main__") & heavy


def test_verdict_and_report_of_a_night_do_without_the_statistics_of_runs() -> None:
    """They take as long to import as all the rest: a verdict over 400 nights has 5 s."""
    assert "scipy.stats" not in loaded_by("import flows.verdicts, tasks.reporting.night, tasks.reporting.verdicts")


def test_command_line_gets_as_far_as_its_refusal_on_native_windows() -> None:
    """There is no fcntl, no SIGHUP and no resource there: nothing that needs them is imported before the check."""
    answer = subprocess.run(
        [sys.executable, "-c", "import sys, flows.__main__; print('\\n'.join(sys.modules))"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    assert not {"fcntl", "resource", "flows.stack.signals"} & set(answer.stdout.split())


def test_direct_run_and_report_never_load_prefect() -> None:
    assert not loaded_by("import flows.direct, tasks.reporting.report") & {"prefect", "tensorflow", "keras"}
