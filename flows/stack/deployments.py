"""Deployments: what prefect.yaml declares, registered with the server."""

import hashlib
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import prefect
import yaml  # type: ignore[import-untyped]
from prefect.client.orchestration import SyncPrefectClient
from prefect.exceptions import ObjectNotFound

import flows
import tasks.domain
from flows import locations
from flows.names import BENCHMARK_POOL, TAG, TRIAL_POOL
from flows.stack.error import StackError
from flows.stack.pools import Pools

DEPLOY_SECONDS = 180.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Declaration:
    """A prefect.yaml, with the work pools that were asked for."""

    content: dict[str, Any]

    @property
    def names(self) -> tuple[str, ...]:
        """The deployments, for example `benchmark/full`."""
        return tuple(f"{_flow_name(each['entrypoint'])}/{each['name']}" for each in self.content["deployments"])

    def description(self, name: str) -> str:
        """What the deployment of that name does, in plain words."""
        return str(self.content["deployments"][self.names.index(name)].get("description", name))

    @property
    def scheduled_names(self) -> tuple[str, ...]:
        """Those with a schedule."""
        found = zip(self.names, self.content["deployments"], strict=True)
        return tuple(name for name, each in found if each.get("schedules"))

    @property
    def digest(self) -> str:
        """Changes with the declaration, with Prefect, and with the code that gives the parameters their types."""
        digest = hashlib.sha256(f"{prefect.__version__} {yaml.safe_dump(self.content)}".encode())
        for package in (flows, tasks.domain):
            for module in sorted(Path(_file(package)).parent.glob("*.py")):
                digest.update(module.read_bytes())
        return digest.hexdigest()


def default_file() -> Path:
    """The prefect.yaml beside the package `flows`: that of the checkout."""
    return Path(_file(flows)).parents[1] / "prefect.yaml"


def load(file: Path, pools: Pools) -> Declaration:
    """What `file` declares, in those pools; raises StackError where the file is not there."""
    try:
        content: dict[str, Any] = yaml.safe_load(file.read_text())
    except OSError as error:
        raise StackError(
            f"{file} cannot be read ({error.strerror}); the local stack needs a checkout of the project, installed by "
            "`make` or `pip install -e .`"
        ) from error
    names = {BENCHMARK_POOL: pools.benchmark, TRIAL_POOL: pools.trial}
    for each in content["deployments"]:
        pool = each["work_pool"]
        each["work_pool"] = {**pool, "name": names.get(pool["name"], pool["name"])}
    return Declaration(content=content)


def find(client: SyncPrefectClient, declaration: Declaration) -> dict[str, UUID]:
    """Ids of the deployments that the server knows; raises StackError for one of that name that is not ours."""
    found = {}
    for name in declaration.names:
        try:
            deployment = client.read_deployment_by_name(name)
        except ObjectNotFound:
            continue
        if TAG not in deployment.tags:
            raise StackError(
                f"The deployment {name!r} exists and is not ours (it lacks the tag {TAG!r}), so it is left alone; "
                "rename it, or use another server"
            )
        found[name] = deployment.id
    return found


def deploy(declaration: Declaration, environment: Mapping[str, str], folder: Path, say: Callable[[str], None]) -> None:
    """Register all deployments by `prefect deploy --all`; raises StackError with Prefect's words where that fails."""
    say(f"Deploying {', '.join(declaration.names)} (3 to 10 s)")
    file = locations.state() / "prefect.yaml"
    file.write_text(yaml.safe_dump(declaration.content, sort_keys=False))
    command = (sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(file))
    try:
        done = subprocess.run(
            command,
            env=dict(environment),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=DEPLOY_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise StackError(f"`prefect deploy` did not end within {DEPLOY_SECONDS:.0f} s; is the server busy?") from error
    if done.returncode != 0:
        tail = "\n".join(done.stdout.rstrip().splitlines()[-20:])
        raise StackError(f"`prefect deploy` ended with {done.returncode}; its last words:\n{tail}")


def _flow_name(entrypoint: str) -> str:
    return entrypoint.rsplit(".", 1)[-1].replace("_", "-")


def _file(package: Any) -> str:
    file: str | None = package.__file__
    if file is None:
        raise StackError(f"the package {package.__name__} has no folder; install the project by `pip install -e .`")
    return file
