"""The first screen: the answer, literally, for hand-made runs."""

import dataclasses
import re
from pathlib import Path

import pytest

from tasks.domain.loop import Loop
from tasks.domain.sweep import Sweep
from tasks.domain.trial import Trial
from tests.analysis.example_runs import (
    MIRRORED,
    ONE,
    SECONDS,
    WORKERS,
    Outcome,
    make_failure,
    make_result,
)
from tests.reporting.reports import section_of, tables_of, write_text

LOOPS = Sweep(strategies=(ONE, MIRRORED), loops=(Loop.FUSED, Loop.KERAS_FIT))
ACCURACY = {ONE: 0.9901, MIRRORED: 0.9898, WORKERS: 0.9903}


def exact(trial: Trial) -> Outcome:
    accuracies = (0.97, 0.98, 0.985, 0.987, ACCURACY[trial.strategy])
    return make_result(trial, SECONDS[trial.strategy, trial.global_batch_size] + trial.block - 1, accuracies)


def in_loop(trial: Trial, factor: float) -> Outcome:
    """`exact`, but that a mirrored trial under Keras fit takes so many times as long."""
    seconds = SECONDS[trial.strategy, trial.global_batch_size]
    return make_result(trial, seconds * (factor if (trial.strategy, trial.loop) == (MIRRORED, Loop.KERAS_FIT) else 1))


def paragraphs(text: str) -> list[str]:
    return text.split("\n## ", 1)[0].split("\n\n")


def test_one_block_gives_an_answer_that_decides_nothing(tmp_path: Path) -> None:
    _, coverage, answer, notes, *_ = paragraphs(write_text(tmp_path, outcome_of=exact))
    assert coverage == (
        "COVERAGE, 2026-11-22: 9 of 9 trials valid (3 strategies x 3 batch sizes x 1 block); 0 invalid, 0 failed, "
        "0 missing. Verdicts: none (1 block, at least 6 needed)."
    )
    assert answer == (
        "**In this one block on 2 CPU slices (1 core each), MirroredStrategy at batch 256 under the fused loop "
        "trained 5 epochs in 31.0 s (n = 1), 1.87 x as fast as one CPU slice at the same batch; "
        "MultiWorkerMirroredStrategy needed 34.0 s there.** **One block cannot separate a difference from noise: no "
        "verdict (1 block, at least 6 needed).**"
    )
    assert notes.splitlines() == [
        "- Smallest median training time at every batch size: MirroredStrategy (64: 33.0 s, 128: 32.0 s, 256: 31.0 s).",
        "- Cost of MirroredStrategy at batch 256: 62.0 device-seconds against 58.0 on one CPU slice, a strong scaling "
        "efficiency of 94 % (n = 1).",
        "- Test accuracy: 98.98 % to 99.03 % over 9 points; strategies in the same block and batch differ by at most "
        "0.05 points (10,000 test examples alone give a standard error of 0.10 points). Equivalence is not tested.",
        "- Condition: a CPU slice is a fixed set of cores, not a GPU; nothing here is measured on GPUs.",
    ]


def test_table_holds_hand_computed_numbers(tmp_path: Path) -> None:
    header, first, second, *_ = tables_of(write_text(tmp_path, outcome_of=exact))[0]
    assert header == [
        "strategy",
        "batch",
        "devices",
        "training s",
        "s/epoch",
        "examples/s",
        "speed-up v 1 slice",
        "strong efficiency",
        "test accuracy",
        "s to 98.5 %",
        "n",
    ]
    assert first == [
        *("one_device", "64", "1 CPU slice", "61.0", "12.2", "4,920"),
        *("baseline", "baseline", "99.01 %", "36.6", "1"),
    ]
    assert second == [
        *("mirrored", "64", "2 CPU slices", "33.0", "6.60", "9,090"),
        *("1.85 x", "92 %", "98.98 %", "19.8", "1"),
    ]


@pytest.mark.parametrize(
    ("factor", "sentence"),
    [
        (
            2.5,
            "**Under Keras fit the order against one CPU slice turns round: MirroredStrategy trained 0.739 x, 0.738 x, "
            "0.748 x as fast at batch 64, 128, 256, under the fused loop 1.85 x, 1.84 x, 1.87 x (n = 1; described, not "
            "decided).**",
        ),
        (
            1.5,
            "**Under Keras fit the order against one CPU slice is the same: MirroredStrategy trained 1.23 x, 1.23 x, "
            "1.25 x as fast at batch 64, 128, 256, under the fused loop 1.85 x, 1.84 x, 1.87 x (n = 1; described, not "
            "decided).**",
        ),
    ],
)
def test_first_screen_says_what_the_other_loops_make_of_the_order(tmp_path: Path, factor: float, sentence: str) -> None:
    text = write_text(tmp_path, LOOPS, lambda t: in_loop(t, factor))
    assert sentence in paragraphs(text)[2]
    assert paragraphs(text)[2].startswith(
        "**In this one block on 2 CPU slices (1 core each), MirroredStrategy at batch 256 "
    )
    assert not re.search(r"\b(faster|slower)\b", paragraphs(text)[2])


