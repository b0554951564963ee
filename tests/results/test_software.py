import subprocess
import sys
from pathlib import Path

import pytest

from tasks.results import software
from tasks.results.software import Software, ask_software, describe_software, inherited

ROOT = Path(__file__).parents[2]


def test_other_python_says_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    found = ask_software(sys.executable)
    assert found == describe_software()
    assert found != Software()


@pytest.mark.parametrize("words", ["exit 1", "echo nothing", "echo '{\"commit\": 1}'", None])
def test_python_that_does_not_say_is_not_taken_for_this_one(words: str | None, tmp_path: Path) -> None:
    program = tmp_path / "python"
    if words is not None:
        program.write_text(f"#!/bin/sh\n{words}\n")
        program.chmod(0o755)
    assert ask_software(str(program)) == Software()


def test_export_knows_its_commit_and_a_copy_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(software, "__file__", str(tmp_path / "tasks" / "results" / "software.py"))
    assert describe_software().commit is None
    monkeypatch.setattr(software, "EXPORTED", "c" * 40)
    found = describe_software()
    assert (found.commit, found.is_commit_clean) == ("c" * 40, None)


@pytest.mark.parametrize(("name", "is_clean"), [("one-point/report.md", True), ("tasks/more.py", False)])
def test_commit_is_clean_where_its_code_is(
    name: str, is_clean: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(software, "__file__", str(tmp_path / "tasks" / "results" / "software.py"))
    identity = ("-c", "user.name=a", "-c", "user.email=a@b")
    for words in (("init", "-q"), (*identity, "commit", "-q", "--allow-empty", "-m", "first")):
        subprocess.run(["git", "-C", str(tmp_path), *words], check=True)
    (tmp_path / name).parent.mkdir()
    (tmp_path / name).write_text("new")
    assert describe_software().is_commit_clean is is_clean


@pytest.mark.parametrize("name", ["PYTHONPATH", "PYTHONHOME", "STRATBENCH_SLOWDOWN"])
def test_another_python_has_nothing_that_is_this_ones_own_affair(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "here")
    assert inherited(sys.executable)[name] == "here"
    assert name not in inherited("/elsewhere/python")
