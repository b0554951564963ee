"""Drills in which something happens to the processes of one trial: no server is needed."""

import dataclasses
import errno
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, tzinfo
from pathlib import Path

import psutil
import pytest
from _pytest.mark import ParameterSet

from tasks.domain.outcome import Phase
from tasks.domain.strategy import Strategy
from tasks.domain.trial import Role
from tasks.results.error import ResultsError
from tasks.training import cluster, measurement
from tests.drills.conftest import Say
from tests.drills.trials import ONE, WORKERS, Drill, once
from tests.examples import needs_two_cores

pytestmark = [pytest.mark.tensorflow, needs_two_cores]


@pytest.fixture
def drill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Drill:
    """Whatever else the machine does meanwhile."""
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(measurement, "find_taint", lambda usage: None)
    return Drill(tmp_path)


def case(strategy: Strategy, rank: int, number: signal.Signals) -> ParameterSet:
    is_quick = number is signal.SIGKILL and (strategy, rank) != (WORKERS, 0)
    marks = () if is_quick else (pytest.mark.drill,)
    return pytest.param(strategy, rank, number, marks=marks, id=f"{strategy}, rank {rank}, {number.name}")


@pytest.mark.parametrize(
    ("strategy", "rank", "number"),
    [
        case(strategy, rank, number)
        for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP)
        for strategy, rank in ((ONE, 0), (WORKERS, 0), (WORKERS, 1))
    ],
)
def test_training_process_is_lost(
    drill: Drill, say: Say, strategy: Strategy, rank: int, number: signal.Signals
) -> None:
    is_stopped, is_alone = number is signal.SIGSTOP, strategy is ONE
    seconds = 12.0 if is_stopped and is_alone else 30.0  # a peer gives up before the deadline
    trial = drill.trial(strategy=strategy, num_epochs=5, trial_timeout_seconds=seconds)
    with once(Phase.TRAINING, lambda found: found[rank].process.send_signal(number), trial.num_workers):
        row = drill.measure(trial)
    reason, how = ("worker_stopped", "stopped") if is_stopped else ("worker_killed", f"ended by {number.name}")
    assert (row["status"], row["reason"], row["failed_phase"]) == ("failed", reason, "training")
    assert row["message"] == f"rank {rank} was {how} in phase training"
    assert is_alone or float(str(row["wall_seconds"])) < 30
    drill.goes_on(reason, str(row["message"]))
    say("training process" if is_alone else f"rank {rank} of two workers", number.name, row["message"])


def wrap(folder: Path, script: str) -> str:
    """An interpreter that does `script` first; `$3` is the request."""
    path = folder / "python"
    path.write_text(f'#!/bin/sh\n{script}\nexec {sys.executable} "$@"\n')
    path.chmod(0o755)
    return str(path)


@pytest.mark.drill
def test_memory_is_used_up(drill: Drill, say: Say, tmp_path: Path) -> None:
    row = drill.measure(drill.trial(), interpreter=wrap(tmp_path, "ulimit -v 2500000"))
    assert (row["status"], row["reason"]) in (("failed", "worker_killed"), ("failed", "worker_error"))
    assert row["failed_phase"]
    drill.goes_on(str(row["reason"]))
    say("out of memory", "rlimit", row["message"])


@pytest.mark.drill
def test_worker_never_starts(drill: Drill, say: Say, tmp_path: Path) -> None:
    never = wrap(tmp_path, 'case "$3" in *request-1.json) sleep 600;; esac')
    row = drill.measure(drill.trial(strategy=WORKERS, trial_timeout_seconds=12.0), interpreter=never)
    assert (row["status"], row["reason"], row["failed_phase"]) == ("failed", "timeout", "process_start")
    assert str(row["message"]).endswith("rank 1 in phase process_start")
    drill.goes_on("timeout", str(row["message"]))
    say("a worker never starts", "", row["message"])


