"""The report as text: whole, well-formed and honest for every kind of run."""

import dataclasses
import re
from pathlib import Path

import pytest

from tasks.domain.device import DeviceType
from tasks.domain.loop import Loop
from tasks.domain.outcome import TrialResult
from tasks.domain.precision import Precision
from tasks.domain.reduction import Reduction
from tasks.domain.sweep import Sweep
from tasks.domain.trial import Trial
from tests.analysis.example_runs import MIRRORED, ONE, WORKERS, make_failure, make_result, realistic
from tests.reporting.reports import degraded, section_of, tables_of, write_text

QUESTION = "which strategy, at which batch size?\n\nCOVERAGE, 2026-11-22: "
HEADINGS = [
    "How sure",
    "What the loop does",
    "Training time",
    "Scaling",
    "Convergence",
    "Where the time goes",
    "Step times",
    "The machine",
    "What failed",
    "The original report",
    "How to repeat it",
]


SMALL = Sweep(global_batch_sizes=(64,), num_epochs=1, skip_unsupported=True)
AXES = {
    "loop": dataclasses.replace(SMALL, loops=tuple(Loop), num_blocks=3),
    "precision": dataclasses.replace(SMALL, precisions=(Precision.FLOAT32, Precision.MIXED_BFLOAT16)),
    "XLA": dataclasses.replace(SMALL, xla=(False, True)),
    "reduction": dataclasses.replace(SMALL, reductions=(Reduction.AUTO, Reduction.RING)),
    "steps a call": dataclasses.replace(SMALL, steps_per_call=(32, 8)),
}
"""A sweep with several values on each axis, by the column that a table then has."""


