"""The templates of container pools, as Prefect and, where the extras are installed, its own workers render them."""

import asyncio
import importlib
import importlib.util
import json
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import FlowRun
from prefect.server.schemas.actions import WorkPoolCreate as ServerWorkPoolCreate
from prefect.settings import PREFECT_API_URL
from prefect.settings.context import temporary_settings
from prefect.utilities.schema_tools.validation import ValidationError, is_valid_schema, validate
from prefect.workers.base import BaseJobConfiguration

ROOT = Path(__file__).parents[1]
RUN = FlowRun(name="full-1: mirrored, batch 64, block 1", flow_id=UUID(int=1), id=UUID(int=2))
COMMAND = "python -m flows.engine 1"
"""What the deployment says."""
NEEDED: dict[str, dict[str, Any]] = {
    "docker": {"machine": "a100-1"},
    "kubernetes": {"machine": "a100-1", "node": "worker-7"},
}
"""Each type of pool with the variables that have no default."""
each_type = pytest.mark.parametrize("kind", NEEDED)


def needs_worker(kind: str) -> pytest.MarkDecorator:
    """Of a test that asks Prefect's own worker, which is in an extra."""
    is_missing = importlib.util.find_spec(f"prefect_{kind}") is None
    return pytest.mark.skipif(is_missing, reason=f"the extra {kind!r} is not installed")


def template(kind: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / "templates" / f"{kind}.json").read_text())
    return found


def worker(kind: str) -> Any:
    return getattr(importlib.import_module(f"prefect_{kind}.worker"), f"{kind.title()}Worker")


class Rendered(BaseJobConfiguration, extra="allow"):
    """What Prefect makes of a template before the worker sees it."""


def render(kind: str, by: type[BaseJobConfiguration] = Rendered, **values: Any) -> Any:
    """The configuration with which the worker would start a trial."""

    async def prepare() -> Any:
        with temporary_settings({PREFECT_API_URL: "https://prefect.example/api"}):
            given = {"command": COMMAND, **NEEDED[kind], **values}
            found = await by.from_template_and_values(template(kind), given)
            found.prepare_for_flow_run(RUN)
            return found

    return asyncio.run(prepare())


def pod(**values: Any) -> dict[str, Any]:
    found: dict[str, Any] = render("kubernetes", **values).job_manifest["spec"]["template"]["spec"]
    return found


def check(kind: str, variables: dict[str, Any]) -> None:
    """As the server checks the variables of a run before it is created."""
    validate(variables, template(kind)["variables"], raise_on_error=True, preprocess=True, allow_none_with_default=True)


@each_type
def test_pool_of_that_type_takes_the_template(kind: str) -> None:
    for action in (WorkPoolCreate, ServerWorkPoolCreate):
        assert action(name="gpu", type=kind, base_job_template=template(kind)).base_job_template == template(kind)
    is_valid_schema(template(kind)["variables"], preprocess=False)
    check(kind, {**NEEDED[kind], "command": COMMAND})


@each_type
def test_what_a_trial_cannot_do_without_is_required(kind: str) -> None:
    for name in NEEDED[kind]:
        with pytest.raises(ValidationError, match=f"'{name}' is a required property"):
            check(kind, {other: value for other, value in NEEDED[kind].items() if other != name})
    with pytest.raises(ValidationError, match="does not match"):
        check(kind, {**NEEDED[kind], "machine": "No host name"})


@each_type
def test_every_variable_is_explained_and_its_default_is_valid(kind: str) -> None:
    for name, schema in template(kind)["variables"]["properties"].items():
        assert schema["title"]
        assert schema["description"].endswith(".")
        if "default" in schema:
            check(kind, {**NEEDED[kind], name: schema["default"]})


@each_type
def test_page_lists_every_variable_with_its_default(kind: str) -> None:
    page = (ROOT / "docs" / "pools.md").read_text()
    header, _, *rows = [[cell.strip(" `") for cell in line.split("|")] for line in page.splitlines() if line[:1] == "|"]
    column, variables = header.index(kind), template(kind)["variables"]
    listed = {name: cells[column] for cells in rows if cells[column] for name in cells[1].split("`, `")}
    assert listed.keys() == variables["properties"].keys()
    for name, schema in variables["properties"].items():
        default = schema.get("default") or listed[name]
        default = default if isinstance(default, str) else json.dumps(default)
        assert listed[name] == ("required" if name in variables["required"] else default)


def test_docker_gives_a_trial_gpus_and_shared_memory_and_restarts_nothing() -> None:
    found = render("docker")
    assert (found.image, found.image_pull_policy, found.auto_remove) == ("stratbench:gpu", "IfNotPresent", True)
    engine = dict(found.container_create_kwargs)
    assert engine.pop("hostname") == "a100-1"
    host = importlib.import_module("docker.types").HostConfig(version="1.45", **engine)
    assert (host["ShmSize"], host["RestartPolicy"]) == (2 * 2**30, {"Name": "no"})
    (request,) = host["DeviceRequests"]
    assert (request["Driver"], request["Count"]) == ("nvidia", -1)
    assert request["Capabilities"] == [["gpu", "compute", "utility"]]


