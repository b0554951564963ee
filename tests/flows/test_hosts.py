"""What a host says of itself, and what is believed of it."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib import metadata
from typing import cast
from uuid import uuid4

import pytest
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import Worker, WorkerStatus, WorkQueue
from prefect.settings import PREFECT_API_URL
from prefect.settings.context import temporary_settings

from flows import hosts
from flows.hosts import Entry, Host
from tasks.domain.device import Devices
from tasks.domain.precision import Precision
from tasks.domain.refusal import Refusal
from tasks.results.environment import describe_environment, find_devices
from tests.analysis.example_runs import ENVIRONMENT

HOST = Host(
    name="h1",
    address="10.0.0.1",
    environment=ENVIRONMENT,
    devices=Devices(cores=(0, 2), gpus=("A100",), gpu_precisions=(Precision.FLOAT32,)),
    release="1.0",
)
NOW = datetime.now(UTC)


@pytest.fixture(autouse=True)
def unnamed(monkeypatch: pytest.MonkeyPatch) -> None:
    """No name and no address is given."""
    monkeypatch.delenv(hosts.NAME, raising=False)
    monkeypatch.delenv(hosts.ADDRESS, raising=False)


@contextmanager
def api(url: str) -> Iterator[None]:
    with temporary_settings({PREFECT_API_URL: url}):
        yield


def queue(name: str, description: str | None, last_polled: datetime | None = NOW) -> WorkQueue:
    return WorkQueue(name=name, description=description, last_polled=last_polled, work_pool_id=None)


def test_description_is_one_line_and_says_the_host_again_also_of_a_later_release() -> None:
    text = hosts.encode(HOST, "gpu on h1 (abc)", left_at=NOW)
    assert "\n" not in text
    assert hosts.read_entry(text) == Entry(host=HOST, holder="gpu on h1 (abc)", left_at=NOW)
    later = text.replace('"release":', '"network":"infiniband","release":')
    assert hosts.read_entry(later) == hosts.read_entry(text)


@pytest.mark.parametrize("text", [None, "", "The work pool's default queue.", "{}", "[]", '{"host": {"name": "h1"}}'])
def test_description_of_another_queue_tells_of_no_host(text: str | None) -> None:
    assert hosts.read_entry(text) is None


def test_only_queues_under_their_hosts_own_name_tell_of_it() -> None:
    second = replace(HOST, name="h2")
    found = [
        queue("h2", hosts.encode(second)),
        queue("h1", hosts.encode(HOST)),
        queue("h1.ranks", "ranks"),
        queue("copy", hosts.encode(HOST)),
    ]
    assert [entry.host for _, entry in hosts.known(found)] == [HOST, second]


@pytest.mark.parametrize(
    ("polled", "beaten", "expected"),
    [(1, None, True), (59, None, True), (61, None, False), (None, 59, True), (None, 61, False), (None, None, False)],
)
@pytest.mark.parametrize("has_left", [False, True])
def test_host_is_online_while_its_queue_is_polled_or_its_worker_beats(
    polled: float | None, beaten: float | None, expected: bool, has_left: bool
) -> None:
    def ago(seconds: float | None) -> datetime | None:
        return None if seconds is None else datetime.now(UTC) - timedelta(seconds=seconds)

    text = hosts.encode(HOST, "mine", left_at=NOW if has_left else None)
    ((found, entry),) = hosts.known([queue("h1", text, ago(polled))])
    workers = [
        Worker(name=name, work_pool_id=uuid4(), last_heartbeat_time=time, status=WorkerStatus.ONLINE)
        for name, time in (("another", datetime.now(UTC)), ("mine", None), ("mine", ago(beaten)))
    ]
    assert hosts.is_online(found, entry, workers) == (expected and not has_left)


def test_host_that_is_paused_is_online_and_not_available() -> None:
    """Prefect notes polls of a paused queue, too, and hands out none of its runs."""
    second = replace(HOST, name="h2")
    paused, other = (queue(host.name, hosts.encode(host), datetime.now(UTC)) for host in (HOST, second))
    paused.is_paused = True
    found = list(hosts.known([paused, other]))
    assert [hosts.is_online(*each, []) for each in found] == [True, True]
    assert [hosts.is_available(*each, []) for each in found] == [False, True]

    class Server:
        """Knows these two queues."""

        async def read_work_queues(self, pool: str, *, limit: int, offset: int) -> list[WorkQueue]:
            return [paused, other][offset : offset + limit]

        async def read_workers_for_work_pool(self, pool: str) -> list[Worker]:
            return []

    assert asyncio.run(hosts.online(cast("PrefectClient", Server()), "gpu")) == (second,)


@pytest.mark.parametrize("address", [None, "127.0.0.2", "localhost"])
def test_this_host_says_what_it_offers_under_the_address_that_is_given(
    address: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(hosts.NAME, "h7")
    if address:
        monkeypatch.setenv(hosts.ADDRESS, address)
    with api("http://127.0.0.1:4200/api"):
        found = hosts.here()
    release = metadata.version("stratbench")
    assert (found.name, found.address, found.release) == ("h7", address or "127.0.0.1", release)
    assert (found.devices, found.environment) == (find_devices(), describe_environment())


def test_address_is_the_one_that_the_api_sees() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, api(f"http://localhost:{server.getsockname()[1]}/api"):
        address = hosts.here().address
        with socket.create_connection(server.getsockname()[:2]):
            assert server.accept()[1][0] == address


@pytest.mark.parametrize("given", ["127.0.0.1:80", "http://localhost", "h 2", "192.0.2.1", "::1", "nowhere.invalid"])
def test_address_that_is_none_is_refused(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(hosts.ADDRESS, given)
    with api("http://127.0.0.1:4200/api"), pytest.raises(Refusal, match="is neither an IPv4 address"):
        hosts.here()


def test_api_without_an_address_is_refused_with_a_way_out() -> None:
    with api("http://nowhere.invalid/api"), pytest.raises(Refusal, match="nowhere.invalid.*STRATBENCH_ADDRESS"):
        hosts.here()


@pytest.mark.parametrize("name", ["", "h/1", "h 1", ".h1", "h1.ranks", "h" * 101])
def test_name_that_cannot_name_a_queue_is_refused(name: str) -> None:
    with pytest.raises(Refusal, match="must be 1 to 100 letters.*STRATBENCH_HOST"):
        hosts.check_name(name)
