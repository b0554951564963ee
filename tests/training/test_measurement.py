from pathlib import Path

import pytest

from tasks.domain.outcome import FailureReason
from tasks.results.store import RunFolder
from tasks.training import measurement
from tasks.training.measurement import measure_trial, record_loss
from tasks.training.part import Part
from tasks.training.sampling import HostUsage
from tests.analysis.example_runs import make_result, make_run, plan
from tests.examples import DATA


def test_trial_that_was_given_up_too_early_still_leaves_its_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run()
    folder, trial = RunFolder(tmp_path), plan(run)[0]
    folder.create(run)
    record_loss(trial, run_name="full", folder=folder, message="no heartbeat", reason=FailureReason.RUN_LOST)
    monkeypatch.setattr(measurement, "merge_parts", lambda trial, parts: make_result(trial, 30.0))
    for _ in range(2):
        measure_trial(trial, run_name="full", folder=folder, data=DATA, train=lambda on_line: [part()])
        (row,) = folder.read().trials.select(["status", "num_retries"]).to_pylist()
        assert row == {"status": "valid", "num_retries": 1}
        assert folder.num_records() == {trial.key: 2}, "a valid record is the last one"


def test_trial_of_several_machines_is_measured_again_if_one_of_them_was_tainted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run()
    folder, trial = RunFolder(tmp_path), plan(run)[1]
    folder.create(run)
    monkeypatch.setattr(measurement, "merge_parts", lambda trial, parts: make_result(trial, 30.0))
    attempts = iter([[part("h1"), part("h2", contention=0.3)], [part("h1"), part("h2")]])
    measure_trial(trial, run_name="full", folder=folder, data=DATA, train=lambda on_line: next(attempts))
    (row,) = folder.read().trials.select(["status", "hostnames", "num_attempts", "first_taint"]).to_pylist()
    assert row.pop("first_taint").startswith("h2: other processes took 30.0 % of the trial's cores")
    assert row == {"status": "valid", "hostnames": ["h1", "h2"], "num_attempts": 2}


def part(hostname: str = "h1", contention: float = 0.0) -> Part:
    unknown = dict.fromkeys(HostUsage.__dataclass_fields__)
    usage = HostUsage(**(unknown | {"contention": contention, "load_average": 0.1}))  # type: ignore[arg-type]
    return Part(hostname=hostname, outcomes=(), loss=None, wall_seconds=5.0, ended_at=9.0, usage=usage)
