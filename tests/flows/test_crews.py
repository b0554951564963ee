"""The machines of a block: which are taken, and which are missed."""

import asyncio
import logging
from dataclasses import replace
from types import SimpleNamespace

import httpx
import pytest
from prefect.exceptions import PrefectHTTPStatusError

from flows import crews, hosts, patience
from flows.crews import Attendance, Crew, muster
from flows.hosts import Host
from tasks.domain.device import Devices
from tasks.domain.refusal import Refusal
from tasks.domain.strategy import Strategy
from tasks.domain.sweep import Sweep
from tests.analysis.example_runs import ENVIRONMENT
from tests.examples import DATA

LOG = logging.getLogger("test")
DEVICES = Devices(cores=(0, 1))
HOSTS = [
    Host(
        name=name,
        address="127.0.0.1",
        environment=replace(ENVIRONMENT, hostname=name),
        devices=DEVICES,
        release="1.0",
    )
    for name in ("h1", "h2")
]
CREW = Crew(pool="gpu", environment=HOSTS[0].environment, devices=DEVICES)
GANGS = Sweep(strategies=(Strategy.MULTI_WORKER_MIRRORED,), num_hosts=2, cores_per_replica=1)


class Server:
    """What is asked of Prefect here; before it answers, it fails as `outages` say."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.hosts: list[Host] = list(HOSTS)
        self.outages: list[Exception] = []
        monkeypatch.setattr(crews, "get_client", lambda: self)
        monkeypatch.setattr(hosts, "online", self.online)
        monkeypatch.setattr(hosts, "has_any", self.has_any)
        monkeypatch.setattr(patience, "PAUSE_SECONDS", 0.0)
        monkeypatch.setattr(crews, "POLL_SECONDS", 0.0)

    async def __aenter__(self) -> "Server":
        return self

    async def __aexit__(self, *error: object) -> None:
        pass

    async def read_deployment_by_name(self, name: str) -> SimpleNamespace:
        return SimpleNamespace(work_pool_name="gpu")

    async def has_any(self, client: object, pool: str) -> bool:
        return bool(self.hosts)

    async def online(self, client: object, pool: str) -> tuple[Host, ...]:
        if self.outages:
            raise self.outages.pop()
        return tuple(self.hosts)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    return Server(monkeypatch)


def test_machines_of_a_gang_are_mustered_through_an_outage(server: Server) -> None:
    server.outages = [httpx.ConnectError("no route"), httpx.ReadTimeout("busy")]
    (crew,) = asyncio.run(muster(GANGS, DATA, LOG))
    assert (crew.pool, crew.hosts) == ("gpu", ("h1", "h2"))


def test_trials_of_several_machines_are_refused_where_the_pool_has_no_hosts(server: Server) -> None:
    server.hosts = []
    with pytest.raises(Refusal, match="num_hosts=2 needs hosts, and the work pool 'gpu' has none; join them by `strat"):
        asyncio.run(muster(GANGS, DATA, LOG))


def test_too_few_available_machines_are_refused_after_a_while(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crews, "WAIT_SECONDS", 0.0)
    del server.hosts[1]
    with pytest.raises(Refusal, match="needs more than the 1 machines of the work pool 'gpu' that are online, not pau"):
        asyncio.run(muster(GANGS, DATA, LOG))


def test_outage_between_blocks_is_waited_out(server: Server) -> None:
    server.outages = [httpx.ConnectError("no route")]
    assert asyncio.run(Attendance(CREW).are_all_there(LOG))
    assert not server.outages


def test_outage_that_lasts_is_told(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "PATIENCE_SECONDS", -1.0)
    server.outages = [httpx.ConnectError("no route")]
    with pytest.raises(httpx.ConnectError):
        asyncio.run(Attendance(CREW).are_all_there(LOG))


@pytest.mark.parametrize(("status", "is_outage"), [(401, False), (404, False), (500, True), (503, True)])
def test_answer_that_says_no_is_no_outage(status: int, is_outage: bool, server: Server) -> None:
    response = httpx.Response(status, request=httpx.Request("GET", "http://h/api"))
    server.outages = [PrefectHTTPStatusError.from_httpx_error(_error(response))]
    if is_outage:
        assert asyncio.run(Attendance(CREW).are_all_there(LOG))
    else:
        with pytest.raises(PrefectHTTPStatusError):
            asyncio.run(Attendance(CREW).are_all_there(LOG))


def _error(response: httpx.Response) -> httpx.HTTPStatusError:
    return httpx.HTTPStatusError("no", request=response.request, response=response)


def test_outage_while_trials_go_on_is_told_at_once_to_whoever_waits_for_them(server: Server) -> None:
    server.outages = [httpx.ConnectError("no route")]
    with pytest.raises(httpx.ConnectError):
        asyncio.run(Attendance(CREW).absent())


def test_machine_that_does_not_come_back_is_absent(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crews, "WAIT_SECONDS", 0.0)
    del server.hosts[0]
    attendance = Attendance(CREW)
    assert asyncio.run(attendance.absent()) == {"h1"}
    assert not asyncio.run(attendance.are_all_there(LOG))
