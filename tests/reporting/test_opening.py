"""The first screen: the answer, literally, for hand-made runs."""

import dataclasses
import re
from pathlib import Path

import pytest

from tasks.domain.loop import Loop
from tasks.domain.trial import Role, Trial
from tests.analysis.example_runs import (
    MIRRORED,
    ONE,
    SECONDS,
    WORKERS,
    Outcome,
    grid,
    make_failure,
    make_result,
    realistic,
)
from tests.reporting.reports import (
    RUNNING,
    paced,
    pair,
    paragraphs,
    rows_in,
    rows_of,
    section_of,
    tables_of,
    verdicts_in,
    versus,
    write_text,
)

LOOPS = grid(strategies=(ONE, MIRRORED), loops=(Loop.FUSED, Loop.KERAS_FIT))
UNDECIDED = "inconclusive: {} blocks would probably decide"
THERE = "OneDeviceStrategy at batch 64 is {} there: {} as fast as here."
ACCURACY = {ONE: 0.9901, MIRRORED: 0.9898, WORKERS: 0.9903}


def exact(trial: Trial) -> Outcome:
    """`SECONDS` for five epochs, one more from block to block; all cores unsplit need 45."""
    seconds = 45.0 if trial.role is Role.REFERENCE else SECONDS[trial.strategy, trial.global_batch_size]
    accuracies = (0.97, 0.98, 0.985, 0.987, ACCURACY[trial.strategy])
    return make_result(trial, seconds + trial.block - 1, accuracies)


def in_loop(trial: Trial, factor: float) -> Outcome:
    """`exact`, but that a mirrored trial under Keras fit takes so many times as long."""
    seconds = SECONDS[trial.strategy, trial.global_batch_size]
    slow = factor if (trial.strategy, trial.loop) == (MIRRORED, Loop.KERAS_FIT) else 1
    return make_result(trial, seconds * slow * trial.num_epochs / 5)


def sentences(text: str) -> list[str]:
    """Those of the answer."""
    return re.findall(r"\*\*(.+?)\*\*", paragraphs(text)[2])


def test_one_block_gives_an_answer_that_decides_nothing(tmp_path: Path) -> None:
    text = write_text(tmp_path, outcome_of=exact)
    _, coverage, _, notes, *_ = paragraphs(text)
    assert coverage == (
        "COVERAGE, 2026-11-22: 13 of 13 trials valid (3 strategies x 3 batch sizes + 3 references + 1 baseline, "
        "1 block); 0 invalid, 0 failed, 0 lost, 0 measured again after others disturbed them. Verdicts: none (1 block, "
        "at least 6 needed)."
    )
    assert sentences(text) == [
        "On 2 CPU slices (1 core each), MirroredStrategy at batch 256 under the fused loop has the smallest median "
        "training time: 6.20 s an epoch (n = 1), 31.0 s for 5 epochs (n = 1). "
        "Against the others at that batch size: 1.87 x as fast as one CPU slice (n = 1); "
        "MultiWorkerMirroredStrategy is 0.912 x as fast (n = 1).",
        "Where this hardware is given and not added, MirroredStrategy at batch 256 is 1.45 x as fast as one device "
        "with all 2 cores (n = 1): whether splitting pays is open.",
        "Accuracy: not decidable (n = 1 seed x 3 batch sizes; at least 3 whole trainings of each needed).",
        "This describes what was seen and decides nothing: no verdict (1 block, at least 6 needed).",
    ]
    assert [note for note in notes.splitlines() if note.startswith(("- Cost", "- Test"))] == [
        "- Cost of MirroredStrategy at batch 256: 12.4 device-seconds an epoch against 11.6 on one CPU slice: a strong "
        "scaling efficiency of 94 % (n = 1).",
        "- Test accuracy after 5 epochs: 98.98 % to 99.03 % over 9 points (medians); 10,000 test examples alone give a "
        "standard error of 0.10 points.",
    ]


