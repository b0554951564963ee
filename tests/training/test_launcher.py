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
from tasks.training.launcher import TrialStopped, run_ranks, run_trial
from tasks.training.part import Part, Ranks
from tasks.training.sampling import HostUsage
from tests.examples import make_trial, needs_two_cores

CORES = Devices(cores=tuple(sorted(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else (0, 1))
TWO_WORKERS = {"strategy": Strategy.MULTI_WORKER_MIRRORED, "num_workers": 2, "replicas_per_worker": 1}


@pytest.fixture(autouse=True)
def _project_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))


def launch(trial: Trial, tmp_path: Path, lines: list[str] | None = None) -> TrialResult | TrialFailure:
    seen: list[str] = [] if lines is None else lines
    return run_trial(
        trial, devices=CORES, data_directory=tmp_path, on_line=seen.append, module="tests.training.fake_worker"
    )


def fail(trial: Trial, tmp_path: Path) -> TrialFailure:
    outcome = launch(trial, tmp_path)
    assert isinstance(outcome, TrialFailure), outcome
    assert not living_workers()
    return outcome


def living_workers() -> list[psutil.Process]:
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # ended meanwhile, or waits for another test to reap it
            if "tests.training.fake_worker" in process.cmdline():
                found.append(process)
    return found


def one(**changes: object) -> Trial:
    return make_trial(strategy=Strategy.ONE_DEVICE, replicas_per_worker=1, **changes)


def test_good_trial_yields_times_of_the_slowest_and_examples_of_all(tmp_path: Path) -> None:
    lines: list[str] = []
    result = launch(make_trial(**TWO_WORKERS), tmp_path, lines)
    assert isinstance(result, TrialResult), result
    assert (result.invalid_reason, result.message) == (None, None)
    assert [epoch.training_seconds for epoch in result.epochs] == [2.0, 2.0]
    assert [epoch.num_examples for epoch in result.epochs] == [1000, 1000]
    assert result.windows[0].seconds == pytest.approx(0.2)
    assert [probe.projections for probe in result.gradients] == [(0.5, -1.0)]
    assert result.max_resident_bytes == 200
    assert result.is_pinned
    said = [
        "[rank 0] hello from rank 0",
        "[rank 0] in a cluster",
        "[rank 1] hello from rank 1",
        "[rank 1] in a cluster",
    ]
    assert sorted(lines) == said


def test_a_cluster_of_the_users_does_not_reach_the_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_CONFIG", '{"cluster": {"worker": ["10.0.0.1:1"]}, "task": {"type": "worker", "index": 0}}')
    lines: list[str] = []
    launch(one(), tmp_path, lines)
    assert lines == ["hello from rank 0"]


def test_ledger_sums_to_the_wall_time(tmp_path: Path) -> None:
    result = launch(one(), tmp_path)
    assert isinstance(result, TrialResult)
    assert sum(result.phase_seconds.values()) == pytest.approx(result.wall_seconds, rel=0.01)
    assert result.phase_seconds["training"] > 0.04


