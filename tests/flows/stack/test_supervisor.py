"""`stratbench worker` beside a real stack: a host of its own root joins, is disturbed, and leaves."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolUpdate
from prefect.client.schemas.objects import StateType

from flows import hosts, locations
from flows.__main__ import main
from flows.stack import processes, queues, supervisor
from flows.stack.local import Stack
from flows.stack.status import status
from tasks.domain.exit_code import ExitCode
from tests.flows.stack.conftest import standing, wait_until

pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The head, which is the host h1 itself."""
    with standing(tmp_path_factory.mktemp("root"), STRATBENCH_HOST="h1") as found:
        yield found


@pytest.fixture
def head(stack: Stack) -> Path:
    """The root of the stack."""
    return locations.root()


@pytest.fixture
def elsewhere(stack: Stack, head: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Another root, on the host h2, whose settings name the stack's server."""
    monkeypatch.setenv("STRATBENCH_ROOT", str(tmp_path))
    monkeypatch.setenv("STRATBENCH_HOST", "h2")
    monkeypatch.setenv("STRATBENCH_ADDRESS", "")
    monkeypatch.setenv("PREFECT_API_URL", stack.server.api_url)
    yield tmp_path
    processes.sweep()


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """What `stratbench worker` says when it refuses."""

    def call(*words: str) -> str:
        assert main(["worker", *words]) == ExitCode.REFUSED
        return capsys.readouterr().err

    return call


@contextmanager
def worker(root: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    """`stratbench worker` in `root`, online; its output goes to a file there."""
    with (root / "said").open("w") as output:
        process = subprocess.Popen(
            (sys.executable, "-m", "flows", "worker", *words), stdout=output, stderr=subprocess.STDOUT, text=True
        )
    try:
        wait_until(lambda: process.poll() is not None or "started!" in said(root), 60)
        yield process
    finally:
        process.kill()
        process.wait()


def said(root: Path) -> str:
    return (root / "said").read_text()


def online(client: SyncPrefectClient) -> list[str]:
    found, workers = hosts.known(queues.read_all(client, "gpu")), client.read_workers_for_work_pool("gpu")
    return [queue.name for queue, entry in found if hosts.is_online(queue, entry, workers)]


def test_host_joins_trains_and_leaves_without_a_trace(
    client: SyncPrefectClient,
    head: Path,
    elsewhere: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """SIGTERM, as a service manager sends it, comes while a run goes on and another one waits."""
    with worker(elsewhere, "--address", "127.0.0.2") as process:
        wait_until(lambda: online(client) == ["h1", "h2"])
        assert status()
        assert "host       h2 at 127.0.0.2 (" in capsys.readouterr().out
        deployment = client.read_deployment_by_name("trial/gpu").id
        first, second = (
            client.create_flow_run_from_deployment(deployment, parameters={"seconds": 600}, work_queue_name="h2")
            for _ in range(2)
        )
        wait_until(lambda: client.read_flow_run(first.id).state_type == StateType.RUNNING)
        ranks = client.read_deployment_by_name("rank/gpu").id
        rank = client.create_flow_run_from_deployment(ranks, work_queue_name="h2.ranks")
        wait_until(lambda: client.read_flow_run(rank.id).state_type == StateType.COMPLETED)
        assert client.read_flow_run(second.id).state_type == StateType.SCHEDULED
        family = processes.marked()
        process.terminate()
        assert process.wait(60) == ExitCode.OK
        assert not any(map(processes.is_alive, family))
        assert processes.marked() == {}
        assert client.read_flow_run(first.id).state_type == StateType.CANCELLED
        assert client.read_flow_run(second.id).state_type == StateType.SCHEDULED
        assert online(client) == ["h1"]
        assert not (elsewhere / ".stratbench" / "stack.json").exists()
        with monkeypatch.context() as at_the_head:
            at_the_head.setenv("STRATBENCH_ROOT", str(head))
            assert status()
        assert "): left 20" in capsys.readouterr().out
        client.delete_flow_run(second.id)


def test_lost_prefect_worker_starts_again_and_ctrl_c_ends_it(client: SyncPrefectClient, elsewhere: Path) -> None:
    with worker(elsewhere) as process:
        first = processes.parts()["worker of trial"]
        assert main(["worker"]) == main(["up"]) == main(["down"]) == ExitCode.REFUSED
        first.kill()
        wait_until(lambda: said(elsewhere).count("started!") == 2, 60)
        assert "The Prefect worker was ended by SIGKILL; it starts again in 1 s\n" in said(elsewhere)
        assert processes.parts()["worker of trial"] != first
        wait_until(lambda: online(client) == ["h1", "h2"])
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == ExitCode.INTERRUPTED
        assert processes.marked() == {}


def test_worker_that_was_killed_leaves_nothing_that_keeps_the_next_one_out(
    client: SyncPrefectClient, elsewhere: Path
) -> None:
    with worker(elsewhere) as process:
        process.kill()
    left = processes.marked().keys()
    assert left
    with worker(elsewhere) as process:
        assert not any(map(processes.is_alive, left))
        process.terminate()
        assert process.wait(60) == ExitCode.OK


def test_worker_is_refused_where_it_cannot_join(
    stack: Stack,
    client: SyncPrefectClient,
    elsewhere: Path,
    refused: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert "host='h2.ranks' must be 1 to 100 letters" in refused("--host", "h2.ranks")
    assert "address='10.0.0.2:80' is neither" in refused("--host", "h2", "--address", "10.0.0.2:80")
    monkeypatch.setenv("STRATBENCH_ADDRESS", "")
    assert "host=h1 is held by the worker 'gpu on h1 (" in refused("--host", "h1")
    assert "The work pool 'a100' does not exist on http" in refused("--host", "h2", "--gpu-pool", "a100")
    monkeypatch.setenv("STRATBENCH_HOST", "h2")
    client.update_work_pool("gpu", WorkPoolUpdate(is_paused=True))
    assert "The work pool 'gpu' has is_paused=True" in refused()
    client.update_work_pool("gpu", WorkPoolUpdate(is_paused=False))
    monkeypatch.setattr(supervisor, "DEPLOYMENTS", ("trial/gpu", "rank/a100"))
    assert "The deployment 'rank/a100' does not exist on http" in refused()
    monkeypatch.setattr(supervisor, "DEPLOYMENTS", ("benchmark/full",))
    assert "'benchmark/full' is not ours or not in the work pool 'gpu'" in refused()
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    assert "The Prefect server http://127.0.0.1:9/api, named by your Prefect settings" in refused()
    monkeypatch.delenv("PREFECT_API_URL")
    assert "name its server: PREFECT_API_URL" in refused()
    assert processes.marked() == {}
    assert online(client) == ["h1"]


def test_worker_is_refused_in_the_root_of_a_stack(stack: Stack, refused: Callable[..., str]) -> None:
    assert "is up and trains on this host itself; stop it first, `stratbench down`" in refused()
