"""The original report's figures, as printed."""

import tomllib
from pathlib import Path

import pytest

from tasks.analysis import published
from tasks.analysis.published import ClaimName, load_published
from tests.analysis.example_runs import MIRRORED, ONE, WORKERS

FILE = tomllib.loads(Path(published.__file__).with_name("published.toml").read_text())


def test_setups_are_as_printed() -> None:
    setups = load_published().setups
    assert [(s.strategy, s.global_batch_sizes, s.training_seconds, s.test_accuracy) for s in setups] == [
        (ONE, (64, 128, 256), (13.37, 16.03), (0.9891, 0.9909)),
        (MIRRORED, (64,), (16.90, 16.90), (0.9915, 0.9915)),
        (MIRRORED, (128,), (14.87, 14.87), (0.9900, 0.9900)),
        (MIRRORED, (256,), (16.10, 16.10), (0.9895, 0.9895)),
        (WORKERS, (), None, (0.9887, 0.9887)),
    ]


def test_epochs_are_as_printed() -> None:
    _, first, second, third, workers = FILE["setups"]
    assert [s.get("test_loss") for s in FILE["setups"]] == [None, 0.0278, 0.0283, 0.0329, 0.0322]
    assert first["epoch_train_accuracy"] == [0.9502, 0.9852, 0.9895, 0.9927, 0.9940]
    assert first["epoch_train_loss"] == [0.1636, 0.0471, 0.0331, 0.0239, 0.0196]
    assert second["epoch_train_accuracy"] == [0.9437, 0.9827, 0.9883, 0.9909, 0.9932]
    assert second["epoch_train_loss"] == [0.2011, 0.0553, 0.0383, 0.0294, 0.0224]
    assert third["epoch_train_accuracy"] == [0.9209, 0.9791, 0.9855, 0.9881, 0.9911]
    assert third["epoch_train_loss"] == [0.2762, 0.0680, 0.0495, 0.0383, 0.0307]
    assert workers["epoch_train_accuracy"] == [0.9488, 0.9850, 0.9894, 0.9923, 0.9936]
    assert workers["epoch_train_loss"] == [0.1706, 0.0484, 0.0343, 0.0252, 0.0198]
    assert workers["epoch_test_accuracy"] == [0.9847, 0.9883, 0.9878, 0.9900, 0.9887]
    assert workers["epoch_test_loss"] == [0.0478, 0.0333, 0.0373, 0.0301, 0.0322]


def test_seconds_of_several_workers_are_the_sum_of_their_epochs() -> None:
    workers = load_published().setups[-1]
    assert workers.epoch_seconds == (4.83, 4.04, 4.02, 3.99, 4.31)
    assert workers.total_seconds == pytest.approx((21.19, 21.19))
    assert (
        "4.83 + 4.04 + 4.02 + 3.99 + 4.31 = 21.19 s"
        in load_published().claims[ClaimName.MULTI_WORKER_FASTER].own_figures
    )


def test_steps_and_log_are_as_printed() -> None:
    assert FILE["steps_per_epoch"] == [938, 469, 235]
    assert FILE["step_milliseconds"] == [[3, 4], [6, 7], [13, 14]]
    assert FILE["log"] == {"python": "3.12", "operating_system": "native Windows", "is_gpu_shown": False}


def test_every_claim_has_its_conclusion_and_figures() -> None:
    assert set(load_published().claims) == set(ClaimName)
