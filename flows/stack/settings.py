"""Prefect's settings in the root: the server that the user names there, and the file that names our own."""

import contextlib
from pathlib import Path
from typing import ClassVar

from prefect.settings.models.api import APISettings
from pydantic_settings import SettingsConfigDict

from flows import locations
from flows.stack.server import Server
from tasks.domain.refusal import Refusal

_MARK = "# Written by `stratbench up`"
_CONTENT = """\
{mark} and removed by `stratbench down`: do not edit.
# To use a server of your own, put a prefect.toml of your own in this one's place: it is respected.
home = ".stratbench/prefect"

[api]
url = "{api_url}"

[server]
analytics_enabled = false

[worker]
query_seconds = 1
"""


class _WithoutFile(APISettings):
    """Prefect's settings without prefect.toml: ours, left by a stack, would win over the user's profile."""

    model_config: ClassVar[SettingsConfigDict] = {**APISettings.model_config, "toml_file": None}


def named_server() -> Server | None:
    """The server that the environment, the project in the root or the active profile names, in Prefect's own order."""
    with contextlib.chdir(locations.root()):
        url = (_WithoutFile if _is_ours() else APISettings)().url
    return Server(url.rstrip("/"), is_ours=False) if url else None


def path() -> Path:
    """Where Prefect looks for the project's settings."""
    return locations.root() / "prefect.toml"


def refuse_foreign() -> None:
    """Raise Refusal where a prefect.toml of the user's is in our place."""
    if path().exists() and not _is_ours():
        raise Refusal(
            f"{path()} is not written by stratbench and names no server; add [api] url to it to use a server of yours, "
            "or move it away"
        )


def write(api_url: str) -> None:
    """Make plain `prefect` commands in the root reach that server.

    The home is relative to the only folder in which Prefect reads this file, so that a moved checkout stays whole.
    """
    refuse_foreign()
    path().write_text(_CONTENT.format(mark=_MARK, api_url=api_url))


def remove() -> None:
    """Delete the file, if it is ours."""
    if _is_ours():
        path().unlink()


def _is_ours() -> bool:
    return path().is_file() and path().read_text(errors="replace").startswith(_MARK)