def test_batch_sizes_are_set_beside_each_other_where_there_are_several(tmp_path: Path) -> None:
    text = write_text(tmp_path / "none", grid(target_accuracy=0.999), realistic)
    assert text.count(" s an epoch at batch ") == text.count("(99.9 % not always reached)") == 3
    assert "Batch sizes are described" not in write_text(tmp_path / "one", pair(1), realistic)


def test_table_holds_hand_computed_numbers(tmp_path: Path) -> None:
    rows = rows_in(write_text(tmp_path, outcome_of=exact))
    assert rows[0] == {
        "strategy": "one_device",
        "batch": "64",
        "devices": "1 CPU slice",
        "s for 5 epochs": "61.0",
        "speed-up v 1 slice": "baseline",
        "verdict": "baseline",
        "strong efficiency": "baseline",
        "test accuracy": "99.01 %",
        "s to 98.5 %": "36.6",
        "examples/s": "4,920",
        "n": "1",
    }
    assert [*rows[1].values()] == [
        *("mirrored", "64", "2 CPU slices", "33.0", "1.85 x", "none yet: 1 block", "92 %"),
        *("98.98 %", "19.8", "9,090", "1"),
    ]
    assert [*rows[9].values()] == [
        *("one_device (2 cores)", "64", "1 x 2 cores", "short trials only", "—", "—", "—", "—", "—", "6,670", "1")
    ]


@pytest.mark.parametrize(
    ("speed", "noise", "found"),
    [
        (1.8, 0.01, "1.80 x (1.77 to 1.83) as fast as one CPU slice (faster"),
        (1.01, 0.005, "1.01 x (1.00 to 1.02) as fast as one CPU slice (equivalent"),
        (1.05, 0.2, f"1.05 x (0.791 to 1.39) as fast as one CPU slice ({UNDECIDED.format('more than 200')}"),
    ],
)
def test_answer_says_the_verdict_of_the_fastest_point(tmp_path: Path, speed: float, noise: float, found: str) -> None:
    text = write_text(tmp_path, pair(), paced(speed, unsplit=1.0, noise=noise))
    assert f"Against the others at that batch size: {found}, n = 6)." in sentences(text)[0]
    assert not any("decides nothing" in sentence for sentence in sentences(text))
    coverage = paragraphs(text)[1]
    assert "Verdicts at 95 %, Holm's rule over 2 declared pairs; the widest pair's own 95 % interval has a " in coverage


@pytest.mark.parametrize(
    ("unsplit", "noise", "ratio", "verdict", "answer"),
    [
        (1.2, 0.01, "1.50 x (1.48 to 1.52)", "faster", "splitting pays"),
        (2.4, 0.01, "0.750 x (0.741 to 0.759)", "slower", "do not split it"),
        (1.8, 0.01, "1.00 x (0.989 to 1.01)", "equivalent", "splitting makes no difference"),
        (1.65, 0.08, "1.09 x (0.995 to 1.20)", UNDECIDED.format("about 23"), "whether splitting pays is open"),
    ],
)
def test_splitting_is_answered_by_the_verdict_on_the_same_hardware_unsplit(
    tmp_path: Path, unsplit: float, noise: float, ratio: str, verdict: str, answer: str
) -> None:
    assert sentences(write_text(tmp_path, pair(), paced(1.8, unsplit, noise)))[1] == (
        f"Where this hardware is given and not added, MirroredStrategy at batch 64 is {ratio} as fast as one device "
        f"with all 2 cores ({verdict}, n = 6): {answer}."
    )


def test_hardware_is_not_said_to_be_best_unused(tmp_path: Path) -> None:
    """Where one slice beats every strategy, the same hardware as one device is still an answer."""
    text = write_text(tmp_path, pair(), paced(0.6, unsplit=1.5))
    assert "OneDeviceStrategy at batch 64 under the fused loop has the smallest median" in sentences(text)[0]
    assert "one device with all 2 cores" in paragraphs(text)[2]


