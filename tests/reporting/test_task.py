"""The Prefect task: the files first, the artifact if it can be had."""

import logging
from pathlib import Path

import pytest

from tasks.domain.sweep import Sweep
from tasks.reporting import task
from tests.analysis.example_runs import fill, make_run

SWEEP = Sweep(global_batch_sizes=(64,), num_epochs=1, max_train_examples=1024)


def test_task_writes_the_report_and_its_artifact_under_one_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[str, str, str]] = []
    monkeypatch.setattr(
        task, "create_markdown_artifact", lambda markdown, key, description: made.append((key, description, markdown))
    )
    fill(tmp_path / "run", make_run(SWEEP))
    path = task.write_run_report.fn(str(tmp_path / "run"), str(tmp_path / "report"))
    assert path == str(tmp_path / "report" / "report.md")
    assert Path(path).is_file()
    ((key, description, markdown),) = made
    assert (key, description) == ("benchmark-report", "Report of full-2026-11-22")
    assert markdown.startswith("# SMOKE: first 1,024 training examples only.")


def test_artifact_that_cannot_be_made_fails_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise ConnectionError("no server")

    monkeypatch.setattr(task, "create_markdown_artifact", refuse)
    monkeypatch.setattr(task, "get_run_logger", lambda: logging.getLogger("run"))
    fill(tmp_path / "run", make_run(SWEEP))
    with caplog.at_level(logging.WARNING, logger="run"):
        path = task.write_run_report.fn(str(tmp_path / "run"), str(tmp_path / "report"))
    assert Path(path).is_file()
    assert caplog.messages == ["The report's artifact could not be made; the files are there"]
