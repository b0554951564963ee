"""The Prefect task: the files first, the artifact if it can be had."""

import asyncio
import logging
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.reporting import task
from tasks.results.run import Run
from tests.analysis.example_runs import fill, make_run


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], str]:
    """The task on a run without records; the report itself is tested elsewhere."""
    fill(tmp_path / "run", make_run(), lambda trial: None)

    def write_report(run: Run, tables: object, folder: Path) -> Path:
        assert threading.current_thread() is not threading.main_thread(), "the event loop would stand still"
        folder.mkdir()
        (folder / "report.md").write_text(run.run_name)
        return folder / "report.md"

    monkeypatch.setattr(task, "write_report", write_report)
    monkeypatch.setattr(task, "artifact_markdown", lambda run, tables, path: f"# {run.run_name}: {path.name}")
    monkeypatch.setattr(task, "get_run_logger", lambda: logging.getLogger("run"))
    return lambda: asyncio.run(task.write_run_report.fn(str(tmp_path / "run"), str(tmp_path / "report")))


def test_task_writes_the_report_and_its_artifact_under_one_key(
    write: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[tuple[str, str, str]] = []

    async def make(markdown: str, key: str, description: str) -> None:
        made.append((key, description, markdown))

    monkeypatch.setattr(task, "acreate_markdown_artifact", make)
    assert Path(write()).read_text() == "full-2026-11-22"
    assert made == [("benchmark-report", "Report of full-2026-11-22", "# full-2026-11-22: report.md")]


@pytest.mark.parametrize("broken", ["artifact_markdown", "acreate_markdown_artifact"])
def test_artifact_that_cannot_be_made_fails_nothing(
    write: Callable[[], str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, broken: str
) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise ConnectionError("no server")

    monkeypatch.setattr(task, broken, refuse)
    with caplog.at_level(logging.WARNING, logger="run"):
        assert Path(write()).is_file()
    assert caplog.messages == ["The report's artifact could not be made; the files are there"]