def test_docker_takes_what_is_given() -> None:
    given = {"volumes": ["/srv:/home/bench"], "network_mode": "host"}
    found = render("docker", gpu_count=2, shm_size="512m", **given)
    assert found.container_create_kwargs["device_requests"][0]["count"] == 2
    assert found.container_create_kwargs["shm_size"] == "512m"
    assert {name: getattr(found, name) for name in given} == given


@each_type
def test_environment_of_the_trial_has_a_heartbeat_and_what_is_given(kind: str) -> None:
    default = render(kind).env
    assert default["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"] == "30"
    assert not {"STRATBENCH_RESULTS_URL", "STRATBENCH_ADDRESS"} & default.keys()
    given = {"STRATBENCH_RESULTS_URL": "s3://bench/runs", "STRATBENCH_ADDRESS": "10.0.0.2", "NCCL_DEBUG": "INFO"}
    env = render(kind, results_url="s3://bench/runs", address="10.0.0.2", env={"NCCL_DEBUG": "INFO"}).env
    assert env.items() >= {**given, "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30"}.items()


def test_kubernetes_gives_a_trial_gpus_and_shared_memory_and_starts_it_once() -> None:
    job, found = render("kubernetes").job_manifest["spec"], pod()
    assert (job["backoffLimit"], job["ttlSecondsAfterFinished"]) == (0, 300)
    assert (found["restartPolicy"], found["automountServiceAccountToken"]) == ("Never", False)
    assert (found["hostname"], found["nodeSelector"]) == ("a100-1", {"kubernetes.io/hostname": "worker-7"})
    (container,), (volume, root) = found["containers"], found["volumes"]
    assert (container["image"], container["imagePullPolicy"]) == ("stratbench:gpu", "IfNotPresent")
    assert container["resources"] == {"limits": {"nvidia.com/gpu": 1}}
    mounts = {each["mountPath"]: each["name"] for each in container["volumeMounts"]}
    assert mounts == {"/dev/shm": volume["name"], "/home/bench": root["name"]}
    assert root == {"name": "root", "emptyDir": {}}
    assert volume["emptyDir"] == {"medium": "Memory", "sizeLimit": "2Gi"}


def test_kubernetes_takes_what_is_given() -> None:
    claim = {"name": "root", "persistentVolumeClaim": {"claimName": "stratbench"}}
    given = {"image": "other:1", "image_pull_policy": "Always", "root_volume": claim}
    found = pod(gpu_count=4, shm_size="8Gi", service_account_name="bench", **given)
    (container,) = found["containers"]
    assert found["volumes"][1] == claim
    assert container["resources"] == {"limits": {"nvidia.com/gpu": 4}}
    assert found["volumes"][0]["emptyDir"]["sizeLimit"] == "8Gi"
    assert found["serviceAccountName"] == "bench"
    assert (container["image"], container["imagePullPolicy"]) == ("other:1", "Always")


@pytest.mark.parametrize("kind", [pytest.param(kind, marks=needs_worker(kind)) for kind in NEEDED])
def test_worker_knows_every_field(kind: str) -> None:
    assert worker(kind).type == kind
    assert template(kind)["job_configuration"].keys() <= worker(kind).job_configuration.model_fields.keys()


@needs_worker("docker")
def test_docker_worker_hands_all_of_it_to_docker() -> None:
    class Daemon:
        def version(self) -> dict[str, str]:
            return {"Version": "27.0.0"}

    configuration = render("docker", worker("docker").job_configuration, labels={"team": "speed"})
    found = worker("docker")._build_container_settings(None, Daemon(), configuration)
    assert (found["image"], found["command"], found["hostname"]) == ("stratbench:gpu", COMMAND, "a100-1")
    assert (found["auto_remove"], found["privileged"], found["shm_size"]) == (True, False, "2g")
    assert found["restart_policy"] == {"Name": "no"}
    assert found["device_requests"][0]["driver"] == "nvidia"
    assert found["environment"]["PREFECT_API_URL"] == "https://prefect.example/api"
    assert found["environment"]["PREFECT__FLOW_RUN_ID"] == str(RUN.id)
    assert found["labels"]["team"] == "speed"
    assert found["labels"]["io.prefect.flow-run-id"] == str(RUN.id)


@needs_worker("kubernetes")
def test_kubernetes_worker_completes_the_job() -> None:
    values = {"namespace": "bench", "env": {"NCCL_DEBUG": "INFO"}, "labels": {"team": "speed"}}
    job = render("kubernetes", worker("kubernetes").job_configuration, **values).job_manifest
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["args"] == COMMAND.split()
    names = [each["name"] for each in container["env"]]
    assert len(names) == len(set(names))
    plain = {each["name"]: each["value"] for each in container["env"] if "value" in each}
    assert plain["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"] == "30"
    assert plain["PREFECT__FLOW_RUN_ID"] == str(RUN.id)
    assert plain["NCCL_DEBUG"] == "INFO"
    assert job["metadata"]["namespace"] == "bench"
    assert job["metadata"]["generateName"].startswith("full-1")
    assert job["metadata"]["labels"]["team"] == "speed"
    assert job["metadata"]["labels"]["prefect.io/flow-run-id"] == str(RUN.id)
