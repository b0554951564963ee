"""The environment of the stack's processes."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from flows import locations

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


def home() -> Path:
    """Prefect's home of our own server."""
    return locations.state() / "prefect"


def of_our_server(port: int, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
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


def of_users_server(api_url: str, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """For what talks to a user's server: the user's settings count, and are added to."""
    own = {name: value for name, value in environ.items() if not name.startswith("PREFECT__")}
    return {"PREFECT_WORKER_QUERY_SECONDS": "1", **_with_ours(own), "PREFECT_API_URL": api_url}


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
