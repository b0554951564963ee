"""prefect.yaml says what the flows can do."""

import importlib
import inspect
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


def flow_of(declared: dict[str, Any]) -> Flow[..., Any]:
    module, _, name = declared["entrypoint"].rpartition(".")
    found = getattr(importlib.import_module(module), name)
    assert isinstance(found, Flow)
    return found


def test_deployments_are_those_that_the_documentation_names() -> None:
    benchmarks = ("full", "smoke", "headline", "loops", "nightly")
    assert [*(f"benchmark/{name}" for name in benchmarks), "trial/gpu", "rank/gpu"] == IDS


def test_no_path_is_stored_with_a_deployment() -> None:
    """Without an explicit empty pull step the deployer's absolute path is stored."""
    assert CONTENT["pull"] == []
    assert not any("pull" in each or ":" in each["entrypoint"] for each in DEPLOYMENTS)


@for_each_deployment
def test_entrypoint_is_a_flow_of_the_name_that_the_stack_assumes(declared: dict[str, Any]) -> None:
    assert flow_of(declared).name == declared["entrypoint"].rpartition(".")[2]


@for_each_deployment
def test_parameters_are_in_the_flows_signature(declared: dict[str, Any]) -> None:
    signature = inspect.signature(flow_of(declared).fn)
    assert declared.get("parameters", {}).keys() <= signature.parameters.keys() - {"trial"}
    for schedule in declared.get("schedules", ()):
        assert schedule.get("parameters", {}).keys() <= signature.parameters.keys()


@for_each_deployment
def test_parameters_pass_the_flows_own_validation(declared: dict[str, Any]) -> None:
    if declared["name"] != "gpu":
        flow_of(declared).validate_parameters(declared.get("parameters", {}))


@for_each_deployment
def test_pool_is_one_that_the_stack_creates(declared: dict[str, Any]) -> None:
    expected = TRIAL_POOL if declared["name"] == "gpu" else BENCHMARK_POOL
    assert declared["work_pool"]["name"] == expected
    command = declared["work_pool"]["job_variables"]["command"]
    assert command == ("python -m flows.engine 1" if declared["name"] == "gpu" else "python -m prefect.engine")


@for_each_deployment
def test_schedule_has_a_time_zone_and_a_slug(declared: dict[str, Any]) -> None:
    for schedule in declared.get("schedules", ()):
        assert ZoneInfo(schedule["timezone"])
        CronSchedule(cron=schedule["cron"], timezone=schedule["timezone"])
        assert schedule["slug"]


@for_each_deployment
def test_deployment_is_marked_as_ours_and_described(declared: dict[str, Any]) -> None:
    assert TAG in declared["tags"]
    assert len(declared["description"]) > 40


def test_only_the_nightly_deployment_is_scheduled() -> None:
    assert [each["name"] for each in DEPLOYMENTS if each.get("schedules")] == ["nightly"]


def test_no_deployment_relies_on_a_limit_of_its_own() -> None:
    """It would not keep two deployments apart; the flow's global limit does."""
    assert not any("concurrency_limit" in each for each in DEPLOYMENTS)