@pytest.mark.parametrize(
    ("num_blocks", "difference", "swing", "sentence"),
    [
        (3, 0.001, 0.0, "Accuracy is equivalent within 0.30 points between all strategies ({})."),
        (3, 0.005, 0.0, "Accuracy within 0.30 points ({}): different: mirrored v one_device."),
        (4, 0.002, 0.004, "Accuracy within 0.30 points ({}): inconclusive: mirrored v one_device."),
        (2, 0.0, 0.0, "Accuracy: not decidable ({}; at least 3 whole trainings of each needed)."),
    ],
)
def test_accuracy_is_answered_by_its_own_verdict(
    tmp_path: Path, num_blocks: int, difference: float, swing: float, sentence: str
) -> None:
    text = write_text(tmp_path, pair(num_blocks), paced(1.8, accuracy=difference, swing=swing))
    assert sentences(text)[2] == sentence.format(f"n = {num_blocks} seeds x 1 batch size")


EFFECTS = {
    "large": ({"speed": 1.8}, {"faster", "won"}),
    "large the other way": ({"speed": 0.6, "unsplit": 0.4}, {"slower", "faster", "lost"}),
    "none": ({"speed": 1.0, "unsplit": 1.0, "noise": 0.002}, {"equivalent", "drew"}),
    "1 %": ({"speed": 1.01, "unsplit": 1.0, "noise": 0.002}, {"equivalent", "drew"}),
    "none in much noise": ({"speed": 1.0, "unsplit": 1.0, "noise": 0.2}, {"inconclusive"}),
}


@pytest.mark.parametrize("effect", EFFECTS)
@pytest.mark.parametrize("num_blocks", [1, 5, 6])
def test_words_of_a_verdict_stand_where_there_is_one(tmp_path: Path, effect: str, num_blocks: int) -> None:
    pace, words = EFFECTS[effect]
    text = write_text(tmp_path, pair(num_blocks), paced(**pace, accuracy=0.005))
    assert verdicts_in(text) == (words if num_blocks >= 6 else set())
    assert not re.search(r"\b(better|worse|wins?|beats?)\b", text.split("\n## The original report", 1)[0])
    evidence = "".join(row[2] for row in tables_of(section_of(text, "The original report"))[1])
    assert bool(re.search(r"\d x, (faster|slower|equivalent|inconclusive)", evidence)) is (num_blocks >= 6)


def test_whole_trainings_have_their_own_n_beside_short_ones(tmp_path: Path) -> None:
    sweep = pair(num_whole_blocks=3, num_epochs=2)
    text = write_text(tmp_path, sweep, paced(1.8))
    coverage, answer = paragraphs(text)[1:3]
    assert "1 reference + 1 baseline, 6 blocks, 3 of them whole trainings)" in coverage
    assert "13.2 (13.2 to 13.5) s for 2 epochs (n = 3). Against the others" in answer
    assert "one CPU slice (faster, n = 6)" in answer
    assert "(n = 3 seeds x 1 batch size)" in answer
    mirrored = rows_in(text)[1]
    assert (mirrored["s for 2 epochs"], mirrored["n"]) == ("13.2 (13.2 to 13.5) [n = 3]", "6")
    assert "In parentheses behind a median of n = 3: the range, smallest to largest." in text
    convergence = rows_in(text, "Convergence")
    assert [row["whole trials that reached 98.5 %"] for row in convergence[:2]] == ["0 of 3", "0 of 3"]
    for rows in (rows_in(text), convergence):
        assert [row["s to 98.5 %"] for row in rows] == ["not reached", "not reached", "—"], "no reference was whole"
    trials = next(table for table in tables_of(text) if "epochs" in table[0])
    assert [row["epochs"] for row in rows_of(trials)] == [*"222111", *"222111", *"111111"]


