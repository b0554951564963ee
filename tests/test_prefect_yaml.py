"""prefect.yaml says what the flows can do."""

import importlib
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import yaml
from prefect import Flow
from prefect.client.schemas.schedules import CronSchedule

from flows.names import BENCHMARK_POOL, TAG, TRIAL_POOL

CONTENT: dict[str, Any] = yaml.safe_load((Path(__file__).parents[1] / "prefect.yaml").read_text())
DEPLOYMENTS: list[dict[str, Any]] = CONTENT["deployments"]
IDS = [f"{each['entrypoint'].rpartition('.')[2]}/{each['name']}" for each in DEPLOYMENTS]
for_each_deployment = pytest.mark.parametrize("declared", DEPLOYMENTS, ids=IDS)


def test_deployments_are_those_that_the_documentation_names() -> None:
    benchmarks = ("full", "smoke", "headline", "loops", "nightly")
    assert [*(f"benchmark/{name}" for name in benchmarks), "trial/gpu", "rank/gpu"] == IDS


def test_no_path_is_stored_with_a_deployment() -> None:
    """Without an explicit empty pull step the deployer's absolute path is stored."""
    assert CONTENT["pull"] == []
    assert not any("pull" in each or ":" in each["entrypoint"] for each in DEPLOYMENTS)


@for_each_deployment
def test_entrypoint_is_a_flow_of_that_name_which_takes_the_parameters(declared: dict[str, Any]) -> None:
    module, _, name = declared["entrypoint"].rpartition(".")
    flow = getattr(importlib.import_module(module), name)
    assert isinstance(flow, Flow)
    assert flow.name == name
    if declared["name"] == "gpu":
        assert "parameters" not in declared
    else:
        flow.validate_parameters(declared.get("parameters", {}))


@for_each_deployment
def test_deployment_is_ours_described_and_in_a_pool_that_the_stack_creates(declared: dict[str, Any]) -> None:
    assert TAG in declared["tags"]
    assert len(declared["description"]) > 40
    assert "concurrency_limit" not in declared, "it would not keep two deployments apart; the flow's global limit does"
    pool, command = declared["work_pool"]["name"], declared["work_pool"]["job_variables"]["command"]
    is_trial = declared["name"] == "gpu"
    assert pool == (TRIAL_POOL if is_trial else BENCHMARK_POOL)
    assert command == ("python -m flows.engine 1" if is_trial else "python -m prefect.engine")


def test_only_the_nightly_deployment_is_scheduled_with_a_time_zone_and_a_slug() -> None:
    ((name, (schedule,)),) = ((each["name"], each["schedules"]) for each in DEPLOYMENTS if each.get("schedules"))
    assert name == "nightly"
    assert ZoneInfo(schedule["timezone"])
    CronSchedule(cron=schedule["cron"], timezone=schedule["timezone"])
    assert schedule["slug"]
    assert "parameters" not in schedule