@pytest.mark.drill
def test_port_is_taken_between_choice_and_use(drill: Drill, say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken, monkeypatch.context() as patch:
        taken.bind((cluster.LOOPBACK, 0))
        taken.listen()
        free = cluster.free_addresses(cluster.LOOPBACK, 1)
        addresses = (*free, f"{cluster.LOOPBACK}:{taken.getsockname()[1]}")
        patch.setattr(cluster, "free_addresses", lambda host, count: addresses)
        row = drill.measure(drill.trial(strategy=WORKERS))
    assert (row["status"], row["reason"], row["failed_phase"]) == ("failed", "worker_error", "runtime")
    assert str(row["message"]).startswith("rank 1 ended in phase runtime with ")
    drill.goes_on("worker_error")
    say("port taken after it was chosen", "", row["message"])


@pytest.mark.drill
def test_loss_explodes(drill: Drill, say: Say) -> None:
    row = drill.measure(dataclasses.replace(drill.trial(), learning_rate=1e38))
    assert (row["status"], row["reason"]) == ("invalid", "loss_not_finite")
    assert row["test_accuracy"] is None
    drill.goes_on("loss_not_finite")
    say("loss is not finite", "", row["message"])


@pytest.mark.drill
def test_clock_jumps_back(drill: Drill, say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wall clock is set back by an hour between submission and start: durations are of the monotonic one."""

    class Late(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> "Late":
            return cls.fromtimestamp(time.time() - 3600, tz)

    with monkeypatch.context() as patch:
        patch.setattr(measurement, "datetime", Late)
        row = drill.measure(drill.trial(), submitted_at=datetime.now(UTC))
    assert (row["status"], row["queue_seconds"]) == ("valid", None)
    assert 0 < float(str(row["training_seconds"])) < float(str(row["wall_seconds"])) < 30
    drill.goes_on()
    say("clock set back by an hour", "", "valid; its queue time is not known")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts a small disk")
def test_disk_is_full_while_a_result_is_written(drill: Drill, say: Say) -> None:
    trials = Path(drill.results.location) / "trials"
    mount = ["mount", "-t", "tmpfs", "-o", "size=192k", "tmpfs", str(trials)]
    if subprocess.run(mount, check=False).returncode:
        pytest.skip("no disk can be mounted here")
    try:
        for path, content in drill.finished.items():
            path.write_bytes(content)
        (trials / "ballast").write_bytes(b"\0" * (_free(trials) - 8192))
        with pytest.raises(ResultsError, match=os.strerror(errno.ENOSPC)) as refused:
            drill.measure(drill.trial())
        drill.is_clean()
        (trials / "ballast").unlink()
        assert drill.measure(drill.trial())["status"] == "valid", "measured again once there is room"
        drill.goes_on()
    finally:
        subprocess.run(["umount", str(trials)], check=True)
    say("disk full", "", str(refused.value).replace(str(drill.results.location), "<run>"))


def _free(folder: Path) -> int:
    return int(psutil.disk_usage(str(folder)).free)


@pytest.mark.parametrize("damage", [pytest.param("cut short", marks=pytest.mark.drill), "flipped"])
def test_results_file_is_damaged(drill: Drill, say: Say, caplog: pytest.LogCaptureFixture, damage: str) -> None:
    key = drill.trial(Role.MEASURED, ONE).key
    assert drill.measure(drill.trial(Role.MEASURED, ONE))["status"] == "valid"
    file = Path(drill.results.location) / "trials" / f"{key}.parquet"
    whole = file.read_bytes()
    if damage == "cut short":
        file.write_bytes(whole[: len(whole) // 2])
    else:  # the last byte, which ends every Parquet file
        file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 4]))
    assert key not in drill.rows()
    assert f"{file} cannot be read" in caplog.text
    drill.goes_on("lost")
    assert drill.measure(drill.trial(Role.MEASURED, ONE), num_retries=1)["status"] == "valid"
    say("results file", damage, "left out, named, reported as lost; measured again beside it")
