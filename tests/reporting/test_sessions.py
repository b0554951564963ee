"""What is said of two sessions, and that none of it is a verdict."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from tasks.analysis.analysis import Analysis
from tasks.analysis.sessions import compare_sessions
from tasks.domain.loop import Loop
from tasks.domain.reduction import Reduction
from tasks.reporting.html import render
from tasks.reporting.sessions import describe_sessions
from tests.analysis.example_runs import MIRRORED, ONE, WORKERS, session
from tests.reporting.reports import section_of, tables_of


def with_software(analysis: Analysis, tensorflow: str = "2.21.0", **environment: Any) -> Analysis:
    (machine,) = analysis.machines
    changed = dataclasses.replace(
        machine,
        environment={**machine.environment, **environment},
        versions={**machine.versions, "tensorflow_version": (tensorflow,)},
    )
    return dataclasses.replace(analysis, machines=(changed,))


@pytest.fixture(scope="module")
def analyses(tmp_path_factory: pytest.TempPathFactory) -> tuple[Analysis, Analysis]:
    folder = tmp_path_factory.mktemp("sessions")
    return session(folder / "a", (0.6, 0.7, 0.8)), session(folder / "b", (0.9, 1.0, 1.1, 1.2))


def test_table_has_both_ratios_their_quotient_and_both_times(analyses: tuple[Analysis, Analysis]) -> None:
    text = describe_sessions(compare_sessions(*analyses), "runs/a", "runs/b")
    assert tables_of(section_of(text, "Point by point"))[0] == [
        ["strategy", "batch", "A: times as fast as one device", "B: the same", "B / A", "A: s/epoch", "B: s/epoch"],
        ["one_device", "64", "baseline", "baseline", "—", "30.0, n = 3", "30.0, n = 4"],
        [
            *("mirrored", "64", "2.01 x (1.57 to 2.58), n = 3", "2.86 x (2.33 to 3.51), n = 4"),
            *("1.42 x (1.14 to 1.77)", "14.9, n = 3", "10.5, n = 4"),
        ],
    ]


def test_nothing_is_judged_and_the_way_to_a_verdict_is_named(analyses: tuple[Analysis, Analysis]) -> None:
    text = describe_sessions(compare_sessions(*analyses), "runs/a", "runs/b")
    assert text.startswith("# Two sessions side by side\n\n- A: runs/a (run a, begun 2026-11-22)")
    assert "**Nothing is judged here.** Two sessions are two samples of the machine" in text
    assert "`stratbench versus INTERPRETER`" in text
    assert not {"faster", "slower", "equivalent", "inconclusive"} & set(text.replace(".", " ").split())
    assert text.endswith("|\n")


def test_without_an_interval_the_ratios_stand_alone(analyses: tuple[Analysis, Analysis], tmp_path: Path) -> None:
    text = describe_sessions(compare_sessions(session(tmp_path / "c", (0.5, 0.7)), analyses[1]), "c", "b")
    row = tables_of(section_of(text, "Point by point"))[0][2]
    assert row[2] == "1.82 x, n = 2"
    assert row[4] == "1.57 x"


def test_software_that_differs_is_listed_and_the_rest_is_not(analyses: tuple[Analysis, Analysis]) -> None:
    a, b = analyses
    ours = "0123456789abcdef0123456789abcdef01234567"
    newer = with_software(b, "2.22.0", commit="f" * 40, is_commit_clean=False, stratbench_version="0.2.0")
    text = describe_sessions(compare_sessions(a, newer), "a", "b")
    assert tables_of(section_of(text, "What differs in software"))[0][1:] == [
        ["commit", ours, f"{'f' * 40} with uncommitted changes"],
        ["stratbench", "0.1.0", "0.2.0"],
        ["tensorflow", "2.21.0", "2.22.0"],
    ]
    text = describe_sessions(compare_sessions(a, with_software(b, commit=None, is_commit_clean=None)), "a", "b")
    assert tables_of(section_of(text, "What differs in software"))[0][1:] == [["commit", ours, "—"]]


def test_columns_name_what_tells_the_points_apart(tmp_path: Path) -> None:
    reductions = (Reduction.AUTO, Reduction.HIERARCHICAL_COPY)
    a = session(tmp_path / "a", (0.5,), reductions=reductions, loops=(Loop.STEP, Loop.FUSED))
    b = session(tmp_path / "b", (0.5,), strategies=(ONE, MIRRORED, WORKERS), loops=(Loop.STEP,))
    text = describe_sessions(compare_sessions(a, b), "a", "b")
    header, one, mirrored = tables_of(section_of(text, "Point by point"))[0]
    assert header[2:5] == ["reduction", "loop", "steps a call"]
    assert (one[2:5], mirrored[2:5]) == (["—", "step", "1"], ["auto", "step", "1"])
    assert "- Only A has: mirrored (hierarchical_copy), batch 64, step; one_device, batch 64; " in text
    assert text.endswith("- Only B has: multi_worker_mirrored, batch 64, step.\n")


def test_what_a_reader_must_know_of_a_run_stands_beside_its_name(tmp_path: Path) -> None:
    a, b = (session(tmp_path / name, (0.5,), max_train_examples=2048) for name in "ab")
    text = describe_sessions(compare_sessions(a, b), "a", "b")
    assert text.count("SMOKE: first 2,048 training examples only") == 2


def test_text_from_outside_is_shown_and_nothing_else(analyses: tuple[Analysis, Analysis]) -> None:
    a, b = analyses
    b = with_software(b, "<b>2</b> | x", commit="[a](http://host)", operating_system="*new*")
    text = describe_sessions(compare_sessions(a, b), "<script>alert(1)</script>", "b|`c`")
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert r"- B: b\|\`c\` (run b" in text
    assert r"| tensorflow | 2.21.0 | &lt;b&gt;2&lt;/b&gt; \| x |" in text
    assert r"\[a\](http&#58;//host)" in text
    assert r"| operating system | Linux 6.1 | \*new\* |" in text
    page = render(text, lambda image: b"")
    assert "<script" not in page
    assert "<b>" not in page
    assert 'href="http' not in page
