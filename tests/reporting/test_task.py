"""The Prefect task: the files first, the artifact if it can be had, and one artifact a run."""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from uuid import UUID

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import Artifact
from prefect.testing.utilities import prefect_test_harness

from tasks.analysis.analysis import analyze
from tasks.reporting import drawing, task
from tests.analysis.example_runs import fill, make_run
from tests.reporting.reports import RUNNING, paced, pair

Write = Callable[[int, UUID | None], Awaitable[UUID | None]]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """The task after so many blocks of a run of two."""
    monkeypatch.setattr(drawing, "DPI", 20)
    monkeypatch.setattr(task, "get_run_logger", lambda: logging.getLogger("run"))

    def call(num_blocks: int, artifact: UUID | None) -> Awaitable[UUID | None]:
        run = make_run(pair(2), **({} if num_blocks == 2 else RUNNING))
        folder = fill(tmp_path / f"run-{num_blocks}", run, lambda t: paced(1.8)(t) if t.block <= num_blocks else None)
        tables = folder.read()
        return task.write_run_report.fn(analyze(run, tables), tables, str(tmp_path / "report"), artifact)

    return call


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Prefect with a database of its own."""
    for name in [name for name in os.environ if name.startswith("PREFECT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    with prefect_test_harness(server_startup_timeout=120):
        yield


@pytest.mark.prefect
def test_each_block_renews_the_one_artifact_of_the_run(write: Write, server: None, tmp_path: Path) -> None:
    async def read() -> Artifact:
        async with get_client() as client:
            (found,) = await client.read_artifacts()
        assert (found.key, found.type) == ("benchmark-report", "markdown")
        assert found.description == "Report of full-2026-11-22"
        return found

    async def write_twice() -> None:
        first = await write(1, None)
        early = await read()
        assert str(early.data).startswith("# FIRST ANSWER, NOT THE END: MNIST")
        assert await write(2, first) == first == early.id
        assert str((await read()).data).startswith("# MNIST, reference CNN, 2 CPU slices")

    asyncio.run(write_twice())
    assert "8 of 8 trials valid" in (tmp_path / "report" / "report.md").read_text()


@pytest.mark.parametrize("broken", ["artifact_markdown", "acreate_markdown_artifact"])
def test_artifact_that_cannot_be_made_fails_nothing(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, broken: str
) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise ConnectionError("no server")

    monkeypatch.setattr(task, broken, refuse)
    with caplog.at_level(logging.WARNING, logger="run"):
        assert asyncio.run(write(1, None)) is None  # type: ignore[arg-type]
    assert (tmp_path / "report" / "report.md").is_file()
    assert (tmp_path / "report" / "report.html").is_file()
    assert caplog.messages == ["The report's artifact could not be made; the files are there"]
