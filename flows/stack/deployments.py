"""Deployments: what prefect.yaml declares, registered with the server."""

import hashlib
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import prefect
import yaml
from prefect.client.orchestration import SyncPrefectClient
from prefect.exceptions import ObjectNotFound

from flows import locations
from flows.names import BENCHMARK_POOL, TAG, TRIAL_POOL
from flows.stack.pools import Pools
from flows.stack.server import Server
from flows.stack.terminal import say
from tasks.domain.refusal import Refusal

CHECKOUT = Path(__file__).parents[2]
FILE = CHECKOUT / "prefect.yaml"


@dataclass(frozen=True, kw_only=True, slots=True)
class Declaration:
    """A prefect.yaml, with the work pools that were asked for."""

    content: dict[str, Any]

    @property
    def by_name(self) -> dict[str, dict[str, Any]]:
        """The deployments, for example `benchmark/full`."""
        found = self.content["deployments"]
        return {f"{each['entrypoint'].rsplit('.', 1)[-1].replace('_', '-')}/{each['name']}": each for each in found}

    @property
    def digest(self) -> str:
        """Changes with the declaration, with Prefect, and with the code that gives the parameters their types."""
        digest = hashlib.sha256(f"{prefect.__version__} {yaml.safe_dump(self.content)}".encode())
        for module in sorted((*CHECKOUT.glob("flows/*.py"), *CHECKOUT.glob("tasks/domain/*.py"))):
            digest.update(module.read_bytes())
        return digest.hexdigest()


def load(pools: Pools) -> Declaration:
    """What the checkout's prefect.yaml declares, in those pools; raises Refusal where it is not there."""
    try:
        content: dict[str, Any] = yaml.safe_load(FILE.read_text())
    except OSError as error:
        raise Refusal(
            f"{FILE} cannot be read ({error.strerror}); the local stack needs a checkout of the project, installed by "
            "`make` or `pip install -e .`"
        ) from error
    names = {BENCHMARK_POOL: pools.benchmark, TRIAL_POOL: pools.trial}
    for each in content["deployments"]:
        pool = each["work_pool"]
        each["work_pool"] = {**pool, "name": names.get(pool["name"], pool["name"])}
    return Declaration(content=content)


def find(client: SyncPrefectClient, declaration: Declaration) -> dict[str, UUID]:
    """Ids of the deployments that the server knows; raises Refusal for one of that name that is not ours."""
    found = {}
    for name in declaration.by_name:
        try:
            deployment = client.read_deployment_by_name(name)
        except ObjectNotFound:
            continue
        if TAG not in deployment.tags:
            raise Refusal(
                f"The deployment {name!r} exists and is not ours (it lacks the tag {TAG!r}), so it is left alone; "
                "rename it, or use another server"
            )
        found[name] = deployment.id
    return found


def deploy(declaration: Declaration, server: Server) -> None:
    """Register all deployments by `prefect deploy --all`; raises Refusal with Prefect's words where that fails."""
    say(f"Deploying {', '.join(declaration.by_name)} (3 to 10 s)")
    file = locations.state() / "prefect.yaml"
    file.write_text(yaml.safe_dump(declaration.content, sort_keys=False))
    done = subprocess.run(
        (sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(file)),
        env=server.environment,
        cwd=server.folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        tail = "\n".join(done.stdout.rstrip().splitlines()[-20:])
        raise Refusal(f"`prefect deploy` ended with {done.returncode}; its last words:\n{tail}")
