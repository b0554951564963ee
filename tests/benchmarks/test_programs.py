"""What the programs measure and what they refuse; nothing is measured here."""

import sys
from pathlib import Path

import pandas as pd
import pytest

from benchmarks import __main__ as loops
from benchmarks import history, nights, pipeline
from benchmarks.arms import ARMS, NUM_EXAMPLES
from tests.domain.test_sweep import DATA


def test_every_arm_trains_the_same_examples_on_two_cores() -> None:
    trials = [arm.trial(128, DATA, seed=3) for arm in ARMS]
    assert {(t.global_batch_size, t.num_train_examples, t.num_epochs, t.seed) for t in trials} == {
        (128, NUM_EXAMPLES, 1, 3)
    }
    assert {t.num_replicas * (t.cores_per_replica or 0) for t in trials} == {2}
    assert [(t.strategy, t.loop, t.precision) for t in trials] == [(a.strategy, a.loop, a.precision) for a in ARMS]


@pytest.mark.parametrize(
    "words", ["--rounds 0", "--rounds -2", "--pairs 0", "--nights 0", "--steps 0", "--quiet-nights 0"]
)
def test_fewer_than_one_measurement_is_refused(words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["program", *words.split()])
    with pytest.raises(SystemExit) as refused:
        {"--pairs": pipeline, "--rounds": loops, "--quiet-nights": nights}.get(
            words.split(maxsplit=1)[0], history
        ).main()
    assert refused.value.code == f"{words} must be at least 1"


def test_both_arms_find_the_history_whose_steps_are_those_of_its_trials(tmp_path: Path) -> None:
    num_trials, num_steps = history.fill(tmp_path, 12, 12 * 108 * 5)
    assert (num_trials, num_steps) == (12 * 108, 12 * 108 * 5)
    steps = pd.read_parquet(tmp_path / "runs" / "synthetic-2025-01-12" / "steps.parquet")
    trials = pd.read_parquet(tmp_path / "runs" / "history" / "2025-01-12.synthetic-2025-01-12.0.parquet")
    sums = steps.groupby("trial_key")["seconds"].sum().reindex(trials["trial_key"]).to_numpy()
    assert sums == pytest.approx(trials["training_seconds"], rel=0.05)
    readings = [history.measure(arm, tmp_path) for arm in history.ARMS]
    assert all(each.peak_bytes > 2**26 and each.cpu_seconds > 0 for each in readings)
    rows = history.table(readings).splitlines()
    assert [row.split("|")[1].strip() for row in rows[2:]] == [*history.ARMS, "pandas: times as much"]
