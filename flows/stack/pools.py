"""Work pools and concurrency limits: what has to be on the server for the flows."""

import hashlib
import platform
from dataclasses import dataclass

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate, WorkPoolCreate
from prefect.client.schemas.objects import WorkPool
from prefect.exceptions import ObjectNotFound
from prefect.workers.process import ProcessWorker

from flows import locations
from flows.names import BENCHMARK_POOL, SWEEP_LIMIT, TRIAL_POOL, machine_limit
from flows.stack.terminal import say
from tasks.domain.refusal import Refusal

MARK = "Created by `stratbench up`."
"""In the description of every pool of ours: others are never touched."""
TYPE = "process"


@dataclass(frozen=True, kw_only=True, slots=True)
class Pools:
    """Names of the two work pools."""

    benchmark: str = BENCHMARK_POOL
    """Runs the flow `benchmark`, which needs no accelerator."""
    trial: str = TRIAL_POOL
    """Runs one trial at a time."""

    def __post_init__(self) -> None:
        if len({self.benchmark.strip(), self.trial.strip()} - {""}) < 2:
            raise Refusal(
                f"pool={self.benchmark!r} and gpu_pool={self.trial!r} cannot serve a benchmark and its trials, which "
                "would wait for each other in one pool; use two names"
            )

    def __str__(self) -> str:
        return f"{self.benchmark} and {self.trial}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Spec:
    """A pool, and our worker of it, as they have to be."""

    pool: str
    option: str
    """The command line's option that names the pool."""
    purpose: str
    part: str
    """The worker's name among the parts of the stack."""
    limit: int | None
    """Runs at a time; None: as many as there are."""

    @property
    def worker(self) -> str:
        """The worker's name: the same after a restart, another one in another folder or on another machine."""
        folder = hashlib.sha256(str(locations.root()).encode()).hexdigest()[:6]
        return f"{self.pool} on {platform.node()} ({folder})"

    def refuse(self, pool: WorkPool) -> None:
        """Raise Refusal unless `pool` is ours and as this says."""
        if MARK not in (pool.description or ""):
            raise Refusal(
                f"The work pool {self.pool!r} exists and is not ours (its description lacks {MARK!r}), so it is left "
                f"alone; use another name, for example `{self.option} stratbench-{self.pool}`"
            )
        for field, wanted in (("type", TYPE), ("concurrency_limit", self.limit), ("is_paused", False)):
            if (found := getattr(pool, field)) != wanted:
                raise Refusal(
                    f"The work pool {self.pool!r} has {field}={found}, stratbench needs {field}={wanted} and alters no "
                    f"pool that exists; change it in Prefect (`prefect work-pool`), or use another name with "
                    f"`{self.option}`"
                )


def specs(pools: Pools) -> tuple[Spec, Spec]:
    """Both pools, the one for the flow `benchmark` first."""
    return (
        Spec(
            pool=pools.benchmark,
            option="--pool",
            purpose="Runs of the flow `benchmark`: they prepare, submit trials, wait and report.",
            part="worker of benchmark",
            limit=None,
        ),
        Spec(
            pool=pools.trial,
            option="--gpu-pool",
            purpose="Trials, one at a time: each trains on all that this machine offers.",
            part="worker of trial",
            limit=1,
        ),
    )


def ensure(client: SyncPrefectClient, pools: Pools) -> None:
    """Create the pools that do not exist; raise Refusal for one that exists and is not as needed."""
    for spec in specs(pools):
        try:
            spec.refuse(client.read_work_pool(spec.pool))
        except ObjectNotFound:
            wanted = WorkPoolCreate(
                name=spec.pool,
                type=TYPE,
                description=f"{spec.purpose} {MARK}",
                concurrency_limit=spec.limit,
                base_job_template=ProcessWorker.get_default_base_job_template(),
            )
            client.create_work_pool(wanted)
            say(f"Created the work pool {spec.pool!r}")


def ensure_limits(client: SyncPrefectClient) -> None:
    """Create the limits that the flows hold; raise Refusal for one that does not admit exactly one holder."""
    for name in (SWEEP_LIMIT, machine_limit(platform.node())):
        try:
            found = client.read_global_concurrency_limit_by_name(name)
        except ObjectNotFound:
            client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=name, limit=1))
            say(f"Created the concurrency limit {name!r}")
            continue
        if (found.limit, found.active) != (1, True):
            raise Refusal(
                f"The global concurrency limit {name!r} has limit={found.limit}, active={found.active}, "
                f"stratbench needs limit=1, active=True; change it: `prefect gcl update {name} --limit 1 --enable`"
            )
