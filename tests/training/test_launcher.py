import fcntl
import os
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tasks.domain.device import Devices
from tasks.domain.outcome import FailureReason, InvalidReason, TrialFailure, TrialResult
from tasks.domain.strategy import Strategy
from tasks.domain.trial import Trial
from tasks.training.launcher import OnLine, TrialStopped, run_ranks, run_trial
from tasks.training.part import Part, Ranks
from tests.examples import make_trial, needs_two_cores

CORES = Devices(cores=tuple(sorted(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else (0, 1))
TWO_WORKERS = {"strategy": Strategy.MULTI_WORKER_MIRRORED, "num_workers": 2, "replicas_per_worker": 1}
FAKE = "tests.training.fake_worker"


@pytest.fixture(autouse=True)
def _project_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))


def launch(trial: Trial, tmp_path: Path, on_line: OnLine = print) -> TrialResult | TrialFailure:
    outcome = run_trial(trial, devices=CORES, data_directory=tmp_path, on_line=on_line, module=FAKE)
    assert not living_workers()
    return outcome


def living_workers() -> list[psutil.Process]:
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # ended meanwhile, or waits for another test to reap it
            if FAKE in process.cmdline():
                found.append(process)
    return found


def one(**changes: object) -> Trial:
    return make_trial(strategy=Strategy.ONE_DEVICE, replicas_per_worker=1, **changes)


def test_good_trial_yields_times_of_the_slowest_and_examples_of_all(tmp_path: Path) -> None:
    lines: list[str] = []
    result = launch(make_trial(**TWO_WORKERS), tmp_path, lines.append)
    assert isinstance(result, TrialResult), result
    assert (result.invalid_reason, result.message) == (None, None)
    assert [epoch.training_seconds for epoch in result.epochs] == [2.0, 2.0]
    assert [epoch.num_examples for epoch in result.epochs] == [1000, 1000]
    assert result.windows[0].seconds == 0.3
    assert [probe.projections for probe in result.gradients] == [(0.5, -1.0)]
    assert result.max_resident_bytes == 200
    assert result.is_pinned
    assert sorted(lines) == [f"[rank {i}] {said}" for i in (0, 1) for said in (f"hello from rank {i}", "in a cluster")]


def test_a_cluster_of_the_users_does_not_reach_the_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_CONFIG", '{"cluster": {"worker": ["10.0.0.1:1"]}, "task": {"type": "worker", "index": 0}}')
    lines: list[str] = []
    launch(one(), tmp_path, lines.append)
    assert lines == ["hello from rank 0"]


def test_ledger_sums_to_the_wall_time(tmp_path: Path) -> None:
    result = launch(one(), tmp_path)
    assert isinstance(result, TrialResult)
    assert sum(result.phase_seconds.values()) == pytest.approx(result.wall_seconds, rel=0.01)
    assert result.phase_seconds["training"] > 0.04


KILLED, ERROR = FailureReason.WORKER_KILLED, FailureReason.WORKER_ERROR
STOPPED, TIMEOUT = FailureReason.WORKER_STOPPED, FailureReason.TIMEOUT
LOST = {
    "killed": (KILLED, "rank 0 was ended by SIGKILL in phase training"),
    "error": (ERROR, "rank 0 ended in phase training with ValueError: no such thing"),
    "exit3": (ERROR, "rank 0 ended in phase training with exit code 3"),
    "silent": (ERROR, "rank 0 ended without an error and without an outcome"),
    # One lost rank ends the other, and is the one that is named.
    "hang,killed": (KILLED, "rank 1 was ended by SIGKILL in phase training"),
    # Rank 1 raises, and takes its time to end; rank 0 sees that it is gone, and ends at once with an error of that.
    "follow,slow error": (ERROR, "rank 1 ended in phase training with ValueError: no such thing"),
    # The other's error is noticed before.
    "error,killed late": (KILLED, "rank 1 was ended by SIGKILL in phase training"),
    # A rank that is held is named whether the other gives up or waits.
    "follow,stopped": (STOPPED, "rank 1 was stopped in phase training"),
    "stopped,follow": (STOPPED, "rank 0 was stopped in phase training"),
    "hang,stopped": (STOPPED, "rank 1 was stopped in phase training"),
}
"""By the ranks' behaviour: the reason and the message."""