def test_run_that_goes_on_is_marked_as_a_first_answer(tmp_path: Path) -> None:
    def outcome_of(trial: Trial) -> Outcome:
        return paced(1.8)(trial) if trial.block < 3 else None

    title, coverage, *_ = paragraphs(write_text(tmp_path / "well", pair(), outcome_of, **RUNNING))
    assert title.startswith("# FIRST ANSWER, NOT THE END: 2 blocks of at least 6 begun, 8 of 24 trials valid. MNIST, ")
    assert "8 of 24 trials valid" in coverage
    assert "16 missing" in coverage
    failing = write_text(
        tmp_path / "ill", pair(), lambda t: make_failure(t) if t.block == 2 else outcome_of(t), **RUNNING
    )
    assert re.match("# FIRST ANSWER, NOT THE END: .*FAILED", failing)


def test_run_that_was_slowed_on_purpose_says_so_and_judges_no_claim(tmp_path: Path) -> None:
    text = write_text(tmp_path, grid(num_epochs=1), lambda t: dataclasses.replace(realistic(t), slowdown=0.05))
    assert text.startswith("# SLOWED ON PURPOSE: by 5 %, as a test. MNIST, reference CNN on 2 CPU slices")
    claims = tables_of(section_of(text, "The original report"))[1]
    assert [row[2].partition(".")[0] for row in claims[1:]].count("This run was slowed on purpose") == 10


@pytest.mark.parametrize(
    ("num_blocks", "speed", "counts", "others"),
    [
        (6, 0.9, (0, 1, 0, 0), [THERE.format("slower", "0.900 x (0.890 to 0.910)")]),
        (6, 1.1, (1, 0, 0, 0), [THERE.format("faster", "1.10 x (1.09 to 1.11)")]),
        (6, 1.01, (0, 0, 1, 0), []),
        (3, 0.9, (0, 0, 0, 0), ["No verdict (3 blocks, at least 6 needed)."]),
    ],
)
def test_versus_answers_whether_the_other_environment_is_slower(
    tmp_path: Path, num_blocks: int, speed: float, counts: tuple[int, ...], others: list[str]
) -> None:
    text = write_text(tmp_path, versus(num_blocks), paced(speed))
    assert paragraphs(text)[0].endswith(": is the other environment slower?")
    assert f"(1 strategy x 1 batch size x 2 environments, {num_blocks} blocks)" in paragraphs(text)[1]
    counted = "{} faster, {} slower, {} equivalent, {} inconclusive".format(*counts)
    first = f"Of 1 point, the other environment against this one: {counted} (n = {num_blocks})."
    assert sentences(text) == [first, *others]
    assert [row["environment"] for row in rows_in(text)] == ["here", "other"]
    assert "## Scaling" not in text
    assert "one_device: other v here" in section_of(text, "How sure")


@pytest.mark.parametrize(
    ("factors", "said"),
    [
        ((2.5, 2.5, 2.5), "turns round: {} 0.739 x, 0.738 x, 0.748 x {} 64, 128, 256, {} 1.85 x, 1.84 x, 1.87 x"),
        ((1.5, 1.5, 1.5), "is the same: {} 1.23 x, 1.23 x, 1.25 x {} 64, 128, 256, {} 1.85 x, 1.84 x, 1.87 x"),
        ((1.5, 2.5, 1.5), "turns round: {} 0.738 x {} 128, {} 1.84 x"),
    ],
)
def test_first_screen_says_what_the_other_loops_make_of_the_order(
    tmp_path: Path, factors: tuple[float, ...], said: str
) -> None:
    """By batch size, how many times as long mirrored trains under Keras fit."""
    by_batch = dict(zip(LOOPS.global_batch_sizes, factors, strict=True))
    text = write_text(tmp_path, LOOPS, lambda t: in_loop(t, by_batch.get(t.global_batch_size, 1.0)))
    said = said.format("MirroredStrategy trained", "as fast at batch", "under the fused loop")
    assert f"Under Keras fit the order against one CPU slice {said} (n = 1; described, not decided)." in sentences(text)
    assert "MirroredStrategy at batch 256 under the fused loop has the smallest median" in sentences(text)[0]


