"""Prefect's own server for tests, without a stack around it."""

from collections.abc import Iterator

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