@pytest.mark.parametrize(
    "behaviour", [pytest.param(text, marks=needs_two_cores if "," in text else ()) for text in LOST]
)
def test_rank_that_was_lost_first_is_named_with_reason_and_phase(
    behaviour: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_WORKER", behaviour)
    deadline = 4.0 if "stopped" in behaviour else 20.0
    failure = launch(make_trial(**TWO_WORKERS, timeout_seconds=deadline) if "," in behaviour else one(), tmp_path)
    assert isinstance(failure, TrialFailure), failure
    assert (failure.reason, failure.message, failure.phase) == (*LOST[behaviour], "training")
    assert failure.wall_seconds > 0


def test_deadline_ends_the_whole_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_WORKER", "grandchild")
    monkeypatch.setenv("FAKE_PID", str(tmp_path / "pid"))
    began = time.monotonic()
    failure = launch(one(timeout_seconds=3.0), tmp_path)
    assert isinstance(failure, TrialFailure), failure
    assert failure.reason is TIMEOUT
    assert failure.message == "the deadline of 3 s passed with rank 0 in phase training"
    assert time.monotonic() - began < 10
    grandchild = int((tmp_path / "pid").read_text())
    assert not psutil.pid_exists(grandchild) or psutil.Process(grandchild).status() == psutil.STATUS_ZOMBIE


def test_phase_that_is_just_being_written_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_WORKER", "between phases")
    failure = launch(one(timeout_seconds=4.0), tmp_path)
    assert isinstance(failure, TrialFailure), failure
    assert (failure.reason, failure.phase) == (TIMEOUT, "process_start")


def test_stopped_trial_ends_within_seconds_and_has_no_outcome(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_WORKER", "hang")
    began = time.monotonic()
    with pytest.raises(TrialStopped):
        run_part(one(), range(1), tmp_path, threading.Event())
    assert not living_workers()
    assert time.monotonic() - began < 8


@needs_two_cores
def test_of_ranks_that_do_not_end_the_furthest_behind_is_to_blame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_WORKER", "hang,never starts")
    failure = launch(make_trial(**TWO_WORKERS, timeout_seconds=4.0), tmp_path)
    assert isinstance(failure, TrialFailure), failure
    assert (failure.reason, failure.phase) == (TIMEOUT, "process_start")
    assert failure.message == "the deadline of 4 s passed with rank 0 in phase training, rank 1 in phase process_start"


def test_folder_of_a_launcher_that_was_killed_is_swept_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    kept, left = tmp_path / "stratbench-trial-kept", tmp_path / "stratbench-trial-left"
    for folder in (kept, left):
        folder.mkdir()
        (folder / "owner").touch()
    with (kept / "owner").open() as owner:
        fcntl.flock(owner, fcntl.LOCK_EX)
        launch(one(), tmp_path)
    assert list(tmp_path.glob("stratbench-trial-*")) == [kept]


@needs_two_cores
def test_unsynchronised_weights_are_invalid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_WORKER", ",unsynchronised")
    result = launch(make_trial(**TWO_WORKERS), tmp_path)
    assert isinstance(result, TrialResult)
    assert result.invalid_reason is InvalidReason.WEIGHTS_DISAGREE


def test_missing_devices_are_a_failure_without_a_process_and_nothing_is_sampled(tmp_path: Path) -> None:
    part = run_part(make_trial(replicas_per_worker=64), range(1), tmp_path)
    assert part.loss
    assert (part.loss.reason, part.loss.phase) == (FailureReason.DEVICES_MISSING, None)
    assert (part.wall_seconds, part.usage) == (0.0, None)


@pytest.mark.parametrize("behaviour", ["", "killed"])
def test_what_was_sampled_is_told_however_the_trial_ended(
    behaviour: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_WORKER", behaviour)
    part = run_part(one(), range(1), tmp_path)
    assert (part.loss is None) == (behaviour == "")
    assert part.usage
    assert part.usage.max_memory_used_bytes
    assert part.usage.gpu_utilisation is None


def test_parent_keeps_its_own_cores(tmp_path: Path) -> None:
    before = os.sched_getaffinity(0)
    launch(one(), tmp_path)
    assert os.sched_getaffinity(0) == before


TWO_HOSTS = make_trial(**TWO_WORKERS, num_hosts=2)


def run_part(trial: Trial, numbers: range, tmp_path: Path, stop: threading.Event | None = None) -> Part:
    """What one machine makes of these ranks; `stop` is set half a second after the first line of output."""

    def on_line(line: str) -> None:
        if stop:
            threading.Timer(0.5, stop.set).start()

    ranks = Ranks(numbers=numbers, addresses=("127.0.0.1:1", "127.0.0.1:2") if trial.num_workers > 1 else ())
    return run_ranks(trial, ranks, devices=CORES, data_directory=tmp_path, on_line=on_line, stop=stop, module=FAKE)


def test_each_machine_runs_its_own_ranks_and_waits_for_no_other(tmp_path: Path) -> None:
    parts = [run_part(TWO_HOSTS, range(place, place + 1), tmp_path) for place in range(2)]
    assert [(part.loss, [outcome.rank for outcome in part.outcomes]) for part in parts] == [(None, [0]), (None, [1])]


def test_part_that_is_stopped_tells_which_rank_was_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The chief's machine stops the others where they come to no end: what they know must reach it."""
    monkeypatch.setenv("FAKE_WORKER", ",stopped")
    with pytest.raises(TrialStopped) as stopped:
        run_part(TWO_HOSTS, range(1, 2), tmp_path, threading.Event())
    part = stopped.value.part
    assert part
    assert part.loss
    assert part.loss.reason is FailureReason.WORKER_STOPPED
    assert part.loss.message == "rank 1 was stopped in phase training"


def test_rank_that_is_done_may_see_another_machine_leave_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_WORKER", ",late error")
    part = run_part(TWO_HOSTS, range(1, 2), tmp_path)
    assert (part.loss, len(part.outcomes)) == (None, 1)
