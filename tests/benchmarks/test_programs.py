"""What the programs measure and what they refuse; nothing is measured here."""

import sys

import pytest

from benchmarks import __main__ as loops
from benchmarks import pipeline
from benchmarks.arms import ARMS, NUM_EXAMPLES
from tests.domain.test_sweep import DATA


def test_every_arm_trains_the_same_examples_on_two_cores() -> None:
    trials = [arm.trial(128, DATA, seed=3) for arm in ARMS]
    assert {(t.global_batch_size, t.num_train_examples, t.num_epochs, t.seed) for t in trials} == {
        (128, NUM_EXAMPLES, 1, 3)
    }
    assert {t.num_replicas * (t.cores_per_replica or 0) for t in trials} == {2}
    assert [(t.strategy, t.loop, t.precision) for t in trials] == [(a.strategy, a.loop, a.precision) for a in ARMS]


@pytest.mark.parametrize("words", ["--rounds 0", "--rounds -2", "--pairs 0"])
def test_fewer_than_one_measurement_is_refused(words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["program", *words.split()])
    with pytest.raises(SystemExit) as refused:
        (pipeline if "--pairs" in words else loops).main()
    assert refused.value.code == f"{words} must be at least 1"
