import pytest
from prefect.client.schemas.objects import WorkPool

from flows.stack.pools import MARK, Pools, specs
from tasks.domain.refusal import Refusal

BENCHMARK, TRIAL = specs(Pools(), "h1")


def pool(**fields: object) -> WorkPool:
    return WorkPool.model_validate({"name": "gpu", "type": "process", "description": MARK, **fields})


def test_pool_as_we_create_it_is_accepted() -> None:
    TRIAL.refuse(pool(description=f"Trials. {MARK} Do not pause it."))


@pytest.mark.parametrize("description", [None, "", "the team's GPUs"])
def test_pool_that_is_not_ours_is_refused_with_a_way_out(description: str | None) -> None:
    with pytest.raises(Refusal, match="'gpu' exists and is not ours.*--gpu-pool"):
        TRIAL.refuse(pool(description=description))


@pytest.mark.parametrize(
    ("field", "words"),
    [
        ({"concurrency_limit": 1}, "concurrency_limit=1, stratbench needs .*: `prefect .*clear-concurrency-limit gpu`"),
        ({"type": "docker"}, "type=docker, .* alters no pool that exists; use another name with `--gpu-pool`"),
        ({"is_paused": True}, "is_paused=True.*`prefect work-pool resume gpu`"),
    ],
)
def test_difference_of_our_pool_is_named_with_a_way_out(field: dict[str, object], words: str) -> None:
    with pytest.raises(Refusal, match=words):
        TRIAL.refuse(pool(**field))


def test_trial_worker_polls_the_hosts_two_queues_and_no_other() -> None:
    assert TRIAL.queues == ("h1", "h1.ranks")
    assert BENCHMARK.queues == ()
    assert " on h1 (" in TRIAL.worker


def test_one_pool_for_both_is_refused() -> None:
    with pytest.raises(Refusal, match="use two names"):
        Pools(benchmark="gpu")
    with pytest.raises(Refusal, match="pool=' ' and gpu_pool='gpu'"):
        Pools(benchmark=" ")
