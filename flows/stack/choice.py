"""Which Prefect server is used: one that the user names, or none, and then our own."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import dotenv

from flows.stack import settings_file
from flows.stack.error import StackError

SHIPPED_PROFILES = ("cloud", "ephemeral", "local", "test")
"""Profiles that Prefect has without a file."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NamedServer:
    """A server that is not ours."""

    api_url: str
    named_by: str
    """Where the user names it, in words that fit into a sentence."""


def named_server(root: Path, environ: Mapping[str, str]) -> NamedServer | None:
    """The server that the environment, the project in `root` or the active profile names, in Prefect's own order.

    The files are read here, not Prefect's merged settings: there a prefect.toml that `up` wrote earlier would win.
    Raises StackError for a file that is not valid TOML, and for a prefect.toml of the user's that names no server.
    """
    if url := environ.get("PREFECT_API_URL"):
        return _named(url, "PREFECT_API_URL in the environment")
    if url := dotenv.dotenv_values(root / ".env").get("PREFECT_API_URL"):
        return _named(url, f"PREFECT_API_URL in {root / '.env'}")
    for name, header in (("prefect.toml", ()), ("pyproject.toml", ("tool", "prefect"))):
        path = root / name
        if settings_file.is_ours(path):
            continue
        if url := _text(_read(path), *header, "api", "url"):
            return _named(url, f"api.url in {path}")
    profiles = profiles_path(environ)
    content = _read(profiles)
    named = environ.get("PREFECT_PROFILE")
    known = {*_table(content, "profiles"), *SHIPPED_PROFILES}
    if named and named not in known:
        raise StackError(f"PREFECT_PROFILE={named!r} is not known; use one of {', '.join(sorted(known))}, or unset it")
    active = named or _text(content, "active")
    if active and (url := _text(content, "profiles", active, "PREFECT_API_URL")):
        return _named(url, f"the Prefect profile {active!r} in {profiles}")
    return None


def profiles_path(environ: Mapping[str, str]) -> Path:
    """The file of the user's Prefect profiles."""
    if named := environ.get("PREFECT_PROFILES_PATH"):
        return Path(named).expanduser()
    return Path(environ.get("PREFECT_HOME") or "~/.prefect").expanduser() / "profiles.toml"


def _named(url: str, named_by: str) -> NamedServer:
    return NamedServer(api_url=url.rstrip("/"), named_by=named_by)


def _read(path: Path) -> dict[str, object]:
    try:
        return tomllib.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        raise StackError(f"{path} cannot be read ({error}); repair it, or move it away") from error


def _table(content: dict[str, object], key: str) -> dict[str, object]:
    found = content.get(key)
    return found if isinstance(found, dict) else {}


def _text(content: object, *keys: str) -> str | None:
    for key in keys:
        content = content.get(key) if isinstance(content, dict) else None
    return content if isinstance(content, str) and content else None
