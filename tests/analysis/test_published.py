"""The original report's figures, as printed."""

import tomllib
from pathlib import Path

import pytest

from tasks.analysis import published
from tasks.analysis.published import ClaimName, load_published
from tests.analysis.example_runs import MIRRORED, ONE, WORKERS


def test_setups_are_as_printed() -> None:
    setups = load_published().setups
    assert [(s.strategy, s.global_batch_sizes, s.training_seconds, s.test_accuracy) for s in setups] == [
        (ONE, (64, 128, 256), (13.37, 16.03), (0.9891, 0.9909)),
        (MIRRORED, (64,), (16.90, 16.90), (0.9915, 0.9915)),
        (MIRRORED, (128,), (14.87, 14.87), (0.9900, 0.9900)),
        (MIRRORED, (256,), (16.10, 16.10), (0.9895, 0.9895)),
        (WORKERS, (), None, (0.9887, 0.9887)),
    ]


def test_seconds_of_several_workers_are_the_sum_of_their_epochs() -> None:
    found = load_published()
    assert found.setups[-1].total_seconds == pytest.approx((21.19, 21.19))
    own_figures = found.claims[ClaimName.MULTI_WORKER_FASTER].own_figures
    assert "4.83 + 4.04 + 4.02 + 3.99 + 4.31 = 21.19 s" in own_figures


def test_lists_by_epoch_are_of_five_epochs_and_end_at_the_figures_after_the_last() -> None:
    for setup in tomllib.loads(Path(published.__file__).with_name(published.FILE).read_text())["setups"]:
        assert all(len(values) == 5 for name, values in setup.items() if name.startswith("epoch_"))
        if "epoch_test_accuracy" in setup:
            assert setup["epoch_test_accuracy"][-1] == setup["test_accuracy"][0]
            assert setup["epoch_test_loss"][-1] == setup["test_loss"]


def test_every_claim_has_its_conclusion_and_figures() -> None:
    assert set(load_published().claims) == set(ClaimName)
