"""Work pools: where the flow `benchmark` and its trials wait for a worker."""

from collections.abc import Callable
from dataclasses import dataclass

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import WorkPool
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.workers.process import ProcessWorker

from flows.names import BENCHMARK_POOL, TRIAL_POOL
from flows.stack.error import StackError

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
        if self.benchmark == self.trial:
            raise StackError(
                f"pool={self.trial!r} cannot serve both the benchmark and its trials, which would wait for each other; "
                "use two names"
            )
        if not (self.benchmark.strip() and self.trial.strip()):
            raise StackError("a work pool's name is empty; use for example `--pool stratbench --gpu-pool gpu`")

    def __str__(self) -> str:
        return f"{self.benchmark} and {self.trial}"


@dataclass(frozen=True, kw_only=True, slots=True)
class PoolSpec:
    """A pool as it has to be."""

    name: str
    option: str
    """The command line's option that names it."""
    purpose: str
    concurrency_limit: int | None

    def refuse(self, pool: WorkPool) -> None:
        """Raise StackError unless `pool` is ours and as this says."""
        if MARK not in (pool.description or ""):
            raise StackError(
                f"The work pool {self.name!r} exists and is not ours (its description lacks {MARK!r}), so it is left "
                f"alone; use another name, for example `{self.option} stratbench-{self.name}`"
            )
        for field, wanted in (("type", TYPE), ("concurrency_limit", self.concurrency_limit), ("is_paused", False)):
            if (found := getattr(pool, field)) != wanted:
                raise StackError(
                    f"The work pool {self.name!r} has {field}={found}, stratbench needs {field}={wanted} and alters no "
                    f"pool that exists; change it in Prefect (`prefect work-pool`), or use another name with "
                    f"`{self.option}`"
                )


def specs(pools: Pools) -> tuple[PoolSpec, PoolSpec]:
    """Both pools, the one for the flow `benchmark` first."""
    return (
        PoolSpec(
            name=pools.benchmark,
            option="--pool",
            purpose="Runs of the flow `benchmark`: they prepare, submit trials, wait and report.",
            concurrency_limit=None,
        ),
        PoolSpec(
            name=pools.trial,
            option="--gpu-pool",
            purpose="Trials, one at a time: each trains on all that this machine offers.",
            concurrency_limit=1,
        ),
    )


def ensure(client: SyncPrefectClient, pools: Pools, say: Callable[[str], None]) -> None:
    """Create the pools that do not exist; raise StackError for one that exists and is not as needed."""
    for spec in specs(pools):
        try:
            pool = client.read_work_pool(spec.name)
        except ObjectNotFound:
            pool = _create(client, spec, say)
        spec.refuse(pool)


def _create(client: SyncPrefectClient, spec: PoolSpec, say: Callable[[str], None]) -> WorkPool:
    wanted = WorkPoolCreate(
        name=spec.name,
        type=TYPE,
        description=f"{spec.purpose} {MARK}",
        concurrency_limit=spec.concurrency_limit,
        base_job_template=ProcessWorker.get_default_base_job_template(),
    )
    try:
        pool = client.create_work_pool(wanted)
    except ObjectAlreadyExists:  # somebody else was quicker
        return client.read_work_pool(spec.name)
    say(f"Created the work pool {spec.name!r}")
    return pool
