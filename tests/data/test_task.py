"""The Prefect task: named, and telling what it found."""

import logging
from pathlib import Path

import pytest

from tasks.data import task
from tasks.data.preparation import prepare


def test_task_returns_what_preparation_returns_and_logs_it(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(task, "get_run_logger", lambda: logging.getLogger("run"))
    with caplog.at_level(logging.INFO, logger="run"):
        prepared = task.prepare_dataset.fn(str(folder), str(tmp_path / "cache"))
    assert prepared == prepare(str(folder), tmp_path / "cache")
    assert caplog.messages == [
        f"{folder}: 40 training and 12 test images of 5 x 3 x 1 in 4 classes, SHA-256 {prepared.digest}, "
        f"ready in {prepared.directory}"
    ]


def test_task_and_its_runs_have_readable_names() -> None:
    assert task.prepare_dataset.name == "prepare dataset"
    assert str(task.prepare_dataset.task_run_name).format(source="mnist") == "prepare mnist"
