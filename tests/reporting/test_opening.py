"""The first screen: the answer, literally, for hand-made runs."""

from pathlib import Path

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
from tests.reporting.reports import tables_of, write_text

ACCURACY = {ONE: 0.9901, MIRRORED: 0.9898, WORKERS: 0.9903}


def exact(trial: Trial) -> Outcome:
    accuracies = (0.97, 0.98, 0.985, 0.987, ACCURACY[trial.strategy])
    return make_result(trial, SECONDS[trial.strategy, trial.global_batch_size] + trial.block - 1, accuracies)


def paragraphs(text: str) -> list[str]:
    return text.split("\n## ", 1)[0].split("\n\n")


def test_one_block_gives_an_answer_that_decides_nothing(tmp_path: Path) -> None:
    _, coverage, answer, notes, *_ = paragraphs(write_text(tmp_path, outcome_of=exact))
    assert coverage == (
        "COVERAGE, 2026-11-22: 9 of 9 trials valid (3 strategies x 3 batch sizes x 1 block); 0 invalid, 0 failed, "
        "0 missing. Verdicts: none (1 block, at least 6 needed)."
    )
    assert answer == (
        "**In this one block on 2 CPU slices (1 core each), MirroredStrategy at batch 256 trained 5 epochs in 31.0 s "
        "(n = 1), 1.87 x as fast as one CPU slice at the same batch; MultiWorkerMirroredStrategy needed 34.0 s "
        "there.** **One block cannot separate a difference from noise: no verdict (1 block, at least 6 needed).**"
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


def test_several_blocks_speak_of_medians(tmp_path: Path) -> None:
    answer = paragraphs(write_text(tmp_path, Sweep(num_blocks=3), exact))[2]
    assert answer.startswith(
        "**Over 3 blocks on 2 CPU slices (1 core each), MirroredStrategy at batch 256 trained 5 epochs in 32.0 s "
        "(median, n = 3), 1.84 x as fast"
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