def test_order_that_turns_round_at_one_batch_is_named_with_that_batch_alone(tmp_path: Path) -> None:
    text = write_text(tmp_path, LOOPS, lambda t: in_loop(t, 2.5 if t.global_batch_size == 128 else 1.5))
    assert "turns round: MirroredStrategy trained 0.738 x as fast at batch 128, under the fused loop 1.84 x" in text


def test_order_under_another_loop_is_not_known_without_one_device(tmp_path: Path) -> None:
    text = write_text(tmp_path, dataclasses.replace(LOOPS, strategies=(MIRRORED,)))
    assert "**Under Keras fit the order against one CPU slice is not known.**" in paragraphs(text)[2]


def test_answer_is_for_the_first_loop_and_says_so(tmp_path: Path) -> None:
    answer, notes = paragraphs(write_text(tmp_path, LOOPS, lambda t: in_loop(t, 0.1)))[2:4]
    assert "MirroredStrategy at batch 256 under the fused loop trained 5 epochs in 31.0 s" in answer
    assert (
        "Smallest median training time under the fused loop at every batch size: MirroredStrategy (64: 33.0 s" in notes
    )


def test_other_loops_give_no_answer_in_place_of_the_first(tmp_path: Path) -> None:
    text = write_text(tmp_path, LOOPS, lambda t: make_failure(t) if t.loop is Loop.FUSED else in_loop(t, 1.0))
    assert paragraphs(text)[2] == (
        "**No trial under the fused loop gave a valid result (0 of 6).** **There is nothing to compare and no answer.**"
    )
    assert "No trial gave a valid result" in section_of(text, "Training time")
    assert "0 of 0 trials under the fused loop reached" in section_of(text, "Convergence")


def test_left_out_combination_is_named_with_its_reason(tmp_path: Path) -> None:
    sweep = dataclasses.replace(LOOPS, strategies=(ONE, MIRRORED, WORKERS), num_epochs=1, skip_unsupported=True)
    coverage = paragraphs(write_text(tmp_path, sweep))[1]
    assert "15 of 15 trials valid (15 points x 1 block)" in coverage
    assert "Left out: 3 points (Keras 3 does not train by fit under MultiWorkerMirroredStrategy)." in coverage
    assert "Left out" not in paragraphs(write_text(tmp_path / "whole", LOOPS))[1]
    assert "12 of 12 trials valid (2 strategies x 3 batch sizes x 2 loops x 1 block)" in write_text(
        tmp_path / "3", LOOPS
    )


def test_several_blocks_speak_of_medians(tmp_path: Path) -> None:
    answer = paragraphs(write_text(tmp_path, Sweep(num_blocks=3), exact))[2]
    assert answer.startswith(
        "**Over 3 blocks on 2 CPU slices (1 core each), MirroredStrategy at batch 256 under the fused loop "
        "trained 5 epochs in 32.0 s (median, n = 3), 1.84 x as fast"
    )
    assert answer.endswith(
        "**This describes what was seen and decides nothing: no verdict (3 blocks, at least 6 needed).**"
    )


def test_other_strategy_without_a_value_is_named_with_its_reason(tmp_path: Path) -> None:
    text = write_text(tmp_path, outcome_of=lambda t: make_failure(t) if t.strategy is WORKERS else exact(t))
    expected = r"; MultiWorkerMirroredStrategy has no valid trial there (failed: worker\_killed).**"
    assert expected in paragraphs(text)[2]


def test_nothing_valid_is_still_a_report_and_no_answer(tmp_path: Path) -> None:
    for name, outcome_of in (("missing", lambda t: None), ("failed", make_failure)):
        parts = paragraphs(write_text(tmp_path / name, outcome_of=outcome_of))
        assert parts[0].startswith("# NOT MEASURED: 0 of 9 trials valid.")
        assert parts[2] == "**No trial gave a valid result (0 of 9).** **There is nothing to compare and no answer.**"


def test_smoke_run_answers_no_question(tmp_path: Path) -> None:
    notes = paragraphs(write_text(tmp_path, Sweep(max_train_examples=2048)))[3]
    assert "its times and accuracies answer no question" in notes


def test_text_from_outside_cannot_become_markup(tmp_path: Path) -> None:
    evil = "<img src=x onerror=alert(1)>|`x`\n# heading\n| cell | https://evil.example"

    def outcome(trial: Trial) -> Outcome:
        return make_failure(trial, evil) if trial.strategy is ONE else exact(trial)

    sweep = Sweep(dataset=f"/data/{evil}")
    text = write_text(tmp_path, sweep, outcome, command="run ```\n## Not a heading", run_name=evil)
    assert "<img" not in text
    assert "https://" not in text
    assert "\n# heading" not in text
    assert "````sh\nrun ```\n## Not a heading\n````" in text
    for table in tables_of(text):
        assert {len(row) for row in table} == {len(table[0])}


def test_one_strategy_is_compared_with_nothing(tmp_path: Path) -> None:
    sweep = Sweep(strategies=(ONE,), global_batch_sizes=(64,))
    text = write_text(tmp_path, sweep)
    assert "smallest median" not in text.lower()
    assert "## Scaling" not in text
    assert "OneDeviceStrategy trained in " in text
