"""The end of a night, as Prefect sees it."""

import asyncio
import logging
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.client.schemas.objects import Artifact

from flows import judging, verdicts
from flows.judging import end_night
from tasks.detection.nights import NightState
from tasks.reporting.task import NIGHT_KEY
from tasks.results.history import Ending, History
from tasks.results.run import Run
from tasks.results.store import Tables
from tests.analysis.example_runs import fill, make_run
from tests.reporting.reports import paced, versus

pytestmark = pytest.mark.prefect
NIGHT = date(2026, 11, 22)


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What was to be announced."""
    monkeypatch.setenv("STRATBENCH_ROOT", str(tmp_path))
    monkeypatch.setattr(verdicts, "NUM_SIMULATED", 1)
    found: list[dict[str, Any]] = []

    async def announce(tonight: object, **facts: Any) -> tuple[str, ...]:
        found.append({"tonight": tonight, **facts})
        return ()

    monkeypatch.setattr(judging, "announce", announce)
    return found


@pytest.fixture
def flow_run(client: SyncPrefectClient) -> str:
    @flow(name="benchmark")
    def nothing() -> None: ...

    return str(client.create_flow_run(nothing).id)


def measured(tmp_path: Path, **changes: Any) -> tuple[Run, Tables]:
    run = make_run(versus(), run_name=f"nightly-{NIGHT}", night=NIGHT, **changes)
    return run, fill(tmp_path / "runs" / run.run_name, run, paced(1.0)).read()


def artifacts(client: SyncPrefectClient) -> list[Artifact]:
    return client.read_artifacts(artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=[NIGHT_KEY])))


def test_night_is_reported_under_its_key_and_told_once(
    client: SyncPrefectClient, flow_run: str, told: list[dict[str, Any]], tmp_path: Path
) -> None:
    run, tables = measured(tmp_path)
    report, before = tmp_path / "reports" / run.run_name, len(artifacts(client))
    logger = logging.getLogger("test")
    tonight = asyncio.run(end_night(run, tables, report, flow_run, logger))
    assert (tonight.day, tonight.state, tonight.ending) == (NIGHT, NightState.NO_BASELINE, Ending.ENDED)
    assert (report / "night.md").read_text().startswith("# Night of 2026-11-22 on CPU slices: NO BASELINE")
    found = artifacts(client)
    assert len(found) == before + 1
    newest = max(found, key=lambda artifact: str(artifact.created))
    assert newest.description == "Night of 2026-11-22: NO BASELINE"
    assert [(each["tonight"], each["run_id"], each["report"]) for each in told] == [
        (tonight, flow_run, str(report / "night.md"))
    ]
    assert told[0]["command"] == run.command
    asyncio.run(end_night(run, tables, report, flow_run, logger))
    assert len(told) == 1, "nothing was measured since"


def test_night_that_crashed_or_was_stopped_is_kept_as_such_and_told_by_prefect_alone(
    flow_run: str, told: list[dict[str, Any]], tmp_path: Path
) -> None:
    run, _ = measured(tmp_path, end=None)
    asyncio.run(judging._end(run.run_name, flow_run, "crashed"))
    assert History(tmp_path / "runs").nights([])[0].ending is Ending.CRASHED
    report = tmp_path / "reports" / run.run_name / "night.md"
    assert report.read_text().startswith("# Night of 2026-11-22 on CPU slices: FAILED, 1 of 1 cell")
    asyncio.run(judging._end(run.run_name, flow_run, "stopped"))
    assert History(tmp_path / "runs").nights([])[0].ending is Ending.STOPPED
    assert report.read_text().startswith("# Night of 2026-11-22 on CPU slices: INCONCLUSIVE, 1 of 1 cell")
    assert told == []


def test_run_that_is_no_night_is_not_judged(flow_run: str, told: list[dict[str, Any]], tmp_path: Path) -> None:
    run = replace(make_run(versus()), night=None)
    fill(tmp_path / "runs" / run.run_name, run, paced(1.0))
    asyncio.run(judging._end(run.run_name, flow_run, "crashed"))
    asyncio.run(judging._end("never-begun", flow_run, "crashed"))
    assert told == []
    assert not (tmp_path / "runs" / "history").exists()
