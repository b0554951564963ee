"""What the local stack lets in: nothing from other machines and, with a secret, nobody without it."""

from collections.abc import Iterator

import httpx
import psutil
import pytest

from flows.stack import processes, state, watching
from flows.stack.local import Stack, down, up
from flows.stack.server import Server
from flows.stack.status import status
from tasks.domain.refusal import Refusal
from tests.flows.stack.conftest import PORTS, standing

pytestmark = pytest.mark.stack
SECRET = "admin:correct horse"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Up with a secret that only the clients' variable names, and with protection against forged requests."""
    settings = {"PREFECT_API_AUTH_STRING": SECRET, "PREFECT_SERVER_CSRF_PROTECTION_ENABLED": "true"}
    with standing(tmp_path_factory.mktemp("root"), **settings) as found:
        yield found


def ask(server: Server, method: str, path: str, secret: str | None = None, **headers: str) -> httpx.Response:
    auth = httpx.BasicAuth(*secret.split(":", 1)) if secret else None
    return httpx.request(method, f"{server.api_url}{path}", auth=auth, headers=headers, trust_env=False)


def test_nothing_listens_but_on_loopback(stack: Stack) -> None:
    found = {
        connection.laddr.ip
        for process in processes.marked()
        for connection in process.net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert found == {"127.0.0.1"}


def test_client_without_the_secret_is_refused(stack: Stack) -> None:
    assert ask(stack.server, "GET", "/admin/settings").status_code == 401
    assert ask(stack.server, "GET", "/admin/settings", "admin:guessed").status_code == 401
    assert ask(stack.server, "GET", "/work_pools/gpu").status_code == 401
    assert SECRET not in ask(stack.server, "GET", "/admin/settings", SECRET).raise_for_status().text


def test_page_of_another_origin_may_not_read(stack: Stack) -> None:
    allowed = "access-control-allow-origin"
    answer = ask(stack.server, "GET", "/admin/version", SECRET, Origin="https://elsewhere.example")
    assert (answer.status_code, answer.headers.get(allowed)) == (200, None)
    own = stack.server.api_url.removesuffix("/api").replace("127.0.0.1", "localhost")
    assert ask(stack.server, "GET", "/admin/version", SECRET, Origin=own).headers[allowed] == own


def test_request_without_the_token_is_refused(stack: Stack) -> None:
    assert ask(stack.server, "POST", "/flow_runs/filter", SECRET).status_code == 403


def test_benchmark_runs_authenticated(stack: Stack) -> None:
    assert watching.run_benchmark("full", ["run_name=named"]) == 0
    assert (state.path().parents[1] / "reports" / "named" / "report.md").exists()


def test_command_without_the_secret_is_told_so(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    before = processes.marked().keys()
    with monkeypatch.context() as changed:
        changed.delenv("PREFECT_API_AUTH_STRING")
        with pytest.raises(Refusal, match=r"another PREFECT_API_AUTH_STRING .*stratbench down"):
            up(ports=PORTS)
        assert not status()
        failure = Server(stack.server.api_url, is_ours=False).failure()
        assert isinstance(failure, httpx.HTTPStatusError)
    assert processes.marked().keys() == before
    assert status()


def test_down_ends_the_authenticated_stack(stack: Stack) -> None:
    """The last test of this module: what follows has no stack."""
    assert down()
    assert processes.marked() == {}
