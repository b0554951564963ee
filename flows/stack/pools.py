"""Work pools and concurrency limits: what has to be on the server for the flows."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate, WorkPoolCreate
from prefect.client.schemas.objects import WorkPool
from prefect.exceptions import ObjectNotFound
from prefect.workers.process import ProcessWorker

from flows import locations
from flows.hosts import rank_queue
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
    """Runs trials: on each host one at a time."""

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
    host: str
    queues: tuple[str, ...] = ()
    """Work queues that the worker polls; none: all that the pool has."""

    @property
    def worker(self) -> str:
        """The worker's name: the same after a restart, another one in another folder or on another host."""
        folder = hashlib.sha256(str(locations.root()).encode()).hexdigest()[:6]
        return f"{self.pool} on {self.host} ({folder})"

    def refuse(self, pool: WorkPool) -> None:
        """Raise Refusal unless `pool` is ours and as this says."""
        if MARK not in (pool.description or ""):
            raise Refusal(
                f"The work pool {self.pool!r} exists and is not ours (its description lacks {MARK!r}), so it is left "
                f"alone; use another name, for example `{self.option} stratbench-{self.pool}`"
            )
        for field, wanted, way_out in (
            ("type", TYPE, None),
            ("concurrency_limit", None, f"prefect work-pool clear-concurrency-limit {self.pool}"),
            ("is_paused", False, f"prefect work-pool resume {self.pool}"),
        ):
            if (found := getattr(pool, field)) != wanted:
                raise Refusal(
                    f"The work pool {self.pool!r} has {field}={found}, stratbench needs {field}={wanted} and alters no "
                    f"pool that exists; {f'change it: `{way_out}`, or ' if way_out else ''}use another name with "
                    f"`{self.option}`"
                )


def specs(pools: Pools, host: str) -> tuple[Spec, Spec]:
    """Both pools with the workers of that host, the one for the flow `benchmark` first."""
    return (
        Spec(
            pool=pools.benchmark,
            option="--pool",
            purpose="Runs of the flow `benchmark`: they prepare, submit trials, wait and report.",
            part="worker of benchmark",
            host=host,
        ),
        Spec(
            pool=pools.trial,
            option="--gpu-pool",
            purpose="Trials: each host has two work queues here and trains one trial at a time on all that it offers.",
            part="worker of trial",
            host=host,
            queues=(host, rank_queue(host)),
        ),
    )


def ensure(client: SyncPrefectClient, wanted: Iterable[Spec]) -> None:
    """Create the pools that do not exist; raise Refusal for one that exists and is not as needed."""
    for spec in wanted:
        try:
            spec.refuse(client.read_work_pool(spec.pool))
        except ObjectNotFound:
            pool = WorkPoolCreate(
                name=spec.pool,
                type=TYPE,
                description=f"{spec.purpose} {MARK}",
                base_job_template=ProcessWorker.get_default_base_job_template(),
            )
            client.create_work_pool(pool)
            say(f"Created the work pool {spec.pool!r}")


def limits(host: str) -> tuple[str, str]:
    """Names of the global concurrency limits that the flows hold: of the benchmark, and of a trial on that host."""
    return SWEEP_LIMIT, machine_limit(host)


def ensure_limits(client: SyncPrefectClient, host: str) -> None:
    """Create the limits that the flows hold; raise Refusal for one that does not admit exactly one holder."""
    for name in limits(host):
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
