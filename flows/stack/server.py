"""A Prefect server: our own one on the loopback interface, or one of the user's."""

import os
import re
import socket
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.exceptions import PrefectException
from prefect.settings import (
    PREFECT_API_AUTH_STRING,
    PREFECT_API_URL,
    PREFECT_CLIENT_MAX_RETRIES,
    get_current_settings,
)
from prefect.settings.context import temporary_settings

from flows import locations
from flows.stack import processes
from flows.stack.terminal import say
from tasks.domain.refusal import Refusal

NAME = "server"
DEFAULT_PORTS = "4200-4299"
START_SECONDS = 120.0
PATIENCE_SECONDS = 15.0
"""For one answer of a server that is busy; one that is gone refuses at once."""
API_ERRORS = (httpx.HTTPError, PrefectException)
"""What a client of a server raises where the API fails."""
HOST = "127.0.0.1"
AUTH = ("PREFECT_SERVER_API_AUTH_STRING", "PREFECT_API_AUTH_STRING")
"""One secret, as the server and as its clients call it: with our own server, either name sets both."""
_KEPT = (
    "PREFECT_SERVER_DATABASE_CONNECTION_URL",  # PostgreSQL for nightly use
    "PREFECT_SERVER_DATABASE_PASSWORD",
    "PREFECT_SERVER_CSRF_PROTECTION_ENABLED",
    "PREFECT_LOGGING_LEVEL",
)
"""What our own server takes over from the user's Prefect settings: nothing else."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server, and whether it is of our own starting."""

    api_url: str
    is_ours: bool

    @property
    def port(self) -> int:
        """Of our own server."""
        return urlsplit(self.api_url).port or 0

    @property
    def environment(self) -> dict[str, str]:
        """For processes that talk to it."""
        return environment_of_ours(self.port) if self.is_ours else environment_of_users(self.api_url)

    @property
    def folder(self) -> Path:
        """Working directory of such processes: with our server one without any settings file of the user's."""
        return locations.state() if self.is_ours else locations.root()

    @contextmanager
    def connected(self, timeout: float = 60.0) -> Iterator[SyncPrefectClient]:
        """A client of it, with the user's credentials. Loopback never goes through a proxy."""
        settings = {"trust_env": not self.is_ours, "timeout": timeout}
        own = {PREFECT_API_AUTH_STRING: self.environment.get(AUTH[1])} if self.is_ours else {}
        with (
            temporary_settings({PREFECT_API_URL: self.api_url, **own}),
            get_client(settings, sync_client=True) as client,
        ):
            yield client

    def failure(self, seconds: float = 3.0) -> Exception | None:
        """Why it does not answer as a Prefect API to these credentials, in so many seconds; None where it does."""
        try:
            with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}), self.connected(timeout=seconds) as client:
                client.read_work_pools(limit=1)  # the health check asks for no credentials
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, RuntimeError) as error:
            return error
        return None

    def refuse_silent(self) -> None:
        """Raise Refusal where this server, one of the user's, does not answer."""
        if (failure := self.failure(PATIENCE_SECONDS)) is not None:
            raise Refusal(
                f"The Prefect server {self.api_url}, named by your Prefect settings (`prefect config view` shows "
                f"where), does not answer ({type(failure).__name__}: {failure}); start it, or name none and "
                "`stratbench up` starts its own"
            )

    def ui_url(self) -> str:
        """Address below which the pages of its user interface are, for example `http://127.0.0.1:4200/v2`."""
        base = self.api_url.removesuffix("/api")
        if not self.is_ours:
            with temporary_settings({PREFECT_API_URL: self.api_url}):
                base = (get_current_settings().ui_url or base).rstrip("/")
        try:
            answer = httpx.get(f"{base}/ui-settings", timeout=3, trust_env=not self.is_ours)
            settings = answer.raise_for_status().json()
            return base + (settings[f"{settings['default_ui']}_base_url"] or "").rstrip("/")
        except (httpx.HTTPError, ValueError, KeyError, TypeError):
            return base

    def answers(self, process: psutil.Process) -> bool:
        """Whether that process of ours answers, once it has started; raises Refusal where it is silent for too long."""
        deadline = time.monotonic() + START_SECONDS
        while processes.is_alive(process):
            if _listens(process, self.port):
                if (failure := self.failure()) is None:
                    return True
                if isinstance(failure, httpx.HTTPStatusError) and failure.response.status_code == 401:
                    raise Refusal(
                        f"The local Prefect server {self.api_url} was started with another {AUTH[1]} than this "
                        "command has; set the same one, or start afresh by `stratbench down`"
                    )
            if time.monotonic() > deadline:
                raise Refusal(
                    f"The local Prefect server {self.api_url} has not answered for {START_SECONDS:.0f} s; start afresh "
                    f"by `stratbench down`; its last words:\n{_tail()}"
                )
            time.sleep(0.2)
        return False


