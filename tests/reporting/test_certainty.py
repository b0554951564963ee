"""How sure: the declared pairs as a table, from one block to as many as decide."""

from pathlib import Path

import pytest

from tasks.domain.outcome import TrialResult
from tasks.domain.trial import Trial
from tests.analysis.example_runs import MIRRORED, ONE, WORKERS, Outcome, grid, make_result, realistic
from tests.reporting.reports import paced, pair, paragraphs, rows_in, section_of, tables_of, write_text

NONE_YET = {"level of the interval", "p (paired t)", "p (sign flips, exact)", "p (equivalence)"}


def one_off(trial: Trial) -> TrialResult:
    """A training like its block's, but for one trial with a gradient that is off by 1e-3 and rounding in the others."""
    is_off = (trial.strategy, trial.global_batch_size, trial.block) == (MIRRORED, 128, 2)
    return make_result(trial, 30.0, gradient_error=1e-3 if is_off else 8.5e-7 * (trial.strategy is not ONE))


@pytest.mark.parametrize("num_blocks", [1, 2, 3, 5])
def test_below_six_blocks_a_pair_has_its_ratio_and_no_verdict(tmp_path: Path, num_blocks: int) -> None:
    text, blocks = write_text(tmp_path, pair(num_blocks), paced(1.8)), f"{num_blocks} block{'s' * (num_blocks > 1)}"
    assert f"Verdicts: none ({blocks}, at least 6 needed)." in paragraphs(text)[1]
    section = section_of(text, "How sure")
    assert f"No verdict: {blocks}, at least 6 needed." in section
    assert f"no verdict ({blocks}, at least 6 needed).**" in paragraphs(text)[2]
    assert f"{blocks}; at least 6 needed" in section_of(text, "The original report")
    rows = rows_in(section)
    for row in rows:
        assert row["verdict"] == f"none yet: {blocks}"
        assert row["times as fast (interval)"] in {"1.80 x", "1.81 x", "1.82 x", "1.20 x", "1.21 x"}
        assert {row[header] for header in NONE_YET} == {"—"}
    assert (rows[0]["range over blocks"] == "1.78 to 1.82") is (num_blocks >= 3), "two values have no spread"
    assert all("(" not in row["speed-up v 1 slice"] for row in rows_in(text))


@pytest.mark.parametrize(
    ("num_blocks", "interval", "sign_flips"),
    [(6, "1.80 x (1.77 to 1.83)", ".031 (cannot decide at 6 blocks)"), (7, "1.80 x (1.78 to 1.82)", ".016")],
)
def test_from_six_blocks_a_pair_has_the_interval_of_holms_level(
    tmp_path: Path, num_blocks: int, interval: str, sign_flips: str
) -> None:
    section = section_of(write_text(tmp_path, pair(num_blocks), paced(1.8)), "How sure")
    first, second = tables_of(section)[0][1:]
    assert first == [
        *("mirrored v one_device", "64", "faster", interval, "97.50 %", "< .0001", sign_flips),
        *("1", "1.78 to 1.82", str(num_blocks)),
    ]
    assert second[0] == "mirrored v one device with all 2 cores"
    assert second[4] == "95.00 %", "the last one that Holm's rule decides"
    assert f"Why no more blocks: {num_blocks} blocks are recorded, the most that were asked for." in section
    assert "the widest pair's half-width is " in section
    assert " % (5 % wanted; 95 % interval of that pair alone, narrower than Holm's)" in section


def test_pairs_of_unequal_n_are_judged_each_by_its_own_blocks(tmp_path: Path) -> None:
    def outcome_of(trial: Trial) -> Outcome:
        return None if (trial.strategy, trial.block) == (MIRRORED, 3) else paced(1.8)(trial)

    text = write_text(tmp_path, pair(strategies=(ONE, MIRRORED, WORKERS)), outcome_of)
    rows = rows_in(text, "How sure")
    assert [(row["blocks"], row["verdict"], row["level of the interval"]) for row in rows] == [
        ("5", "none yet: 5 blocks", "—"),
        ("6", "equivalent", "98.75 %"),
        ("5", "none yet: 5 blocks", "—"),
        ("5", "none yet: 5 blocks", "—"),
        ("6", "slower", "99.00 %"),
    ]
    assert "Holm's rule over 5 declared pairs" in paragraphs(text)[1]
    assert "1.80 x as fast as one CPU slice (n = 5)" in paragraphs(text)[2]
    assert rows_in(text)[1]["n"] == "5 of 6"


def test_how_sure_says_whether_it_was_the_same_training(tmp_path: Path) -> None:
    text = write_text(tmp_path, grid(2, num_epochs=1), one_off)
    assert (
        "The same training: gradients and losses of 2 steps at the initial weights agree with the block's one-device "
        "trial within 8.5e-7 (tolerance 3e-5 in float32), n = 18 trials checked, 1 of them invalid by disagreeing; 0 "
        "without gradients or without a valid one-device trial to check them by." in section_of(text, "How sure")
    )
    (table,) = tables_of(section_of(text, "What failed"))
    assert [row[:2] + row[4:6] for row in table[1:]] == [["mirrored", "128", "invalid", r"gradients\_disagree"]]
    alone = write_text(tmp_path / "alone", pair(1, strategies=(ONE,)), realistic)
    assert "no trial could be checked" in section_of(alone, "How sure")


def test_one_strategy_declares_no_pair(tmp_path: Path) -> None:
    text = write_text(tmp_path, pair(6, strategies=(ONE,)), realistic)
    assert "one strategy, nothing to compare." in section_of(text, "How sure")
    assert tables_of(section_of(text, "How sure")) == []
    assert "**Accuracy: one strategy, nothing to compare.**" in paragraphs(text)[2]
    assert "Against the others" not in text
    assert "OneDeviceStrategy trained an epoch in " in text
