"""The doctor on a real stack: well at first, then with one thing broken at a time."""

import dataclasses
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolUpdate
from prefect.states import Cancelled, Pending, Running

from flows import hosts, locations
from flows.__main__ import main
from flows.stack import automations, doctor, pools, processes, signals, state
from flows.stack.local import Stack, up
from tasks.data.preparation import prepare
from tasks.domain.exit_code import ExitCode
from tasks.results.environment import hostname
from tasks.results.events import Event, Events, Kind
from tests.data.samples import small_arrays, write_npz
from tests.flows.stack.conftest import PORTS, standing

pytestmark = pytest.mark.stack
SLEEP = "import time; time.sleep(60)"
Faults = Callable[[], list[str]]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack, with a folder for temporary files and pins of its own."""
    root = tmp_path_factory.mktemp("root")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.delenv("TZ", raising=False)
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("temporary")))
        monkeypatch.setattr(doctor, "PINS", root)
        pin(f"psutil=={metadata.version('psutil')}")
        with standing(root) as found:
            yield found


def pin(*lines: str) -> None:
    for file in ("cpu.txt", "gpu.txt"):
        (doctor.PINS / file).write_text("".join(f"{line} \\\n    --hash=sha256:0\n" for line in lines))


@pytest.fixture
def faults(stack: Stack, capsys: pytest.CaptureFixture[str]) -> Faults:
    """What the doctor finds now."""

    def look() -> list[str]:
        capsys.readouterr()
        is_well = doctor.doctor()
        lines = capsys.readouterr().out.splitlines()
        found = [line.removeprefix("FAULT ") for line in lines if line.startswith("FAULT ")]
        assert is_well == (not found)
        assert all(line.startswith(("FAULT ", "ok    ", "      ")) for line in lines)
        return found

    return look


def test_without_a_stack_it_says_so_and_checks_the_machine(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == ExitCode.NOT_MEASURED
    first, *rest = capsys.readouterr().out.splitlines()
    assert first == f"FAULT stack: nothing is running in {root}; start it: `stratbench up`"
    assert "ok    data" in rest


def test_all_is_well(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == ExitCode.OK
    said = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("ok    ") for line in said) == len(doctor.OF_THE_STACK) + len(doctor.OF_THE_MACHINE)
    nobody = "nobody is notified of what a night says; STRATBENCH_NOTIFY names who is (docs/prefect.md, Alerts)"
    assert f"      {nobody}" in said
    main(["status"])
    assert f"alerts     {nobody}" in capsys.readouterr().out


def test_pool_that_is_paused(client: SyncPrefectClient, faults: Faults) -> None:
    client.update_work_pool("gpu", WorkPoolUpdate(is_paused=True))
    (fault,) = faults()
    assert fault.startswith("work pools: The work pool 'gpu' has is_paused=True")
    client.update_work_pool("gpu", WorkPoolUpdate(is_paused=False))


def test_hosts_queue_that_is_paused_or_of_another_release_or_gone(client: SyncPrefectClient, faults: Faults) -> None:
    queue, host = client.read_work_queue_by_name(hostname(), "gpu"), hostname()
    client.update_work_queue(queue.id, is_paused=True)
    (fault,) = faults()
    assert fault.startswith(f"hosts: the work queue {host!r} is paused; resume it: `prefect work-queue resume ")
    entry = hosts.read_entry(queue.description)
    assert entry is not None
    other = hosts.encode(dataclasses.replace(entry.host, release="0.0.1"), entry.holder)
    client.update_work_queue(queue.id, is_paused=False, description=other)
    here = metadata.version("stratbench")
    assert faults() == [f"hosts: host {host} runs stratbench 0.0.1, here {here}: install the same"]
    client.delete_work_queue_by_id(queue.id)
    assert faults() == [f"hosts: the work queue {host!r} of this host is missing; create it: `stratbench up`"]
    up(ports=PORTS)
    assert faults() == []


def test_limit_that_is_missing_or_not_one(client: SyncPrefectClient, faults: Faults) -> None:
    client.delete_global_concurrency_limit_by_name("stratbench-sweep")
    assert faults() == ["concurrency limits: 'stratbench-sweep' is missing; create it: `stratbench up`"]
    pools.ensure_limits(client, hostname())
    client.upsert_global_concurrency_limit_by_name("stratbench-sweep", 2)
    (fault,) = faults()
    assert "limit=2" in fault
    client.upsert_global_concurrency_limit_by_name("stratbench-sweep", 1)


def test_slot_that_nobody_holds(client: SyncPrefectClient, faults: Faults) -> None:
    with slot(client):
        (fault,) = faults()
    assert fault.startswith("concurrency limits: a slot of 'stratbench-sweep' is taken while no flow run of ours")
    assert "`prefect gcl update stratbench-sweep --active-slots 0`" in fault


@contextmanager
def slot(client: SyncPrefectClient) -> Iterator[None]:
    answer = client.increment_concurrency_slots_with_lease(["stratbench-sweep"], 1, "concurrency", lease_duration=60)
    yield
    client.release_concurrency_slots_with_lease(answer.json()["lease_id"])


def test_automation_that_is_missing(stack: Stack, client: SyncPrefectClient, faults: Faults) -> None:
    name = automations.WANTED[0].name
    (found,) = client.read_automations_by_name(name)
    client.delete_automation(found.id)
    assert faults() == [f"automations: {name!r} is missing; `stratbench up` mends it"]
    automations.ensure(client, stack.server.ui_url())


def test_deployments_of_other_code(faults: Faults) -> None:
    before = state.read()
    assert before is not None
    state.write(dataclasses.replace(before, deployed="of yesterday"))
    (fault,) = faults()
    assert fault.startswith("deployments: they are older than")
    state.write(before)


def test_run_without_a_process_and_run_that_does_not_begin(
    client: SyncPrefectClient, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment = client.read_deployment_by_name("benchmark/full").id
    running = client.create_flow_run_from_deployment(deployment, name="lost", state=Running())
    pending = client.create_flow_run_from_deployment(deployment, name="stuck", state=Pending())
    with slot(client):  # may be the run's: no fault
        (fault,) = faults()
    assert fault.startswith("flow runs: lost is Running, but no process of it lives here")
    monkeypatch.setattr(doctor, "MAX_PENDING_SECONDS", -1)
    assert any(fault.startswith("flow runs: stuck has been Pending for ") for fault in faults())
    for run in (running, pending):
        client.set_flow_run_state(run.id, Cancelled(), force=True)


def test_clock_that_is_wrong(faults: Faults, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "MAX_CLOCK_SECONDS", -1)
    (fault,) = faults()
    assert fault.startswith("server: its clock and this machine's are ")


def test_processes_that_belong_to_nobody(faults: Faults) -> None:
    with signals.interruptible():
        left = processes.start("worker of old", (sys.executable, "-c", SLEEP), os.environ, Path("/"))
    shell = f"{sys.executable} -c '{SLEEP}' {doctor.WORKER} >/dev/null 2>&1 & echo $!"
    orphan = psutil.Process(int(subprocess.run(("sh", "-c", shell), capture_output=True, check=True).stdout))
    try:
        assert faults() == [
            f"processes: the processes {left.pid} belong to no living part of the stack; `stratbench down` ends them",
            f"processes: the processes {orphan.pid} train for a process that is gone; end them: `kill -9 {orphan.pid}`",
        ]
    finally:
        for process in (left, orphan):
            process.kill()
        psutil.wait_procs([left])


def test_folder_that_no_trial_holds(faults: Faults) -> None:
    left, held, fresh = (Path(tempfile.gettempdir(), f"stratbench-trial-{name}") for name in ("left", "held", "fresh"))
    for folder in (left, held, fresh):
        folder.mkdir()
    with (held / doctor.OWNER).open("w") as owner:
        fcntl.flock(owner, fcntl.LOCK_EX)
        for folder in (left, held):
            os.utime(folder, (0, time.time() - 2 * doctor.MAX_FOLDER_SECONDS))
        assert faults() == [f"temporary folders: 1 left by trials that are gone; delete them: `rm -r {left}`"]
    for folder in (left, held, fresh):
        shutil.rmtree(folder)


def test_disk_that_is_full(faults: Faults, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=1.26e9))
    of_root, of_temporary = faults()
    assert of_root == f"disk: {locations.root()} has 1.3 GB free, 2 are needed; free some, or set STRATBENCH_ROOT"
    assert of_temporary.endswith("or set TMPDIR")


def test_versions_that_are_not_the_pinned_ones(faults: Faults) -> None:
    names = ("psutil", "httpx", "numpy", "pandas", "scipy", "rich")
    pin(*(f"{name}==0.1" for name in names), "prefect==0.1 ; python_full_version < '3.11'", "not-installed==1")
    (fault,) = faults()
    assert fault.startswith(f"installed versions: not as pinned: psutil {metadata.version('psutil')} (==0.1), httpx ")
    assert "scipy" in fault
    assert "rich" not in fault
    assert " and 1 more; install the pins: `python -m pip install" in fault
    pin("psutil")


def test_data_that_are_damaged(tmp_path: Path, faults: Faults) -> None:
    source = str(write_npz(tmp_path / "small.npz", small_arrays()))
    folder = Path(prepare(source, locations.data_cache()).directory)
    content = bytearray((folder / "test.parquet").read_bytes())
    content[len(content) // 4] ^= 1
    (folder / "test.parquet").write_bytes(content)
    (fault,) = faults()
    assert fault.startswith(f"data: {folder} is damaged; delete it")
    prepare(source, locations.data_cache())
    assert faults() == []


def test_control_that_is_not_built_here(faults: Faults) -> None:
    def choose(control: str | None) -> None:
        event = Event(kind=Kind.CONTROL, at=datetime.now(UTC), by="ann", why="first", control=control)
        Events(locations.results()).append(event)

    choose("0.1.0-g01234567-r012345")
    assert faults() == [
        "control: control=0.1.0-g01234567-r012345 is not built on this host; build it of the same requirements: "
        "`stratbench control build 01234567`"
    ]
    choose(None)
    assert faults() == []


@pytest.mark.parametrize(("zone", "is_known"), [("Mars/Olympus", False), ("", False), ("Asia/Tokyo", True)])
def test_time_zone_that_nobody_knows(
    faults: Faults, monkeypatch: pytest.MonkeyPatch, zone: str, is_known: bool
) -> None:
    monkeypatch.setenv("TZ", zone)
    found = faults()
    assert is_known == (not found)
    assert all(fault.startswith(f"time zone: TZ names the zone {zone!r}, which is not known") for fault in found)


def test_worker_that_was_killed(faults: Faults) -> None:
    processes.parts()["worker of trial"].kill()
    (fault,) = faults()
    assert fault.startswith("workers: gpu on ")
    assert fault.endswith(": NOT RUNNING; `stratbench up` starts it")
    up(ports=PORTS)
    assert faults() == []


def test_server_that_does_not_answer(stack: Stack, faults: Faults) -> None:
    """The last test of this module: what follows has no server."""
    processes.stop([processes.parts()["server"]])
    (fault,) = faults()
    assert fault.startswith(f"server: {stack.server.api_url} does not answer")
    assert fault.endswith("start it again: `stratbench up`")
