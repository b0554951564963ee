import pytest
from prefect.client.schemas.objects import WorkPool

from flows.stack.pools import MARK, Pools, specs
from tasks.domain.refusal import Refusal

BENCHMARK, TRIAL = specs(Pools(), "h1")


def pool(
    description: str | None = MARK, kind: str = "process", limit: int | None = None, paused: bool = False
) -> WorkPool:
    return WorkPool(name="gpu", type=kind, description=description, concurrency_limit=limit, is_paused=paused)  # type: ignore[call-arg]


def test_pool_as_we_create_it_is_accepted() -> None:
    TRIAL.refuse(pool(description=f"Trials. {MARK} Do not pause it."))


@pytest.mark.parametrize("description", [None, "", "the team's GPUs"])
def test_pool_that_is_not_ours_is_refused_with_a_way_out(description: str | None) -> None:
    with pytest.raises(Refusal, match="'gpu' exists and is not ours.*--gpu-pool"):
        TRIAL.refuse(pool(description=description))


def test_difference_of_our_pool_is_named_with_a_way_out() -> None:
    with pytest.raises(
        Refusal, match="concurrency_limit=1, .*: `prefect work-pool clear-concurrency-limit gpu`, or use"
    ):
        TRIAL.refuse(pool(limit=1))
    with pytest.raises(Refusal, match="type=docker, .* alters no pool that exists; use another name with `--gpu-pool`"):
        TRIAL.refuse(pool(kind="docker"))
    with pytest.raises(Refusal, match="is_paused=True.*`prefect work-pool resume gpu`"):
        TRIAL.refuse(pool(paused=True))
    with pytest.raises(Refusal, match="concurrency_limit=1, stratbench needs concurrency_limit=None"):
        BENCHMARK.refuse(pool(limit=1))


def test_trial_worker_polls_the_hosts_two_queues_and_no_other() -> None:
    assert TRIAL.queues == ("h1", "h1.ranks")
    assert BENCHMARK.queues == ()
    assert " on h1 (" in TRIAL.worker


def test_one_pool_for_both_is_refused() -> None:
    with pytest.raises(Refusal, match="use two names"):
        Pools(benchmark="gpu")
    with pytest.raises(Refusal, match="pool=' ' and gpu_pool='gpu'"):
        Pools(benchmark=" ")
