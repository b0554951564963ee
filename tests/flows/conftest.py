"""Prefect's own server for tests, without a stack around it, and what fails for a while."""

from collections.abc import Callable, Iterator

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.testing.utilities import prefect_test_harness


@pytest.fixture(scope="module")
def harness() -> Iterator[None]:
    """A server with a database of its own, which all settings name."""
    with prefect_test_harness(server_startup_timeout=120):
        yield


@pytest.fixture
def client(harness: None) -> Iterator[SyncPrefectClient]:
    """A client of it."""
    with get_client(sync_client=True) as client:
        yield client


def fail_at_first(monkeypatch: pytest.MonkeyPatch, owner: object, name: str, *errors: Exception) -> list[Exception]:
    """Let the first calls fail; what has not failed yet is in the list."""
    work: Callable[..., object] = getattr(owner, name)
    failures = [*errors]

    def call(*given: object, **named: object) -> object:
        if failures:
            raise failures.pop()
        return work(*given, **named)

    monkeypatch.setattr(owner, name, call)
    return failures
