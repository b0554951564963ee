"""The report as text: whole, well-formed and honest for every kind of run."""

import dataclasses
import re
from pathlib import Path

import pytest

from tasks.analysis.analysis import analyze
from tasks.domain.device import DeviceType
from tasks.domain.loop import Loop
from tasks.domain.outcome import InvalidReason
from tasks.domain.precision import Precision
from tasks.domain.reduction import Reduction
from tasks.domain.trial import Trial
from tasks.reporting.markdown import Edition
from tasks.reporting.report import compose
from tests.analysis.example_runs import (
    MIRRORED,
    ONE,
    WORKERS,
    Outcome,
    degraded,
    fill,
    grid,
    make_failure,
    make_result,
    make_run,
    plan,
    realistic,
    record_of,
)
from tests.reporting.reports import (
    CHARTS,
    RUNNING,
    paced,
    pair,
    paragraphs,
    rows_in,
    rows_of,
    section_of,
    tables_of,
    versus,
    write_text,
)
from tests.test_markdown import lint

QUESTION = "which strategy, at which batch size?\n\nCOVERAGE, 2026-11-22: "
HEADINGS = [
    "How sure",
    "What the loop does",
    "Scaling",
    "Convergence",
    "Where a step goes",
    "Where the wall time goes",
    "Step times",
    "The machine",
    "What failed",
    "What is held against a trial",
    "The original report",
    "How to repeat it",
]

SMALL = grid(global_batch_sizes=(64,), num_epochs=1, skip_unsupported=True)
AXES = {
    "loop": dataclasses.replace(SMALL, loops=tuple(Loop), min_blocks=3, max_blocks=3),
    "precision": dataclasses.replace(SMALL, precisions=(Precision.FLOAT32, Precision.MIXED_BFLOAT16)),
    "XLA": dataclasses.replace(SMALL, xla=(False, True)),
    "reduction": dataclasses.replace(SMALL, reductions=(Reduction.AUTO, Reduction.RING)),
    "steps a call": dataclasses.replace(SMALL, steps_per_call=(32, 8)),
}
"""A sweep with several values on each axis, by the column that a table then has."""
ALONE = ("one point", "versus")
"""Runs whose points have nothing beside them that scales."""


