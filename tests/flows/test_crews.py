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
H1 = Host(
    name="h1", address="127.0.0.1", environment=replace(ENVIRONMENT, hostname="h1"), devices=DEVICES, release="1.0"
)
H2 = replace(H1, name="h2", environment=replace(ENVIRONMENT, hostname="h2"))
CREW = Crew(pool="gpu", environment=H1.environment, devices=DEVICES)
GANGS = Sweep(strategies=(Strategy.MULTI_WORKER_MIRRORED,), num_hosts=2, cores_per_replica=1)


class Server:
    """What is asked of Prefect here; before it answers, it fails as `outages` say."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.hosts = [H1, H2]
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


@pytest.mark.parametrize(
    ("there", "sentence"),
    [
        ([], "num_hosts=2 needs hosts, and the work pool 'gpu' has none; join them by `strat"),
        ([H1], "needs more than the 1 machines of the work pool 'gpu' that are online, not pau"),
    ],
)
def test_gang_without_enough_machines_is_refused_after_a_while(
    server: Server, monkeypatch: pytest.MonkeyPatch, there: list[Host], sentence: str
) -> None:
    monkeypatch.setattr(crews, "WAIT_SECONDS", 0.0)
    server.hosts = there
    with pytest.raises(Refusal, match=sentence):
        asyncio.run(muster(GANGS, DATA, LOG))


def failure(status: int | None) -> Exception:
    """What is raised where the API answers so, or where none answers."""
    if status is None:
        return httpx.ConnectError("no route")
    response = httpx.Response(status, request=httpx.Request("GET", "http://h/api"))
    return PrefectHTTPStatusError.from_httpx_error(
        httpx.HTTPStatusError("no", request=response.request, response=response)
    )


@pytest.mark.parametrize("status", [None, 500, 503])
def test_outage_between_blocks_is_waited_out(status: int | None, server: Server) -> None:
    server.outages = [failure(status)]
    assert asyncio.run(Attendance(CREW).are_all_there(LOG))
    assert not server.outages


@pytest.mark.parametrize(("status", "patience_seconds"), [(401, 600.0), (404, 600.0), (None, -1.0)])
def test_answer_that_says_no_and_outage_that_lasts_are_told(
    status: int | None, patience_seconds: float, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "PATIENCE_SECONDS", patience_seconds)
    server.outages = [failure(status)]
    with pytest.raises((PrefectHTTPStatusError, httpx.ConnectError)):
        asyncio.run(Attendance(CREW).are_all_there(LOG))


def test_outage_while_trials_go_on_is_told_at_once_to_whoever_waits_for_them(server: Server) -> None:
    server.outages = [failure(None)]
    with pytest.raises(httpx.ConnectError):
        asyncio.run(Attendance(CREW).absent())


def test_machine_that_does_not_come_back_is_absent(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crews, "WAIT_SECONDS", 0.0)
    del server.hosts[0]
    attendance = Attendance(CREW)
    assert asyncio.run(attendance.absent()) == {"h1"}
    assert not asyncio.run(attendance.are_all_there(LOG))
