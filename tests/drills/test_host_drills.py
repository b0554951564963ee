"""Drills of trials that span machines: hosts are network namespaces, links are cut and slowed, hosts are killed."""

import json
import signal
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from prefect.client.schemas.objects import StateType

from flows.stack import processes
from tasks.data.preparation import prepare
from tasks.domain.device import DeviceType
from tasks.domain.sweep import Sweep
from tasks.domain.trial import Role, Trial
from tasks.planning.planner import plan_block
from tests.drills.conftest import Say, wait_until
from tests.drills.namespaces import Machine
from tests.drills.sites import GANG, Row, Site, make_site, trial_folders
from tests.drills.trials import ONE, WORKERS
from tests.examples import needs_two_cores

pytestmark = [
    pytest.mark.stack,
    pytest.mark.tensorflow,
    pytest.mark.drill,
    pytest.mark.usefixtures("in_namespaces"),
    needs_two_cores,
]

NUM_LONG = 25
"""Epochs, enough to lose something on the way."""
NOTICE_SECONDS = 120.0
"""A loss is on record within so long: the trial's deadline and the patience with a silent host."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with make_site(tmp_path_factory.mktemp("site")) as site:
        yield site


def is_training(host: Machine) -> bool:
    """Whether a measured trial is in its training there."""
    with suppress(OSError, ValueError):
        for folder in trial_folders(host):
            roles = {json.loads(path.read_text())["trial"]["role"] for path in folder.glob("request-*.json")}
            phases = {path.read_text() for path in folder.glob("phase-*")}
            if (roles, phases) == ({Role.MEASURED}, {"training"}):
                return True
    return False


def training_processes(host: Machine) -> list[psutil.Process]:
    """Of the trial that goes on there."""
    found = []
    for process in host.processes():
        with suppress(psutil.Error):
            if process.cmdline()[1:3] == ["-m", "tasks.training.worker"]:
                found.append(process)
    return found


def test_two_hosts_train_what_one_device_trains(site: Site, say: Say) -> None:
    """Accuracies of the same seeds: their means differ by less than two standard deviations over the seeds."""
    rows = site.measures("two-hosts", strategies=[ONE, WORKERS], num_epochs=5, min_blocks=3, max_blocks=3)
    measured = [row for row in rows if row["role"] == Role.MEASURED]
    gangs = [row for row in measured if row["strategy"] == WORKERS]
    assert [sorted(row["hostnames"]) for row in gangs] == [["h1", "h2"]] * 3
    one, two = ([row["test_accuracy"] for row in measured if row["strategy"] == name] for name in (ONE, WORKERS))
    difference = abs(statistics.mean(one) - statistics.mean(two))
    assert difference <= max(2 * statistics.stdev(one), 0.005), (one, two)
    kind = "s3" if site.has_s3 else "shared folder"
    say(f"2 hosts, results in {kind}", "", f"valid; accuracy differs by {difference:.4f} in 3 seeds")


def test_blocks_of_single_hosts_are_spread_and_not_split(site: Site, say: Say) -> None:
    single = {"strategies": [ONE], "global_batch_sizes": [64, 128], "num_hosts": 1}
    rows = site.measures("spread", **single, min_blocks=4, max_blocks=4)
    hosts = {block: {row["hostname"] for row in rows if row["block"] == block} for block in range(1, 5)}
    assert all(len(names) == 1 for names in hosts.values()), hosts
    assert set.union(*hosts.values()) == {"h1", "h2"}
    num_blocks = Counter(name for names in hosts.values() for name in names)
    outcome = ", ".join(f"{count} on {name}" for name, count in sorted(num_blocks.items()))
    say("4 blocks over 2 hosts", "", f"valid; {outcome}")


def test_slow_link_makes_a_gang_slow_and_nothing_else(site: Site, say: Say) -> None:
    _, second, _ = site.cluster.hosts

    def seconds(run_name: str) -> float:
        rows = site.measures(run_name, num_epochs=3)
        return next(float(row["training_seconds"]) for row in rows if row["strategy"] == WORKERS)

    free = seconds("unslowed")
    second.slow(20)
    try:
        slow = seconds("slowed")
    finally:
        second.unslow()
    assert slow > 1.5 * free
    say("link slowed to 20 Mbit/s", "tbf", f"valid; training took {slow / free:.1f} times as long")


def cut_and_kill(host: Machine) -> None:
    host.cut()
    host.kill()


def stop_rank(host: Machine) -> None:
    (rank,) = training_processes(host)
    rank.send_signal(signal.SIGSTOP)


@pytest.mark.parametrize(
    ("lose", "reason", "words"),
    [
        pytest.param(Machine.cut, "host_lost", "h2: no word of rank 1", id="link cut"),
        pytest.param(Machine.kill, "host_lost", "h2: no word of rank 1", id="host killed"),
        pytest.param(cut_and_kill, "host_lost", "h2: no word of rank 1", id="host without power"),
        pytest.param(stop_rank, "worker_stopped", "h2: rank 1 was stopped", id="rank stopped"),
    ],
)
def test_host_of_a_gang_is_lost(site: Site, say: Say, lose: Callable[[Machine], None], reason: str, words: str) -> None:
    """The run is continued at once: nothing of the lost trial may be in the way of the next one."""
    first, second, _ = site.cluster.hosts
    run_name = f"lost-{lose.__name__.replace('_', '-')}"
    run = site.submit(run_name, num_epochs=NUM_LONG)
    wait_until(lambda: is_training(first) and is_training(second), 300)
    time.sleep(2)
    survivors, folders = training_processes(first), trial_folders(first)
    lose(second)
    began = time.monotonic()
    try:
        wait_until(lambda: failures(site, run_name), NOTICE_SECONDS)
        took = time.monotonic() - began
        wait_until(lambda: not any(map(processes.is_alive, survivors)), 10)
        assert not any(folder.exists() for folder in folders)
    finally:
        second.restore()
        site.await_host(second) if second.processes() else site.join(second)
    (row,) = failures(site, run_name)
    assert row["reason"] == reason
    assert row["message"].startswith(words)
    site.ends(run)
    again = site.ends(site.submit(run_name, num_epochs=NUM_LONG))
    assert (again.state_type, again.state_name) == (StateType.COMPLETED, "Completed"), again.state
    site.leaves_nothing()
    outcome = f"{row['reason']} after {took:.0f} s: {row['message']}; then valid"
    say("host 2 of a gang", lose.__name__.replace("_", " "), outcome)


def failures(site: Site, run_name: str) -> list[Row]:
    return [row for row in site.rows(run_name) if row["status"] == "failed" and row["strategy"] == WORKERS]


def test_two_gangs_and_a_single_trial_at_once_end_all(site: Site, say: Say, tmp_path: Path) -> None:
    """Either host leads a gang and trains a rank of the other's, and one of them trains alone, too."""
    site.measures("at-once")
    sweep = Sweep(**{**GANG, "strategies": (ONE, WORKERS), "global_batch_sizes": (64,), "device": DeviceType.CPU_SLICE})
    data = prepare("mnist", tmp_path)

    def trial(strategy: str, block: int) -> Trial:
        members = plan_block(sweep, DeviceType.CPU_SLICE, data, block)
        return next(each for each in members if (each.role, each.strategy) == (Role.MEASURED, strategy))

    runs = [
        site.submit_trial(trial(WORKERS, 11), "at-once", "h1", "h2"),
        site.submit_trial(trial(WORKERS, 12), "at-once", "h2", "h1"),
        site.submit_trial(trial(ONE, 13), "at-once", "h1"),
    ]
    ends = [site.ends(run) for run in runs]
    assert [run.state_type for run in ends] == [StateType.COMPLETED] * 3, [run.state for run in ends]
    assert {row["status"] for row in site.rows("at-once")} == {"valid"}
    site.leaves_nothing()
    say("2 gangs and 1 trial at once", "", "all valid")


def test_three_hosts_train(site: Site, say: Say) -> None:
    site.join(site.cluster.hosts[2])
    rows = site.measures("three-hosts", num_hosts=3, num_replicas=3, global_batch_sizes=[96])
    (gang,) = [row for row in rows if (row["strategy"], row["role"]) == (WORKERS, Role.MEASURED)]
    assert gang["hostnames"] == ["h1", "h2", "h3"]
    say("3 hosts", "", f"valid; accuracy {gang['test_accuracy']:.3f}")
