"""A Prefect server: our own one on the loopback interface, or one that answers elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
import psutil
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.settings import PREFECT_API_URL, get_current_settings
from prefect.settings.context import temporary_settings

from flows import locations
from flows.stack import environment, processes, state
from flows.stack.error import StackError
from flows.stack.ports import HOST, PortRange, is_free
from flows.stack.state import Part

NAME = "server"
START_SECONDS = 120.0


def api_url(port: int) -> str:
    """Address of the API of our own server on that port."""
    return f"http://{HOST}:{port}/api"


@contextmanager
def connected(api_url: str, is_ours: bool) -> Iterator[SyncPrefectClient]:
    """A client of that server; with the user's credentials where it is the user's."""
    direct = {"trust_env": False} if is_ours else None  # loopback never goes through a proxy
    with temporary_settings({PREFECT_API_URL: api_url}), get_client(direct, sync_client=True) as client:
        yield client


def is_healthy(api_url: str, is_ours: bool) -> bool:
    """Whether `/api/health` answers."""
    try:
        with httpx.Client(timeout=3, trust_env=not is_ours) as client:
            return client.get(f"{api_url}/health").is_success
    except httpx.HTTPError:
        return False


def refuse_silent(api_url: str, named_by: str) -> None:
    """Raise StackError unless that server of the user's answers as a Prefect API."""
    try:
        with connected(api_url, is_ours=False) as client:
            failure = client.api_healthcheck()
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, RuntimeError) as error:
        failure = error
    if failure is not None:
        raise StackError(
            f"The Prefect server {api_url}, named by {named_by}, does not answer "
            f"({type(failure).__name__}: {failure}); start it, or name none and stratbench starts its own"
        )


def ui_url(api_url: str, is_ours: bool) -> str:
    """Address below which the pages of Prefect's user interface are, for example `http://127.0.0.1:4200/v2`."""
    if is_ours:
        base = api_url.removesuffix("/api")
    else:
        with temporary_settings({PREFECT_API_URL: api_url}):
            base = (get_current_settings().ui_url or api_url.removesuffix("/api")).rstrip("/")
    try:
        with httpx.Client(timeout=3, trust_env=not is_ours) as client:
            settings = client.get(f"{base}/ui-settings").raise_for_status().json()
        path = settings[f"{settings['default_ui']}_base_url"]
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        return base
    return base + (path or "").rstrip("/")


def start(ports: PortRange, preferred: int | None, start_id: str, say: Callable[[str], None]) -> tuple[Part, int]:
    """Start our own server on the first port that is free, and wait until it answers; the process and the port.

    Raises StackError where every port is taken, or where the server ends or does not answer in time.
    """
    environment.home().mkdir(parents=True, exist_ok=True)
    # left by a server that was killed while it held it, and honoured for ever if its pid is given to somebody else
    (environment.home() / "concurrency_leases" / "expirations.lock").unlink(missing_ok=True)
    for port in _candidates(ports, preferred):
        say(f"Starting the local Prefect server on http://{HOST}:{port} (4 to 15 s)")
        part = _launch(port, start_id)
        if _answers(part, port):
            return part, port
        if is_free(port):
            raise StackError(f"The local Prefect server ended while it started; its last words:\n{_tail()}")
        say(f"Port {port} was taken in the meantime")
    raise StackError(
        f"ports={ports} are all taken on {HOST}; end what listens there, or name others, "
        "for example `--ports 5200-5299`"
    )


def _candidates(ports: PortRange, preferred: int | None) -> Iterator[int]:
    if preferred is not None and is_free(preferred):
        yield preferred
    yield from ports.free()


def _launch(port: int, start_id: str) -> Part:
    command = (sys.executable, "-m", "prefect", "server", "start", "--host", HOST, "--port", str(port))
    surroundings = environment.of_our_server(api_url(port))
    return processes.start(NAME, command, surroundings, locations.state(), start_id)


def _answers(part: Part, port: int) -> bool:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        process = processes.find(part)
        if process is None:
            return False
        if _listens(process, port) and is_healthy(api_url(port), is_ours=True):
            return True
        time.sleep(0.2)
    raise StackError(
        f"The local Prefect server does not answer after {START_SECONDS:.0f} s; its last words:\n{_tail()}"
    )


def _listens(process: psutil.Process, port: int) -> bool:
    """Whether it is this process that listens there, and not another clone's server."""
    try:
        connections = process.net_connections(kind="tcp4")
    except psutil.AccessDenied:
        return True
    except psutil.Error:
        return False
    return any(each.status == psutil.CONN_LISTEN and each.laddr.port == port for each in connections)


def _tail(num_lines: int = 15) -> str:
    log = state.log_path(NAME)
    lines = log.read_text(errors="replace").rstrip().splitlines() if log.exists() else []
    return "\n".join((*lines[-num_lines:], f"(all of it: {log})"))