def first_block(trial: Trial) -> Outcome:
    return realistic(trial) if trial.block == 1 else None


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A report of each kind of run."""
    path = tmp_path_factory.mktemp("texts")
    kinds = {str(n): (grid(n, global_batch_sizes=(64,), num_epochs=2), realistic) for n in (2, 3, 5, 7)} | {
        "1": (grid(), realistic),
        "6": (grid(6, num_epochs=2), realistic),
        "degraded": (grid(num_epochs=1), degraded),
        "degraded 3": (grid(3, num_epochs=1), degraded),
        "smoke": (grid(max_train_examples=2048, num_epochs=1), realistic),
        "lost": (grid(2, num_epochs=1), first_block),
        "empty": (grid(), lambda t: None),
        "all failed": (grid(), make_failure),
        "no one_device": (grid(strategies=(MIRRORED, WORKERS)), realistic),
        "one point": (grid(strategies=(ONE,), global_batch_sizes=(64,), num_epochs=1), realistic),
        "versus": (versus(), paced(0.9)),
        "many epochs": (grid(global_batch_sizes=(64,), num_epochs=25), realistic),
        "not reached": (grid(target_accuracy=0.999, global_batch_sizes=(64,)), realistic),
        "wide": (grid(cores_per_replica=2, num_epochs=1), realistic),
        "short blocks": (pair(num_whole_blocks=3, num_epochs=2), realistic),
    }
    kinds |= {name: (sweep, realistic) for name, sweep in AXES.items()}
    found = {name: write_text(path / name, sweep, outcome_of) for name, (sweep, outcome_of) in kinds.items()}
    found["going on"] = write_text(path / "going on", grid(6, num_epochs=1), first_block, **RUNNING)
    gpus = grid(num_replicas=4, global_batch_sizes=(128, 256), num_epochs=1, is_tf32_enabled=True)
    found["gpus"] = write_text(path / "gpus", gpus, device=DeviceType.GPU)
    return found


def test_headings_stand_in_order(texts: dict[str, str]) -> None:
    failing = ("degraded", "degraded 3", "lost", "empty", "all failed")
    for name, text in texts.items():
        missing = {"What the loop does"} - ({"What the loop does"} if name == "loop" else set())
        missing |= {"Scaling", "Where a step goes"} if name in ALONE else set()
        missing |= {"The original report"} if name == "versus" else set()
        missing |= set() if name in failing else {"What failed"}
        assert re.findall(r"^## (.+)$", text, re.M) == [h for h in HEADINGS if h not in missing], name


def test_no_report_shows_a_value_that_is_none(texts: dict[str, str]) -> None:
    for name, text in texts.items():
        shown = text.replace(InvalidReason.LOSS_NOT_FINITE.doc, "")
        assert not re.search(r"\b(nan|NaN|None|inf|NaT|null|<NA>)\b|n = —", shown), name


def test_every_table_has_rows_of_one_length(texts: dict[str, str]) -> None:
    for name, text in texts.items():
        tables = tables_of(text)
        assert len(tables) >= 8, name
        for table in tables:
            assert {len(row) for row in table} == {len(table[0])}, (name, table[0])


def test_no_two_rows_of_a_table_are_of_the_same(texts: dict[str, str]) -> None:
    """What trained on all cores unsplit, in the other environment or as a denominator is told apart by its names."""
    names = ("strategy", "pair", "batch", "environment", "block", "other loop", "conclusion", "fact", "rule", *AXES)
    for name, text in texts.items():
        for table in tables_of(text):
            keys = [tuple(row[header] for header in names if header in row) for row in rows_of(table)]
            assert len(set(keys)) == len(keys) or table[0][0] == "set-up of the original", (name, table[0])
    references = [row for row in tables_of(texts["1"])[0] if row[0] == "one_device (2 cores)"]
    assert [row[1:3] for row in references] == [[batch, "1 x 2 cores"] for batch in ("64", "128", "256")]
    assert "one_device (4 cores)" in texts["wide"]
    assert "cores)" not in texts["gpus"].split("## The machine", 1)[0]


def test_every_image_has_its_finding_as_its_alternative_text(texts: dict[str, str]) -> None:
    for name, text in texts.items():
        images = re.findall(r"^(.+)\n\n!\[(.+)\]\((.+)\)$", text, re.M)
        expected = [c for c in CHARTS if name not in ALONE or c not in ("02-scaling", "04-step-split")]
        assert [address for *_, address in images] == [f"charts/{chart}.svg" for chart in expected], name
        assert all(finding == alt and len(alt) > 20 and alt.endswith(".") for finding, alt, _ in images), name


def test_findings_are_numbers_with_their_n(texts: dict[str, str]) -> None:
    alts = re.findall(r"^!\[(.+)\]", texts["6"], re.M)
    assert all(
        re.search(r"\(n = 6 a point\)|n = 6 a point[,)]|n = 6 whole|\d of \d+ whole trials", alt) for alt in alts
    )
    assert set(re.findall(r"^!\[(.+)\]", texts["empty"], re.M)) == {
        "No trial gave a valid result: there is nothing to show."
    }


def test_fastest_strategy_is_set_against_one_device_where_it_wins(tmp_path: Path) -> None:
    seconds = {(ONE, 64): 20.0, (ONE, 128): 60.0, (ONE, 256): 50.0}

    def outcome_of(trial: Trial) -> Outcome:
        return make_result(trial, seconds.get((trial.strategy, trial.global_batch_size), 30.0))

    assert (
        "\nMirroredStrategy has the smallest median time of an epoch, over all trials, at 2 of 3 batch sizes: 30.0 s, "
        "against 50.0 s to 60.0 s on one CPU slice (n = 1 a point).\n"
    ) in write_text(tmp_path, grid(strategies=(ONE, MIRRORED), num_epochs=1), outcome_of)


def test_no_adjective_stands_without_a_number(texts: dict[str, str]) -> None:
    words = r"significant|minimal|great|excellent|poor|huge|dramatic|impressive|substantial|slight|much|clearly"
    for name, text in texts.items():
        own = re.sub(r"\*[^*\n]+\*", "", text.replace("**", ""))  # the original's words are in italics
        assert not re.search(rf"\b({words})", own, re.I), name
        assert set(re.findall(r"\bstrong (\w+)", own)) <= {"scaling", "efficiency"}, name


def test_spread_is_a_range_at_three_and_an_interval_with_its_level_from_five(texts: dict[str, str]) -> None:
    for name in ("1", "2"):
        assert "In parentheses" not in texts[name]
        assert not any("(" in row[3] for row in tables_of(texts[name])[0][1:])
    assert "In parentheses behind a median of n = 3: the range, smallest to largest." in texts["3"]
    assert "interval" not in texts["3"].split("\n## ", 1)[0]
    for n, level in ((5, "93.8"), (6, "96.9"), (7, "98.4")):
        words = f"In parentheses behind a median of n = {n}: a {level} % interval for it (order statistics)."
        assert words in texts[str(n)]
    for name in ("5", "6"):
        measured = [row for row in tables_of(texts[name])[0][1:] if "cores" not in row[0]]
        assert all(re.fullmatch(r"[\d.]+ \([\d.]+ to [\d.]+\)", row[3]) for row in measured)
        assert any("(" in row[4] for row in measured) is (name == "6")


def test_point_without_a_number_keeps_its_row_with_the_reason(texts: dict[str, str]) -> None:
    rows = {(row[0], row[1]): row for row in tables_of(texts["degraded"])[0][1:]}
    assert len(rows) == 12
    expected = {
        ("mirrored", "128"): r"failed: worker\_killed",
        ("multi_worker_mirrored", "256"): r"invalid: weights\_disagree",
        ("multi_worker_mirrored", "64"): "lost",
    }
    for key, reason in expected.items():
        assert rows[key][2:] == [reason, *["—"] * 7, "0 of 1"]
    assert r"failed: worker\_killed (3 blocks)" in texts["degraded 3"]
    every = next(table for table in tables_of(texts["degraded"]) if "seed" in table[0])
    shown = {(row[0], row[1]): row[5:] for row in every[1:]}
    assert {key: shown[key] for key in expected} == {key: [why, *["—"] * 5] for key, why in expected.items()}


def test_what_failed_lists_every_problem_with_its_reason(texts: dict[str, str]) -> None:
    section = section_of(texts["degraded"], "What failed")
    assert "3 planned trials of 13 gave no number" in section
    (table,) = tables_of(section)
    assert [row[4] for row in table[1:]] == ["lost", "failed", "invalid"]
    assert table[2][3:] == ["measured", "failed", r"worker\_killed", "training", "rank 1 was ended by SIGKILL"]
    lost = rows_in(texts["lost"], "What failed")
    assert [row["role"] for row in lost] == [*["measured"] * 9, *["reference"] * 3, "baseline"]
    assert "0 failed, 13 lost," in paragraphs(texts["lost"])[1]
    assert "0 failed, 65 missing," in paragraphs(texts["going on"])[1]


def test_what_is_still_to_come_has_not_failed(tmp_path: Path) -> None:
    text = write_text(
        tmp_path,
        grid(6, num_epochs=1),
        lambda trial: degraded(trial) if trial.block == 1 else None,
        **RUNNING,
    )
    section = section_of(text, "What failed")
    assert "3 planned trials of 78 gave no number, 65 more are of blocks that have not begun;" in section
    assert [row[4] for row in tables_of(section)[0][1:]] == ["missing", "failed", "invalid"]
    every = next(table for table in tables_of(text) if "seed" in table[0])
    assert {row["block"] for row in rows_of(every)} == {"1"}


def test_strong_efficiency_is_the_same_wherever_it_stands(texts: dict[str, str]) -> None:
    rows = [row for row in rows_in(texts["6"]) if row["strategy"] == "multi_worker_mirrored"]
    found = [f"{row['strong efficiency'].split(' (')[0]} (batch {row['batch']})" for row in rows]
    assert f"strong scaling efficiency: {', '.join(found)}; n = 6." in texts["6"]
    section = section_of(texts["6"], "Scaling")
    column = [row["strong efficiency (interval)"] for row in rows_in(section)]
    own = sorted(int(column[at].split()[0]) for at in (1, 4, 7))
    assert f"Strong: MirroredStrategy {own[0]} % to {own[-1]} %" in section


NOTHING = "**No trial gave a valid result (0 of 9).** **There is nothing to compare and no answer.**"


@pytest.mark.parametrize(
    ("name", "heading", "words"),
    [
        ("smoke", "", "its times and accuracies answer no question"),
        ("empty", "", f"\n\n{NOTHING}\n\n"),
        ("all failed", "", f"\n\n{NOTHING}\n\n"),
        ("loop", "Step times", "at batch 64 under Keras fit"),
        ("loop", "The original report", "only the trials under the fused loop are judged"),
        ("loop", "What the loop does", "the fused loop trained 1.25 x as fast as the step loop"),
        ("versus", "Step times", "\nMedian step from 12.8 ms ("),  # 12 s for 938 steps here, 13.3 s there
        ("1", "", "a CPU slice is a fixed set of cores, not a GPU"),
        ("gpus", "The machine", "TF32 on."),
        ("short blocks", "Convergence", "6 of 6 whole trials"),
        ("degraded 3", "What is held against a trial", "0 trials measured again because others disturbed it"),
    ],
)
def test_section_says_what_is_so_of_that_kind_of_run(
    texts: dict[str, str], name: str, heading: str, words: str
) -> None:
    assert words in (section_of(texts[name], heading) if heading else texts[name].split("\n## ", 1)[0])


def test_setting_is_named_where_there_are_several_and_nowhere_else(texts: dict[str, str]) -> None:
    assert "under the fused loop" not in texts["1"].replace(paragraphs(texts["1"])[2], "")
    assert "are judged" not in section_of(texts["1"], "The original report")


def test_whole_trainings_alone_are_counted_where_the_others_say_nothing(texts: dict[str, str]) -> None:
    section = section_of(texts["short blocks"], "Convergence")
    found = {(row["strategy"], row["n whole"]) for row in rows_in(section)}
    assert found == {("one_device", "3"), ("mirrored", "3"), ("one_device (2 cores)", "0")}


@pytest.mark.parametrize(
    ("name", "beginning"),
    [
        ("1", f"# MNIST, reference CNN on 2 CPU slices (1 core each): {QUESTION}"),
        ("degraded", "# FAILED: 10 of 13 trials valid. MNIST"),
        ("lost", "# DAMAGED: 13 of 26 trials valid. MNIST"),
        ("going on", "# FIRST ANSWER, NOT THE END: 1 block of at least 6 begun, 13 of 78 trials valid. MNIST"),
        ("smoke", "# SMOKE: first 2,048 training examples only. MNIST"),
        ("empty", "# NOT MEASURED: 0 of 13 trials valid. MNIST"),
        ("all failed", "# NOT MEASURED: 0 of 13 trials valid. MNIST"),
        ("wide", f"# MNIST, reference CNN on 2 CPU slices (2 cores each): {QUESTION}"),
        ("gpus", f"# MNIST, reference CNN on 4 GPUs: {QUESTION}"),
    ],
)
def test_title_says_what_was_measured_and_in_what_state(texts: dict[str, str], name: str, beginning: str) -> None:
    assert texts[name].startswith(beginning)


def test_cpu_slices_are_never_taken_for_gpus(texts: dict[str, str]) -> None:
    assert "2 CPU slices (2 cores each)" in tables_of(texts["wide"])[0][2]
    assert "CPU slice" not in texts["gpus"]
    assert "4 GPUs" in tables_of(texts["gpus"])[0][2]


def test_grid_without_one_device_is_set_against_baselines_of_its_own(texts: dict[str, str]) -> None:
    text = texts["no one_device"]
    assert "(2 strategies x 3 batch sizes + 3 references + 4 baselines, 1 block)" in paragraphs(text)[1]
    section = section_of(text, "Scaling")
    assert [row["batch"] for row in rows_of(tables_of(section)[1])] == ["64", "128", "256", "32"]
    assert "Baseline points: denominators only" in section
    assert {row["speed-up v 1 slice"] for row in rows_in(text)[:6]}.isdisjoint({"—", "baseline"})


@pytest.mark.parametrize("name", AXES)
def test_tables_have_a_column_for_an_axis_that_varies_and_for_no_other(texts: dict[str, str], name: str) -> None:
    for kind in ("1", *AXES):
        opening, *others = tables_of(texts[kind])
        expected = [name] if kind == name else []
        assert [header for header in opening[0] if header == name] == expected, kind
        trials = next(table for table in others if "seed" in table[0])
        assert [header for header in trials[0] if header == name] == expected, kind
    pairs = next(table for table in tables_of(texts[name]) if table[0][0] == "pair")
    assert (name in pairs[0]) == (name != "reduction")
    assert any("(ring)" in row[0] for row in pairs) == (name == "reduction")


def test_section_on_the_loop_holds_each_point_under_the_other_loops(texts: dict[str, str]) -> None:
    section = section_of(texts["loop"], "What the loop does")
    (table,) = tables_of(section)
    assert [row[:3] for row in table[1:]] == [
        *(["one_device", "64", "step"], ["mirrored", "64", "step"], ["multi_worker_mirrored", "64", "step"]),
        *(["one_device", "64", "keras_fit"], ["mirrored", "64", "keras_fit"]),
    ]
    assert table[4][3:] == ["2.00 x", "2.00 to 2.00", "—", "—", "—", "3"]
    assert table[5][7:] == ["1.00 x", "3"]


def test_long_training_shows_ten_epochs_and_the_last(texts: dict[str, str]) -> None:
    (table,) = tables_of(section_of(texts["many epochs"], "Convergence"))
    epochs = [cell for cell in table[0] if cell.startswith("epoch ")]
    assert len(epochs) == 10
    assert epochs[-1] == "epoch 25"


def test_target_is_said_to_be_reached_by_how_many(texts: dict[str, str], tmp_path: Path) -> None:
    rows = rows_in(texts["not reached"])
    assert [row["s to 99.9 %"] for row in rows] == [*["not reached"] * 3, "—"]
    assert "0 of 3 whole trials reached 99.9 % test accuracy within 5 epochs." in texts["not reached"]
    sweep = pair(3, strategies=(ONE,))
    text = write_text(tmp_path, sweep, lambda t: make_result(t, 50.0, (0.99,) if t.block < 3 else (0.9,)))
    assert rows_in(text)[0]["s to 98.5 %"] == "50.0 [2 of 3 reached it]"


def test_why_a_strategy_won_or_lost_is_told_from_the_split_of_its_step(tmp_path: Path) -> None:
    """Per-replica steps of one device: 938 of batch 32 take twice the time of 469 of batch 64."""

    def outcome_of(trial: Trial) -> Outcome:
        if trial.strategy is ONE:
            return make_result(trial, 9.38 if trial.global_batch_size == 64 else 15.008)
        return make_result(trial, 14.07 if trial.strategy is MIRRORED else 6.566)

    section = section_of(
        write_text(tmp_path, pair(strategies=(ONE, MIRRORED, WORKERS)), outcome_of), "Where a step goes"
    )
    assert section.count("- Why ") == 2
    assert "The rest is what replicas wait for each other, the update of every copy" in section
    assert (
        "- Why MirroredStrategy won or lost here: at batch 64 it lost against one device (0.667 x (0.667 to 0.667), "
        "n = 6): of 15.0 ms a step one device needs 8.00 ms for its share, the reduction alone takes 0.900 ms, 6.10 ms "
        "are the rest."
    ) in section
    assert "at batch 64 it won against one device (1.43 x (1.43 to 1.43), n = 6): of 7.00 ms a step" in section
    assert [[*row.values()][2:] for row in rows_in(section)] == [
        ["32", "15.0", "7.00", "0.900", "6"],
        ["32", "7.00", "-1.00", "0.900", "6"],
    ]


def test_rest_of_a_step_is_never_negative(tmp_path: Path) -> None:
    """The reduction is timed alone, so that it may take longer than the whole overhead, as the chart allows for."""
    section = section_of(write_text(tmp_path, pair(1), paced(1.99)), "Where a step goes")
    assert "the reduction alone takes 0.900 ms" in section
    assert not re.search(r"-\d[\d.]* ms are", section)


def test_scaling_is_strong_weak_and_against_the_same_cores_unsplit(tmp_path: Path) -> None:
    rows = rows_in(write_text(tmp_path, pair(), paced(1.8)), "Scaling")
    assert rows[0]["strong efficiency (interval)"] == "baseline"
    assert rows[1]["strong efficiency (interval)"] == "90 % (89 to 91)"
    assert rows[1]["weak efficiency (95 %)"] == "90 % (89 to 91)"
    assert rows[1]["v the same cores unsplit"] == "1.20 x (1.19 to 1.21), faster"
    assert rows[1]["device-s an epoch"] == "13.3"
    assert rows[2]["strategy"] == "one_device (2 cores)"
    assert [rows[2][header] for header in ("speed-up (interval)", "v the same cores unsplit")] == ["—", "—"]


def test_rules_are_listed_with_their_words_and_counts(texts: dict[str, str]) -> None:
    section = section_of(texts["degraded 3"], "What is held against a trial")
    rows = {row["rule"].strip("`"): row for row in rows_in(section)}
    assert {name: row["broken when"] for name, row in rows.items()} == {rule.value: rule.doc for rule in InvalidReason}
    assert {name for name, row in rows.items() if row["trials"] != "0"} == {"weights_disagree"}
    assert rows["weights_disagree"]["trials"] == "3"


def test_trial_that_was_measured_again_is_named_with_what_disturbed_it(tmp_path: Path) -> None:
    sweep, words = pair(1), "others took 31 % of the cores | `x`"
    run = make_run(sweep)
    folder = fill(tmp_path / "run", run, lambda t: None if t.strategy is MIRRORED else realistic(t))
    trial = next(t for t in plan(run) if t.strategy is MIRRORED)
    assert folder.put(record_of(run, realistic(trial), num_attempts=2, first_taint=words))
    text = compose(analyze(run, folder.read()), Edition(str))
    assert "0 lost, 1 measured again after others disturbed them." in paragraphs(text)[1]
    assert tables_of(section_of(text, "What is held against a trial"))[1][1:] == [
        ["mirrored, batch 64 (measured), block 1", "valid", r"others took 31 % of the cores \| \`x\`"]
    ]


def test_reports_keep_the_rules_of_the_documents(texts: dict[str, str], tmp_path: Path) -> None:
    paths = []
    for name in ("degraded 3", "versus", "going on", "loop"):
        paths.append(tmp_path / f"{name.replace(' ', '-')}.md")
        paths[-1].write_text(texts[name], encoding="utf-8")
    assert not lint(paths, "--disable-rules", "line-length")  # generated: a paragraph is one line
