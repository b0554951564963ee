"""A root of its own for every test, and no Prefect settings of whoever runs them."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from prefect.client.orchestration import SyncPrefectClient

from flows.stack import deployments, processes, server, signals
from flows.stack.local import Stack, down, up

SAMPLE = Path(__file__).parent / "sample" / "prefect.yaml"
PORTS = "4300-4799"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    isolate(monkeypatch, tmp_path)
    yield tmp_path
    processes.sweep()


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SyncPrefectClient]:
    """A client of a server that knows nothing of us."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        isolate(monkeypatch, tmp_path_factory.mktemp("root"))
        try:
            with signals.interruptible():
                started = server.start(server.parse_ports(PORTS))
            with started.connected() as connected:
                yield connected
        finally:
            processes.sweep()


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with standing(tmp_path_factory.mktemp("root")) as found:
        yield found


@pytest.fixture
def client(stack: Stack) -> Iterator[SyncPrefectClient]:
    with stack.server.connected() as connected:
        yield connected


@contextmanager
def standing(folder: Path, **environment: str) -> Iterator[Stack]:
    """A stack of the sample's flows with `folder` as the root; ends with every process of it."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        isolate(monkeypatch, folder)
        monkeypatch.setattr(deployments, "FILE", SAMPLE)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        try:
            yield up(ports=PORTS)
        finally:
            down()
            processes.sweep()


def isolate(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Make `folder` the root, and forget the user's Prefect settings."""
    for name in [name for name in os.environ if name.startswith("PREFECT_")]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("STRATBENCH_NOTIFY", raising=False)
    monkeypatch.setenv("PREFECT_PROFILES_PATH", str(folder / "no-profiles.toml"))
    monkeypatch.setenv("STRATBENCH_ROOT", str(folder))
    monkeypatch.setenv("PYTHONPATH", str(SAMPLE.parent))


def wait_until(is_true: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.2)