def one_off(trial: Trial) -> TrialResult:
    """A training like its block's, but for one trial with a gradient that is off by 1e-3 and rounding in the others."""
    is_off = (trial.strategy, trial.global_batch_size, trial.block) == (MIRRORED, 128, 2)
    return make_result(trial, 30.0, gradient_error=1e-3 if is_off else 8.5e-7 * (trial.strategy is not ONE))


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A report of each kind of run."""
    path = tmp_path_factory.mktemp("texts")
    kinds = {str(n): (Sweep(num_blocks=n, num_epochs=2), realistic) for n in (1, 2, 3, 5, 6)} | {
        "degraded": (Sweep(num_epochs=1), degraded),
        "degraded 3": (Sweep(num_blocks=3, num_epochs=1), degraded),
        "smoke": (Sweep(max_train_examples=2048, num_epochs=1), realistic),
        "missing": (Sweep(num_blocks=2, num_epochs=1), lambda t: None if t.block == 2 else realistic(t)),
        "empty": (Sweep(), lambda t: None),
        "all failed": (Sweep(), make_failure),
        "no baseline": (Sweep(strategies=(MIRRORED, WORKERS)), realistic),
        "one point": (Sweep(strategies=(ONE,), global_batch_sizes=(64,), num_epochs=1), realistic),
        "many epochs": (Sweep(global_batch_sizes=(64,), num_epochs=25), realistic),
        "not reached": (Sweep(target_accuracy=0.999, global_batch_sizes=(64,)), realistic),
        "wide": (Sweep(cores_per_replica=2, num_epochs=1), realistic),
        "other data": (Sweep(dataset="fashion_mnist", num_epochs=1), realistic),
    }
    found = {}
    for name, (sweep, outcome_of) in kinds.items():
        found[name] = write_text(path / name, sweep, outcome_of)  # type: ignore[arg-type]
    for name, sweep in AXES.items():
        found[name] = write_text(path / name, sweep)
    found["gradients"] = write_text(path / "gradients", Sweep(num_blocks=2, num_epochs=1), one_off)
    gpus = Sweep(num_replicas=4, is_tf32_enabled=True)
    found["gpus"] = write_text(path / "gpus", gpus, device=DeviceType.GPU)
    return found


def test_headings_stand_in_order(texts: dict[str, str]) -> None:
    for name, text in texts.items():
        found = re.findall(r"^## (.+)$", text, re.M)
        assert [heading for heading in HEADINGS if heading in found] == found, name
        has_problems = name in ("degraded", "degraded 3", "missing", "empty", "all failed", "gradients")
        assert ("What failed" in found) is has_problems, name


def test_no_report_shows_a_value_that_is_none(texts: dict[str, str]) -> None:
    for name, text in texts.items():
        assert not re.search(r"\b(nan|NaN|None|inf|NaT|null|<NA>)\b", text), name


def test_every_table_has_rows_of_one_length(texts: dict[str, str]) -> None:
    for name, text in texts.items():
        tables = tables_of(text)
        assert len(tables) >= 8, name
        for table in tables:
            assert {len(row) for row in table} == {len(table[0])}, (name, table[0])


def test_every_image_has_a_finding_as_its_alternative_text(texts: dict[str, str]) -> None:
    for name, text in texts.items():
        images = re.findall(r"^!\[(.+)\]\((.+)\)$", text, re.M)
        expected = ["01-training-time", "02-scaling", "03-convergence", "05-phases", "04-step-times"]
        if name == "one point":
            expected.remove("02-scaling")  # one strategy is compared with nothing
        assert [address for _, address in images] == [f"charts/{chart}.svg" for chart in expected], name
        assert all(len(alt) > 20 and alt.endswith(".") for alt, _ in images), name


def test_no_adjective_stands_without_a_number(texts: dict[str, str]) -> None:
    words = r"significant|minimal|great|excellent|poor|huge|dramatic|impressive|substantial|slight|much|clearly"
    for name, text in texts.items():
        own = re.sub(r"\*[^*\n]+\*", "", text.replace("**", ""))  # the original's words are in italics
        assert not re.search(rf"\b({words})", own, re.I), name
        assert set(re.findall(r"\bstrong (\w+)", own)) <= {"scaling", "efficiency"}, name


def test_no_verdict_is_given_while_no_pair_is_tested(texts: dict[str, str]) -> None:
    for name, text in texts.items():
        opening = text.split("\n## ", 1)[0]
        assert "Verdicts: none" in opening, name
        assert not re.search(r"\b(faster|slower|better|worse|wins?|beats?)\b", opening), name


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_too_few_blocks_are_said_everywhere(texts: dict[str, str], n: int) -> None:
    text, blocks = texts[str(n)], "1 block" if n == 1 else f"{n} blocks"
    assert f"Verdicts: none ({blocks}, at least 6 needed)." in text
    assert f"no verdict ({blocks}, at least 6 needed).**" in text
    assert "A verdict of faster or slower needs at least 6 blocks" in section_of(text, "How sure")
    assert text.count(f"inconclusive: {blocks}, at least 6 needed") == 9
    assert f"{blocks}; at least 6 needed" in section_of(text, "The original report")


def test_six_blocks_would_do_but_are_not_tested(texts: dict[str, str]) -> None:
    assert "Verdicts: none (6 blocks would do, but this version tests no pair)." in texts["6"]


def test_spread_is_a_range_at_three_and_an_interval_with_its_level_from_five(texts: dict[str, str]) -> None:
    for name in ("1", "2"):
        assert "In parentheses" not in texts[name]
        assert not any("(" in row[3] for row in tables_of(texts[name])[0][1:])
    assert "In parentheses at n = 3: the range, smallest to largest." in texts["3"]
    assert "interval" not in texts["3"].split("\n## ", 1)[0]
    assert "In parentheses at n = 5: smallest to largest, a 93.8 % interval for the median." in texts["5"]
    assert "In parentheses at n = 6: smallest to largest, a 96.9 % interval for the median." in texts["6"]
    assert all(re.fullmatch(r"[\d.]+ \([\d.]+ to [\d.]+\)", row[3]) for row in tables_of(texts["6"])[0][1:])


def test_seeds_stand_beside_strategies_from_two_blocks_on(texts: dict[str, str]) -> None:
    assert "the spread over seeds is not seen" in texts["1"]
    for name in ("2", "3", "6"):
        assert re.search(r"between strategies at most [\d.]+ points, between seeds at most [\d.]+ points", texts[name])
    assert "standard deviation of ln seconds" not in texts["2"]
    assert "standard deviation of ln seconds" in texts["3"]


def test_failed_point_keeps_its_row_without_numbers(texts: dict[str, str]) -> None:
    rows = {(row[0], row[1]): row for row in tables_of(texts["degraded"])[0][1:]}
    assert len(rows) == 9
    expected = {
        ("mirrored", "128"): r"failed: worker\_killed",
        ("multi_worker_mirrored", "256"): r"invalid: weights\_disagree",
        ("multi_worker_mirrored", "64"): "missing",
    }
    for key, reason in expected.items():
        assert rows[key][3:] == [reason, *["—"] * 6, "0 of 1"]
    assert r"failed: worker\_killed (3 blocks)" in texts["degraded 3"]


def test_what_failed_lists_every_problem_with_its_reason(texts: dict[str, str]) -> None:
    section = section_of(texts["degraded"], "What failed")
    assert "3 planned trials of 9 gave no number" in section
    (table,) = tables_of(section)
    assert [row[5] for row in table[1:]] == ["missing", "failed", "invalid"]
    assert table[2][6:] == [r"worker\_killed", "training", "rank 1 was ended by SIGKILL"]


@pytest.mark.parametrize(
    ("name", "beginning"),
    [
        ("1", f"# MNIST, reference CNN on 2 CPU slices (1 core each): {QUESTION}"),
        ("degraded", "# DEGRADED: 6 of 9 trials valid. MNIST"),
        ("missing", "# PARTIAL: 9 of 18 trials valid. MNIST"),
        ("smoke", "# SMOKE: first 2,048 training examples only. MNIST"),
        ("empty", "# NOT MEASURED: 0 of 9 trials valid. MNIST"),
        ("wide", f"# MNIST, reference CNN on 2 CPU slices (2 cores each): {QUESTION}"),
        ("gpus", f"# MNIST, reference CNN on 4 GPUs: {QUESTION}"),
    ],
)
def test_title_says_what_was_measured_and_in_what_state(texts: dict[str, str], name: str, beginning: str) -> None:
    assert texts[name].startswith(beginning)


def test_cpu_slices_are_never_taken_for_gpus(texts: dict[str, str]) -> None:
    assert "a CPU slice is a fixed set of cores, not a GPU" in texts["1"]
    assert "2 CPU slices (2 cores each)" in tables_of(texts["wide"])[0][2]
    assert "CPU slice" not in texts["gpus"]
    assert "4 GPUs" in tables_of(texts["gpus"])[0][2]
    assert "TF32 on." in section_of(texts["gpus"], "The machine")


def test_run_without_one_device_has_no_speedup(texts: dict[str, str]) -> None:
    for row in tables_of(texts["no baseline"])[0][1:]:
        assert row[6:8] == ["—", "—"]
    assert "as fast as one CPU slice" not in texts["no baseline"]


@pytest.mark.parametrize("name", AXES)
def test_tables_have_a_column_for_an_axis_that_varies_and_for_no_other(texts: dict[str, str], name: str) -> None:
    for kind in ("1", *AXES):
        opening, *others = tables_of(texts[kind])
        expected = [name] if kind == name else []
        assert [header for header in opening[0] if header == name] == expected, kind
        trials = next(table for table in others if "seed" in table[0])
        assert [header for header in trials[0] if header == name] == expected, kind
    if name == "reduction":
        assert "MultiWorkerMirroredStrategy (ring) needed" in texts[name]
    pairs = next(table for table in tables_of(texts[name]) if table[0][0] == "pair")
    assert (name in pairs[0]) == (name != "reduction")
    assert any("(ring)" in row[0] for row in pairs) == (name == "reduction")


def test_point_is_named_with_its_setting_where_there_are_several(texts: dict[str, str]) -> None:
    assert "at batch 64 under Keras fit" in section_of(texts["loop"], "Step times")
    assert "under the fused loop" not in texts["1"].replace(texts["1"].split("\n\n")[2], "")
    assert "at batch 64 in float32, " not in texts["1"]


def test_section_on_the_loop_is_there_with_several_loops_only(texts: dict[str, str]) -> None:
    assert [name for name, text in texts.items() if "## What the loop does" in text] == ["loop"]
    section = section_of(texts["loop"], "What the loop does")
    assert "the fused loop trained 1.25 x as fast as the step loop" in section
    (table,) = tables_of(section)
    assert [row[:3] for row in table[1:]] == [
        *(["one_device", "64", "step"], ["mirrored", "64", "step"], ["multi_worker_mirrored", "64", "step"]),
        *(["one_device", "64", "keras_fit"], ["mirrored", "64", "keras_fit"]),
    ]
    assert table[4][3:] == ["2.00 x", "2.00 to 2.00 x", "—", "—", "—", "3"]
    assert table[5][7:] == ["1.00 x", "3"]


def test_claims_say_which_trials_they_are_judged_on(texts: dict[str, str]) -> None:
    assert "only the trials under the fused loop are judged" in section_of(texts["loop"], "The original report")
    assert "are judged" not in section_of(texts["1"], "The original report")


def test_how_sure_says_whether_it_was_the_same_training(texts: dict[str, str]) -> None:
    sure = {name: section_of(text, "How sure") for name, text in texts.items()}
    assert (
        "The same training: gradients and losses of 2 steps at the initial weights agree with the block's one-device "
        "trial within 8.5e-7 (tolerance 3e-5 in float32), n = 12 trials checked, 1 of them invalid by disagreeing; 0 "
        "without gradients or without a valid one-device trial to check them by." in sure["gradients"]
    )
    assert "no trial could be checked; 6 without gradients or without a valid one-device" in sure["no baseline"]
    assert "n = 1 trial checked" not in sure["one point"]
    (table,) = tables_of(section_of(texts["gradients"], "What failed"))
    assert [row[:2] + row[5:7] for row in table[1:]] == [["mirrored", "128", "invalid", r"gradients\_disagree"]]


def test_target_that_no_trial_reached_is_said(texts: dict[str, str]) -> None:
    assert {row[9] for row in tables_of(texts["not reached"])[0][1:]} == {"not reached"}
    assert "0 of 3 trials reached 99.9 % test accuracy within 5 epochs." in texts["not reached"]


def test_long_training_shows_ten_epochs_and_the_last(texts: dict[str, str]) -> None:
    (table,) = tables_of(section_of(texts["many epochs"], "Convergence"))
    epochs = [cell for cell in table[0] if cell.startswith("epoch ")]
    assert len(epochs) == 10
    assert epochs[-1] == "epoch 25"


def test_target_reached_by_some_trials_says_how_many(tmp_path: Path) -> None:
    sweep = Sweep(strategies=(ONE,), global_batch_sizes=(64,), num_blocks=3, num_epochs=1)
    text = write_text(tmp_path, sweep, lambda t: make_result(t, 50.0, (0.99,) if t.block < 3 else (0.9,)))
    assert tables_of(text)[0][1][9] == "50.0 (2 of 3 reached it)"
