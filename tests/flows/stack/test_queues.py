"""Queues on a real server, polled as a worker polls them."""

import asyncio
from dataclasses import replace
from uuid import UUID

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import WorkQueue
from prefect.states import Cancelled, Pending

from flows import hosts
from flows.hosts import Entry, Host
from flows.stack import pools, queues
from tasks.domain.device import Devices
from tasks.domain.refusal import Refusal
from tests.analysis.example_runs import ENVIRONMENT
from tests.flows.stack.conftest import wait_until

pytestmark = pytest.mark.stack
HOST = Host(name="h1", address="10.0.0.1", environment=ENVIRONMENT, devices=Devices(cores=(0, 1)), release="1.0")
HOLDER = "gpu on h1 (abc)"


@pytest.fixture(scope="module")
def client(bare: SyncPrefectClient) -> SyncPrefectClient:
    """Of a server with our pools."""
    pools.ensure(bare, pools.specs(pools.Pools(), "h1"))
    return bare


@pytest.fixture
def ours(client: SyncPrefectClient) -> None:
    """The host's queues, new."""
    for queue in queues.read_all(client, "gpu"):
        if queue.name != "default":
            client.delete_work_queue_by_id(queue.id)
    queues.ensure(client, "gpu", HOST, HOLDER)


def read(client: SyncPrefectClient) -> list[WorkQueue]:
    """Both queues of the host."""
    return [client.read_work_queue_by_name(name, "gpu") for name in ("h1", "h1.ranks")]


def poll(client: SyncPrefectClient, *names: str) -> list[UUID]:
    """What a worker of those queues is told to run."""
    found = client.get_scheduled_flow_runs_for_work_pool("gpu", list(names))
    return [each.flow_run.id for each in found]


async def online() -> tuple[Host, ...]:
    async with get_client() as client:
        return await hosts.online(client, "gpu")


def test_queues_are_created_once_and_renewed_where_they_differ(
    client: SyncPrefectClient, capsys: pytest.CaptureFixture[str]
) -> None:
    queues.ensure(client, "gpu", HOST, HOLDER)
    before = read(client)
    assert [queue.concurrency_limit for queue in before] == [1, 1]
    assert capsys.readouterr().out.count("Created the work queue") == 2
    queues.ensure(client, "gpu", HOST, HOLDER)
    assert read(client) == before
    assert capsys.readouterr().out == ""
    client.update_work_queue(before[1].id, concurrency_limit=3, is_paused=True)
    queues.ensure(client, "gpu", replace(HOST, release="2.0"), HOLDER)
    renewed, ranks = read(client)
    assert (ranks.concurrency_limit, ranks.is_paused, ranks.id) == (1, False, before[1].id)
    assert (entry := hosts.read_entry(renewed.description))
    assert entry.host == replace(HOST, release="2.0")
    assert capsys.readouterr().out.count("Renewed the work queue") == 2


def test_queue_that_is_not_ours_is_refused_and_nothing_is_altered(client: SyncPrefectClient) -> None:
    theirs = client.create_work_queue("h3.ranks", description="of the team", work_pool_name="gpu")
    with pytest.raises(Refusal, match="'h3.ranks' of the pool 'gpu' exists and is not ours"):
        queues.ensure(client, "gpu", replace(HOST, name="h3"), HOLDER)
    assert client.read_work_queue_by_name("h3.ranks", "gpu") == theirs
    assert "h3" not in {queue.name for queue in queues.read_all(client, "gpu")}
    with pytest.raises(Refusal, match="'default' of the pool 'gpu' exists and is not ours"):
        queues.ensure(client, "gpu", replace(HOST, name="default"), HOLDER)


def test_one_run_at_a_time_in_each_queue_and_ranks_do_not_wait_for_trials(
    client: SyncPrefectClient, ours: None
) -> None:
    flow = client.create_flow_from_name("trial")
    deployment = client.create_deployment(flow, "gpu", work_pool_name="gpu")
    trials, ranks = (
        [client.create_flow_run_from_deployment(deployment, work_queue_name=name).id for _ in range(2)]
        for name in ("h1", "h1.ranks")
    )
    assert poll(client, "h1") == trials[:1]
    client.set_flow_run_state(trials[0], Pending())
    assert poll(client, "h1", "h1.ranks") == ranks[:1]
    client.set_flow_run_state(ranks[0], Pending())
    assert poll(client, "h1", "h1.ranks") == []
    client.set_flow_run_state(trials[0], Cancelled(), force=True)
    assert poll(client, "h1", "h1.ranks") == trials[1:]
    queues.pause(client, "gpu", "h1", HOLDER)
    assert poll(client, "h1", "h1.ranks") == []


def test_host_is_online_while_its_queue_is_polled_and_until_it_leaves(client: SyncPrefectClient, ours: None) -> None:
    client.create_work_queue("theirs", description='{"host": "h4"}', work_pool_name="gpu")
    poll(client, "h1", "h1.ranks", "theirs")
    wait_until(lambda: asyncio.run(online()) == (HOST,))
    queues.pause(client, "gpu", "h1", "somebody else")
    assert asyncio.run(online()) == (HOST,)
    queues.pause(client, "gpu", "h1", HOLDER)
    assert asyncio.run(online()) == ()
    queues.ensure(client, "gpu", HOST, "another worker")
    assert asyncio.run(online()) == (HOST,)


def test_name_of_a_host_that_is_online_is_refused_to_another_one(client: SyncPrefectClient, ours: None) -> None:
    poll(client, "h1")
    wait_until(lambda: asyncio.run(online()) == (HOST,))
    queues.ensure(client, "gpu", HOST, HOLDER)  # it was killed and comes again
    for host, holder in ((replace(HOST, address="10.0.0.9"), HOLDER), (HOST, "gpu on h1 (def)")):
        with pytest.raises(Refusal, match=r"host=h1 is held by the worker 'gpu on h1 \(abc\)' at 10.0.0.1, .*--host"):
            queues.ensure(client, "gpu", host, holder)


def test_each_fault_of_a_queue_is_named_with_its_mending(client: SyncPrefectClient, ours: None) -> None:
    def faults() -> list[str]:
        there = {queue.name: queue for queue in queues.read_all(client, "gpu")}
        return list(queues.faults("gpu", Entry(host=HOST, holder=HOLDER), there))

    assert faults() == []
    trials, ranks = read(client)
    client.update_work_queue(trials.id, concurrency_limit=2)
    client.update_work_queue(ranks.id, is_paused=True)
    assert faults() == [
        "the work queue 'h1' admits 2 runs, not 1; change it: "
        "`prefect work-queue set-concurrency-limit h1 1 --pool gpu`",
        "the work queue 'h1.ranks' is paused; resume it: `prefect work-queue resume h1.ranks --pool gpu`",
    ]
    client.delete_work_queue_by_id(ranks.id)
    assert faults()[1] == "the work queue 'h1.ranks' is missing; start the worker of h1 again"
