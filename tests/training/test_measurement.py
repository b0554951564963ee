from pathlib import Path

import pytest

from tasks.domain.outcome import FailureReason
from tasks.results.store import RunFolder
from tasks.training import measurement
from tasks.training.measurement import measure_trial, record_loss
from tests.analysis.example_runs import make_result, make_run, plan
from tests.examples import DATA


def test_trial_that_was_given_up_too_early_still_leaves_its_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run()
    folder, trial = RunFolder(tmp_path), plan(run)[0]
    folder.create(run)
    record_loss(trial, run_name="full", folder=folder, message="no heartbeat", reason=FailureReason.RUN_LOST)
    monkeypatch.setattr(measurement, "run_trial", lambda trial, **settings: make_result(trial, 30.0))
    for _ in range(2):
        measure_trial(trial, run_name="full", folder=folder, data=DATA)
        assert folder.read().trials.column("status").to_pylist() == ["valid"]
        assert folder.num_records() == {trial.key: 2}, "a valid record is the last one"