def test_order_under_another_loop_is_not_known_without_one_device(tmp_path: Path) -> None:
    def outcome_of(trial: Trial) -> Outcome:
        return make_failure(trial) if (trial.strategy, trial.loop) == (ONE, Loop.KERAS_FIT) else in_loop(trial, 1.0)

    text = write_text(tmp_path, LOOPS, outcome_of)
    assert "Under Keras fit the order against one CPU slice is not known." in sentences(text)


def test_other_loops_give_no_answer_in_place_of_the_first(tmp_path: Path) -> None:
    assert "31.0 s for 5 epochs" in sentences(write_text(tmp_path / "fast", LOOPS, lambda t: in_loop(t, 0.1)))[0]
    text = write_text(tmp_path, LOOPS, lambda t: make_failure(t) if t.loop is Loop.FUSED else in_loop(t, 1.0))
    assert sentences(text) == [
        "No trial under the fused loop gave a valid result (0 of 6).",
        "There is nothing to compare and no answer.",
    ]
    assert "![No trial gave a valid result (under the fused loop).](charts/01-training-time.svg)" in text


def test_left_out_combination_is_named_with_its_reason(tmp_path: Path) -> None:
    sweep = dataclasses.replace(LOOPS, strategies=(ONE, MIRRORED, WORKERS), num_epochs=1, skip_unsupported=True)
    coverage = paragraphs(write_text(tmp_path, sweep))[1]
    assert "(15 points + 6 references + 2 baselines, 1 block)" in coverage
    assert "Left out: 3 points (Keras 3 does not train by fit under MultiWorkerMirroredStrategy)." in coverage
    coverage = paragraphs(write_text(tmp_path / "whole", LOOPS))[1]
    assert "(2 strategies x 3 batch sizes x 2 loops + 6 references + 2 baselines, 1 block)" in coverage
    assert "Left out" not in coverage


def test_strategy_that_always_fails_leaves_the_verdicts_on_the_others(tmp_path: Path) -> None:
    def outcome_of(trial: Trial, *strategies: str) -> Outcome:
        return make_failure(trial) if trial.strategy in strategies else paced(1.8)(trial)

    sweep = grid(6, global_batch_sizes=(64,), num_epochs=1)
    found = sentences(write_text(tmp_path / "one", sweep, lambda t: outcome_of(t, WORKERS)))
    failed = r"MultiWorkerMirroredStrategy has no valid trial (failed: worker\_killed (6 blocks))"
    assert found[0].endswith(f"as fast as one CPU slice (faster, n = 6); {failed}.")
    assert not any("decides nothing" in sentence for sentence in found)
    found = sentences(write_text(tmp_path / "both", sweep, lambda t: outcome_of(t, WORKERS, ONE)))
    assert found[-1].endswith("decides nothing: no verdict (0 blocks, at least 6 needed).")


def test_pair_without_a_common_block_is_no_result(tmp_path: Path) -> None:
    """Mirrored is valid in block 1, one device in block 2."""

    def outcome_of(trial: Trial) -> Outcome:
        return paced(1.8)(trial) if (trial.strategy is MIRRORED) == (trial.block == 1) else make_failure(trial)

    text = write_text(tmp_path, pair(2), outcome_of)
    answer = sentences(text)
    assert answer[0].endswith(" at that batch size: one CPU slice has no valid trial in the same block.")
    assert answer[1] == (
        "Where this hardware is given and not added, MirroredStrategy at batch 64 has no valid trial beside one device "
        "with all 2 cores in the same block: whether splitting pays is not known."
    )
    assert "- Cost of MirroredStrategy at batch 64: 13.2 device-seconds an epoch (n = 1)." in text
