"""The project's prefect.toml, by which a plain `prefect` command in the project's folder finds our server."""

from pathlib import Path

from flows import locations
from flows.stack.error import StackError

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


def path() -> Path:
    """Where Prefect looks for the project's settings."""
    return locations.root() / "prefect.toml"


def is_ours(file: Path) -> bool:
    """Whether `up` wrote that file."""
    try:
        return file.read_text().startswith(_MARK)
    except (OSError, ValueError):
        return False


def refuse_foreign() -> None:
    """Raise StackError where a prefect.toml of the user's is in our place."""
    if path().exists() and not is_ours(path()):
        raise StackError(
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
    if is_ours(path()):
        path().unlink(missing_ok=True)
