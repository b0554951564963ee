"""The server that this call works with."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from prefect.client.orchestration import SyncPrefectClient

from flows import locations
from flows.stack import environment, server


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """A server, and whether it is of our own starting."""

    api_url: str
    is_ours: bool

    @property
    def environment(self) -> dict[str, str]:
        """For processes that talk to it."""
        make = environment.of_our_server if self.is_ours else environment.of_users_server
        return make(self.api_url)

    @property
    def folder(self) -> Path:
        """Working directory of such processes: with our server one without any settings file of the user's."""
        return locations.state() if self.is_ours else locations.root()

    @contextmanager
    def connected(self) -> Iterator[SyncPrefectClient]:
        """A client of it."""
        with server.connected(self.api_url, self.is_ours) as client:
            yield client

    def is_healthy(self) -> bool:
        """Whether it answers."""
        return server.is_healthy(self.api_url, self.is_ours)

    def ui_url(self) -> str:
        """Address below which the pages of its user interface are."""
        return server.ui_url(self.api_url, self.is_ours)