def home() -> Path:
    """Prefect's home of our own server."""
    return locations.state() / "prefect"


def start(ports: range, preferred: Sequence[int] = ()) -> Server:
    """Our own server, started on the first port that is free, when it answers.

    Raises Refusal where every port is taken, or where the server ends or does not answer in time.
    """
    home().mkdir(parents=True, exist_ok=True)
    # left by a server that was killed while it held it, and honoured for ever if its pid is given to somebody else
    (home() / "concurrency_leases" / "expirations.lock").unlink(missing_ok=True)
    for port in filter(is_free, (*preferred, *ports)):
        server = Server(f"http://{HOST}:{port}/api", is_ours=True)
        say(f"Starting the local Prefect server on http://{HOST}:{port} (4 to 15 s)")
        command = (sys.executable, "-m", processes.LASTING, "server", "start")
        if server.answers(processes.start(NAME, command, server.environment, server.folder)):
            return server
        if is_free(port):
            raise Refusal(f"The local Prefect server ended while it started; its last words:\n{_tail()}")
        say(f"Port {port} was taken in the meantime")
    raise Refusal(
        f"ports={ports[0]}-{ports[-1]} are all taken on {HOST}; end what listens there, or name others, "
        "for example `--ports 5200-5299`"
    )


def environment_of_ours(port: int, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """For our own server and for all that talks to it: no profile, home or setting of the user's interferes."""
    auth = next(filter(None, map(environ.get, AUTH)), None)
    kept = {name: value for name, value in environ.items() if not name.startswith("PREFECT_") or name in _KEPT}
    return {
        **_with_ours(kept),
        **(dict.fromkeys(AUTH, auth) if auth else {}),
        "PREFECT_API_URL": f"http://{HOST}:{port}/api",
        "PREFECT_HOME": str(home()),
        "PREFECT_SERVER_API_HOST": HOST,
        "PREFECT_SERVER_API_PORT": str(port),
        # by default any page that a browser here has open may read the API
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": f"http://{HOST}:{port},http://localhost:{port}",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        # kept in files: in memory, a restart of the server forgets the leases, and their slots stay taken for ever
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
        # trials wait for their turn: marking each as late within 15 s only makes writers of SQLite collide
        "PREFECT_SERVER_SERVICES_LATE_RUNS_AFTER_SECONDS": "3600",
        "PREFECT_SERVER_LOGS_STREAM_OUT_ENABLED": "true",  # the run's log in `prefect deployment run --watch`
        "PREFECT_SERVER_LOGS_STREAM_PUBLISHING_ENABLED": "true",
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        **{name: ",".join(filter(None, (environ.get(name), HOST))) for name in ("NO_PROXY", "no_proxy")},
    }


def environment_of_users(api_url: str, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """For what talks to a user's server: the user's settings count, and are added to."""
    own = {name: value for name, value in environ.items() if not name.startswith("PREFECT__")}
    return {"PREFECT_WORKER_QUERY_SECONDS": "1", **_with_ours(own), "PREFECT_API_URL": api_url}


def parse_ports(text: str) -> range:
    """The ports that `4200-4299` or `4200` names, both ends included; raises Refusal for anything else."""
    match = re.fullmatch(r"(\d{1,5})(?:-(\d{1,5}))?", text.strip())
    first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not 1 <= first <= last <= 65535:
        raise Refusal(f"ports={text!r} is not a range of ports from 1 to 65535; write it as 4200-4299")
    return range(first, last + 1)


def is_free(port: int) -> bool:
    """Whether a server could listen on that port of the loopback interface now."""
    try:
        socket.create_server((HOST, port)).close()
    except OSError:
        return False
    return True


def _listens(process: psutil.Process, port: int) -> bool:
    """Whether it is this process that listens there, and not another clone's server."""
    with suppress(psutil.Error):
        connections = process.net_connections(kind="tcp4")
        return any(each.status == psutil.CONN_LISTEN and each.laddr.port == port for each in connections)
    return False


def _tail() -> str:
    log = processes.log_path(NAME)
    return "\n".join((*log.read_text(errors="replace").rstrip().splitlines()[-15:], f"(all of it: {log})"))


def _with_ours(environ: Mapping[str, str]) -> dict[str, str]:
    scripts = str(Path(sys.executable).parent)  # `python` in a deployment's command is this interpreter
    return {
        **environ,
        "PATH": os.pathsep.join((scripts, environ.get("PATH", os.defpath))),
        "STRATBENCH_ROOT": str(locations.root()),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
    }