@pytest.mark.parametrize(
    ("behaviour", "reason", "message"),
    [
        ("killed", FailureReason.WORKER_KILLED, "rank 0 was ended by SIGKILL in phase training"),
        ("error", FailureReason.WORKER_ERROR, "rank 0 ended in phase training with ValueError: no such thing"),
        ("exit3", FailureReason.WORKER_ERROR, "rank 0 ended in phase training with exit code 3"),
        ("silent", FailureReason.WORKER_ERROR, "rank 0 ended without an error and without an outcome"),
    ],
)
def test_bad_end_is_a_failure_with_reason_and_phase(
    behaviour: str, reason: FailureReason, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_WORKER", behaviour)
    failure = fail(one(), tmp_path)
    assert (failure.reason, failure.message, failure.phase) == (reason, message, "training")
    assert failure.wall_seconds > 0


def test_deadline_ends_the_whole_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_WORKER", "grandchild")
    monkeypatch.setenv("FAKE_PID", str(tmp_path / "pid"))
    began = time.monotonic()
    failure = fail(one(timeout_seconds=3.0), tmp_path)
    assert failure.reason is FailureReason.TIMEOUT
    assert failure.message == "the deadline of 3 s passed with rank 0 in phase training"
    assert time.monotonic() - began < 10
    grandchild = int((tmp_path / "pid").read_text())
    assert not psutil.pid_exists(grandchild) or psutil.Process(grandchild).status() == psutil.STATUS_ZOMBIE


def test_stopped_trial_ends_within_seconds_and_has_no_outcome(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_WORKER", "hang")
    stop, began = threading.Event(), time.monotonic()
    threading.Timer(1.0, stop.set).start()
    with pytest.raises(TrialStopped):
        run_trial(one(), devices=CORES, data_directory=tmp_path, stop=stop, module="tests.training.fake_worker")
    assert not living_workers()
    assert time.monotonic() - began < 8


@needs_two_cores
def test_one_lost_rank_ends_the_other_and_is_the_one_that_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_WORKER", "hang,killed")
    began = time.monotonic()
    failure = fail(make_trial(**TWO_WORKERS), tmp_path)
    assert (failure.reason, failure.message) == (
        FailureReason.WORKER_KILLED,
        "rank 1 was ended by SIGKILL in phase training",
    )
    assert time.monotonic() - began < 20


@needs_two_cores
def test_the_first_lost_rank_is_named_although_another_ended_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rank 1 raises, and takes its time to end; rank 0 sees that it is gone, and ends at once with an error of that."""
    monkeypatch.setenv("FAKE_WORKER", "follow,slow error")
    failure = fail(make_trial(**TWO_WORKERS), tmp_path)
    assert failure.message == "rank 1 ended in phase training with ValueError: no such thing"


@needs_two_cores
def test_killed_rank_is_named_although_the_others_error_was_noticed_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_WORKER", "error,killed late")
    failure = fail(make_trial(**TWO_WORKERS), tmp_path)
    assert failure.message == "rank 1 was ended by SIGKILL in phase training"


@needs_two_cores
@pytest.mark.parametrize("behaviour", ["follow,stopped", "stopped,follow", "hang,stopped"])
def test_stopped_rank_is_named_whether_the_other_gives_up_or_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, behaviour: str
) -> None:
    monkeypatch.setenv("FAKE_WORKER", behaviour)
    failure = fail(make_trial(**TWO_WORKERS, timeout_seconds=4.0), tmp_path)
    rank = behaviour.split(",").index("stopped")
    assert (failure.reason, failure.message, failure.phase) == (
        FailureReason.WORKER_STOPPED,
        f"rank {rank} was stopped in phase training",
        "training",
    )


@needs_two_cores
def test_of_ranks_that_do_not_end_the_furthest_behind_is_to_blame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_WORKER", "hang,never starts")
    failure = fail(make_trial(**TWO_WORKERS, timeout_seconds=4.0), tmp_path)
    assert (failure.reason, failure.phase) == (FailureReason.TIMEOUT, "process_start")
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


def test_missing_devices_are_a_failure_without_a_process(tmp_path: Path) -> None:
    trial = make_trial(replicas_per_worker=64, global_batch_size=64)
    failure = fail(trial, tmp_path)
    assert (failure.reason, failure.phase, failure.wall_seconds) == (FailureReason.DEVICES_MISSING, None, 0.0)


@pytest.mark.parametrize(("behaviour", "kind"), [("", TrialResult), ("killed", TrialFailure)])
def test_what_was_sampled_is_told_once_however_the_trial_ended(
    behaviour: str, kind: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_WORKER", behaviour)
    usages: list[HostUsage] = []
    outcome = run_trial(
        one(), devices=CORES, data_directory=tmp_path, on_usage=usages.append, module="tests.training.fake_worker"
    )
    assert isinstance(outcome, kind)
    (usage,) = usages
    assert usage.max_memory_used_bytes
    assert usage.gpu_utilisation is None


def test_nothing_is_sampled_where_no_process_starts(tmp_path: Path) -> None:
    usages: list[HostUsage] = []
    trial = make_trial(replicas_per_worker=64, global_batch_size=64)
    run_trial(trial, devices=CORES, data_directory=tmp_path, on_usage=usages.append)
    assert usages == []


def test_parent_keeps_its_own_cores(tmp_path: Path) -> None:
    before = os.sched_getaffinity(0)
    launch(one(), tmp_path)
    assert os.sched_getaffinity(0) == before


TWO_HOSTS = make_trial(**TWO_WORKERS, num_hosts=2)


def run_part(place: int, tmp_path: Path, stop: threading.Event | None = None) -> Part:
    return run_ranks(
        TWO_HOSTS,
        Ranks(numbers=range(place, place + 1), addresses=("127.0.0.1:1", "127.0.0.1:2")),
        devices=CORES,
        data_directory=tmp_path,
        stop=stop,
        module="tests.training.fake_worker",
    )


def test_each_machine_runs_its_own_ranks_and_waits_for_no_other(tmp_path: Path) -> None:
    parts = [run_part(place, tmp_path) for place in range(2)]
    assert [(part.loss, [outcome.rank for outcome in part.outcomes]) for part in parts] == [(None, [0]), (None, [1])]


def test_part_that_is_stopped_tells_which_rank_was_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The chief's machine stops the others where they come to no end: what they know must reach it."""
    monkeypatch.setenv("FAKE_WORKER", ",stopped")
    stop = threading.Event()
    threading.Timer(1.0, stop.set).start()
    with pytest.raises(TrialStopped) as stopped:
        run_part(1, tmp_path, stop)
    part = stopped.value.part
    assert part
    assert part.loss
    assert part.loss.reason is FailureReason.WORKER_STOPPED
    assert part.loss.message == "rank 1 was stopped in phase training"


def test_rank_that_is_done_may_see_another_machine_leave_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_WORKER", ",late error")
    part = run_part(1, tmp_path)
    assert (part.loss, len(part.outcomes)) == (None, 1)
