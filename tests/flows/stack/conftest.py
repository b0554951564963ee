"""A root of its own for every test, and no Prefect settings of whoever runs them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from prefect.client.orchestration import SyncPrefectClient

from flows.stack import processes, server, signals

SAMPLE = Path(__file__).parent / "sample"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    isolate(monkeypatch, tmp_path)
    yield tmp_path
    processes.sweep()


def isolate(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Make `folder` the root, and forget the user's Prefect settings."""
    for name in [name for name in os.environ if name.startswith("PREFECT_")]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("STRATBENCH_NOTIFY", raising=False)
    monkeypatch.setenv("PREFECT_PROFILES_PATH", str(folder / "no-profiles.toml"))
    monkeypatch.setenv("STRATBENCH_ROOT", str(folder))
    monkeypatch.setenv("PYTHONPATH", str(SAMPLE))


@contextmanager
def serve(folder: Path, ports: str) -> Iterator[SyncPrefectClient]:
    """Start a server that knows nothing of us, with `folder` as the root; ends with every process of it."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        isolate(monkeypatch, folder)
        try:
            with signals.interruptible():
                started = server.start(server.parse_ports(ports))
            with started.connected() as client:
                yield client
        finally:
            processes.sweep()
