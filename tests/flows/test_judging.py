"""The end of a night, as Prefect sees it."""

import asyncio
import logging
from dataclasses import asdict, replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.client.schemas.objects import Artifact

from flows import judging, verdicts
from flows.events import Links
from flows.judging import end_night
from tasks.detection.nights import NightState
from tasks.domain.cell import Arm
from tasks.domain.outcome import TrialResult
from tasks.domain.strategy import Strategy
from tasks.domain.trial import Trial
from tasks.reporting.task import NIGHT_KEY
from tasks.results.history import Ending, History
from tasks.results.run import Run
from tasks.results.store import Tables
from tests.analysis.example_runs import Outcome, fill, make_probes, make_run
from tests.reporting.reports import paced, versus

pytestmark = pytest.mark.prefect
NIGHT = date(2026, 11, 22)


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What was to be announced."""
    monkeypatch.setenv("STRATBENCH_ROOT", str(tmp_path))
    monkeypatch.setattr(verdicts, "NUM_SIMULATED", 1)
    found: list[dict[str, Any]] = []

    async def announce(tonight: object, links: Links, location: object, logger: object) -> tuple[str, ...]:
        found.append({"tonight": tonight, **asdict(links)})
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


def test_night_is_reported_under_its_key_and_told(
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


def test_night_that_crashed_after_its_last_trial_is_a_whole_night(
    flow_run: str, told: list[dict[str, Any]], tmp_path: Path
) -> None:
    run, _ = measured(tmp_path)
    assert run.end
    asyncio.run(judging._end(run.run_name, flow_run, "crashed"))
    assert History(tmp_path / "runs").nights([])[0].ending is Ending.ENDED
    assert [each["tonight"].state for each in told] == [NightState.NO_BASELINE]


def test_gradients_that_disagree_are_invalid_in_the_night_as_well(
    flow_run: str, told: list[dict[str, Any]], tmp_path: Path
) -> None:
    def wrong(trial: Trial) -> Outcome:
        outcome = paced(1.0)(trial)
        assert isinstance(outcome, TrialResult)
        is_wrong = trial.strategy is Strategy.MIRRORED and trial.arm is Arm.HERE
        return replace(outcome, gradients=make_probes(trial, error=0.1)) if is_wrong else outcome

    sweep = replace(versus(), strategies=(Strategy.ONE_DEVICE, Strategy.MIRRORED))
    run = make_run(sweep, run_name=f"nightly-{NIGHT}", night=NIGHT)
    tables = fill(tmp_path / "runs" / run.run_name, run, wrong).read()
    assert set(tables.trials["status"].to_pylist()) == {"valid"}, "what each trial knew"
    tonight = asyncio.run(end_night(run, tables, tmp_path / "reports", flow_run, logging.getLogger("test")))
    assert [verdict.state for verdict in tonight.verdicts] == [NightState.NO_BASELINE, NightState.INVALID]
    rows = History(tmp_path / "runs").read(["strategy", "arm", "status", "reason"]).to_pylist()
    broken = {(row["strategy"], row["arm"], row["reason"]) for row in rows if row["status"] == "invalid"}
    assert broken == {("mirrored", "here", "gradients_disagree")}


def test_run_that_is_no_night_is_not_judged(flow_run: str, told: list[dict[str, Any]], tmp_path: Path) -> None:
    run = replace(make_run(versus()), night=None)
    fill(tmp_path / "runs" / run.run_name, run, paced(1.0))
    asyncio.run(judging._end(run.run_name, flow_run, "crashed"))
    asyncio.run(judging._end("never-begun", flow_run, "crashed"))
    assert told == []
    assert not (tmp_path / "runs" / "history").exists()
