"""The nightly report: what a reader must find in it, whatever befell the night."""

import dataclasses
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from tasks.detection.backtest import Characteristic
from tasks.detection.nights import judge_nights
from tasks.detection.synthetic import Noise
from tasks.domain.cell import Arm
from tasks.reporting.evidence import Evidence
from tasks.reporting.night import compose_night, night_artifact_markdown, write_night_report
from tasks.results.events import Event, Kind
from tasks.results.history import Ending, Night
from tests.detection.example_nights import GRID, LABELS, Change, Row, day, make_nights, slower
from tests.reporting.reports import paragraphs, rows_in, section_of, tables_of

LAST = 19
"""Number of the last of the example's nights."""
ACCEPTED = Event(
    kind=Kind.ACCEPT,
    at=datetime(2026, 2, 1, tzinfo=UTC),
    by="ann",
    why="more layers | <b>bold</b> [a](b)",
    night=day(12),
    cells=LABELS[1:],
)
KNOWN = Characteristic(
    title="as given",
    noise=Noise(run=0.05, night=0.01),
    num_pairs=14,
    num_cells=9,
    false_alarms_per_configuration_year=0.021,
    error=0.006,
    power={"0.05": {"2": 0.14, "7": 0.56}, "0.10": {"2": 0.91, "7": 1.0}},
)


@cache
def quiet() -> list[Night]:
    """Nights in which nothing happens."""
    return make_nights()


def evidence_of(nights: Sequence[Night], events: Sequence[Event] = (), **fields: Any) -> Evidence:
    tonight = judge_nights(nights, events)
    assert tonight is not None
    return Evidence(tonight=tonight, nights=nights, **fields)


def text_of(nights: Sequence[Night], events: Sequence[Event] = (), **fields: Any) -> str:
    return compose_night(evidence_of(nights, events, **fields), ["charts/night-trend.svg"])


def answer_of(text: str) -> list[str]:
    """The sentences of the first screen."""
    return re.findall(r"\*\*(.+?)\*\*", paragraphs(text)[2])


def upgraded(first: int) -> Change:
    """Slower from that night on, with another TensorFlow."""

    def change(night: int, row: Row) -> Row | None:
        is_new = night >= first and row["arm"] == "here"
        return slower(first)(night, row | ({"tensorflow_version": "2.22.0"} if is_new else {}))

    return change


def tonight_only(change: Change, last: Ending = Ending.ENDED) -> list[Night]:
    return make_nights(lambda night, row: change(night, row) if night == LAST else row, last=last)


def test_regression_says_how_much_since_when_and_what_was_new() -> None:
    evidence = evidence_of(make_nights(upgraded(18), again=[18]))
    text, red = compose_night(evidence), evidence.tonight.verdicts[1]
    assert paragraphs(text)[0] == "# Night of 2026-01-20 on CPU slices: REGRESSED, 1 of 2 cells"
    assert "2 cells: 1 OK, 1 REGRESSED; 24 of 24 trials with a record are valid" in paragraphs(text)[1]
    assert "on CPU slices (1 core each): not a GPU." in paragraphs(text)[1]
    assert answer_of(text) == [
        f"mirrored, batch 128 is REGRESSED (slower) since tonight: {red.change:.2f} x the seconds of its baseline "
        f"({red.low:.2f} to {red.high:.2f}, 95 %, n = 6 blocks tonight against 18 nights); first seen on 2026-01-19, "
        r"when tensorflow\_version was 2.21.0, now 2.22.0.",
        "The other cell is OK: not far out of the baseline (n = 6 blocks a cell tonight, 19 nights).",
    ]
    row = rows_in(text)[0]
    assert row["v baseline"] == f"{red.change:.2f} x ({red.low:.2f} to {red.high:.2f})"
    assert {name: row[name] for name in ("cell", "state", "last night", "n", "nights", "since")} == {
        **{"cell": "mirrored, batch 128", "state": "REGRESSED", "last night": "SUSPECT"},
        **{"n": "6", "nights": "18", "since": "2026-01-20"},
    }
    assert "- SUSPECT last night, REGRESSED tonight: mirrored, batch 128." in section_of(text, "What changed")
    assert "stratbench history accept --cell 'mirrored, batch 128' --why" in text


def test_software_is_set_beside_the_night_before_the_control_and_the_baselines_first_night() -> None:
    (row,) = rows_in(text_of(make_nights(upgraded(LAST))), "What changed")
    assert row == {
        "software": r"tensorflow\_version",
        "baseline from 2026-01-01": "2.21.0",
        "night before, 2026-01-19": "2.21.0",
        "tonight": "2.22.0",
        "control tonight": "2.21.0",
    }


def test_quiet_night_is_one_sentence_and_offers_nothing_to_accept() -> None:
    text = text_of(quiet())
    assert paragraphs(text)[0].endswith(": OK, 2 of 2 cells")
    assert answer_of(text) == [
        "All 2 cells are OK: not far out of the baseline (n = 6 blocks a cell tonight, 19 nights)."
    ]
    assert "No state changed." in text
    assert "The software is the same in all that is recorded" in text
    assert "--cell" not in text
    assert "## What was not measured" not in text


def test_suspect_waits_for_the_next_night() -> None:
    text = text_of(make_nights(slower(LAST), again=[LAST]))
    assert "SUSPECT, 1 of 2 cells" in paragraphs(text)[0]
    waits = "far out in both looks of the night; the next night decides; "
    assert answer_of(text)[0].endswith(f"{waits}first seen tonight, when no recorded version changed.")


def test_suspicion_of_the_opposite_hides_nothing_that_stands() -> None:
    def turned(night: int, row: Row) -> Row | None:
        return slower(LAST)(night, row) if night < LAST + 3 else slower(LAST + 3, -0.15)(night, row)

    text = text_of(make_nights(turned, LAST + 4, again=[LAST, LAST + 3]))
    assert paragraphs(text)[0].endswith(": REGRESSED, 1 of 2 cells")
    sentence = answer_of(text)[0]
    assert sentence.startswith("mirrored, batch 128 is SUSPECT: 0.8")
    assert sentence.endswith("; REGRESSED (slower) since 2026-01-21 still stands.")


def test_nights_without_a_verdict_say_why() -> None:
    few: Change = lambda night, row: row if row["block"] <= 2 else None  # noqa: E731
    newer: Change = lambda night, row: row | {"gpu_driver": "580" if night >= 15 else "570"}  # noqa: E731
    driver = r"gpu\_driver was 570, now 580"
    for nights, words in (
        (make_nights(num_nights=1), "NO BASELINE: 0 of 10 comparable nights before"),
        (make_nights(newer), f"NO BASELINE: 4 of 10 comparable nights before, from 2026-01-16 on ({driver})"),
        (tonight_only(few), "INCONCLUSIVE: n = 2 blocks, at least 4 needed"),
        (tonight_only(few, Ending.STOPPED), "INCONCLUSIVE: the night was stopped (n = 2 blocks)"),
    ):
        assert answer_of(text_of(nights)) == [f"All 2 cells and the control on machine node are {words}."]
    row = f"| 2026-01-16 | {driver} | all 2 cells and the control on machine node |"
    assert row in text_of(make_nights(newer))
    assert "- The night was stopped: what it measured is never part of a baseline." in text_of(nights)
    undecided = answer_of(text_of(make_nights(slower(LAST))))[0]
    assert undecided.startswith("mirrored, batch 128 is INCONCLUSIVE: 1.1")
    assert undecided.endswith(" nights), far out and not measured again.")
    nothing = text_of(tonight_only(lambda night, row: None))
    assert paragraphs(nothing)[0].endswith(": NOT MEASURED, 2 of 2 cells")
    assert answer_of(nothing) == ["All 2 cells are NOT MEASURED: n = 0 blocks, at least 4 needed."]
    assert "Tonight's software is not known" in nothing


def test_crashed_night_is_red_and_hides_no_regression() -> None:
    text = text_of(make_nights(slower(16), again=[16], last=Ending.CRASHED))
    assert "FAILED, 2 of 2 cells and machine node; REGRESSED, 1 of 2 cells" in paragraphs(text)[0]
    assert (
        "mirrored, batch 128 is FAILED: the night crashed (n = 6 blocks); REGRESSED (slower) since 2026-01-18 still "
        "stands."
    ) in answer_of(text)
    assert rows_in(text)[1]["state"] == "FAILED, REGRESSED"


def test_trials_without_a_number_are_listed_with_their_reason() -> None:
    def faulty(night: int, row: Row) -> Row | None:
        if row["strategy"] == "mirrored" and row["arm"] == "here":
            return row | {"status": "failed", "training_seconds": None, "reason": "worker_killed"}
        if row["strategy"] == "one_device" and row["block"] == 3:
            return None if row["arm"] == "here" else row | {"first_taint": "others took | 31 %"}
        return row

    text = text_of(tonight_only(faulty))
    assert "mirrored, batch 128 is FAILED: trainings did not end, n = 0 blocks, at least 4 needed." in answer_of(text)
    assert tables_of(section_of(text, "What was not measured"))[0][1:] == [
        [r"one\_device, batch 128", "the control's", "tainted, then valid", "1", "3", r"others took \| 31 %"],
        ["mirrored, batch 128", "tonight's", "failed", "6", "1 to 6", r"worker\_killed"],
        [r"one\_device, batch 128", "tonight's", "missing", "1", "3", "—"],
    ]


def test_planned_cell_that_no_night_has_measured_is_not_passed_over() -> None:
    nights = make_nights()
    nights[-1] = dataclasses.replace(nights[-1], cells=(*LABELS, "mirrored, batch 4096"))
    text = text_of(nights)
    assert paragraphs(text)[0].endswith("NOT MEASURED, 1 of 3 cells")
    assert "3 cells: 2 OK, 1 NOT MEASURED" in paragraphs(text)[1]
    assert "No night has measured 1 planned cell: mirrored, batch 4096." in answer_of(text)
    assert "All" not in answer_of(text)[-1]


def test_machine_that_grew_slow_is_told_apart_from_the_software() -> None:
    text = text_of(make_nights(slower(18, 0.4, arms=("here", "other"))))
    assert paragraphs(text)[0].endswith(": REGRESSED, machine node")
    assert answer_of(text)[0].startswith("The control on machine node is REGRESSED (slower) since tonight: 1.1")
    assert "n = 6 blocks tonight" in answer_of(text)[0]
    assert answer_of(text)[1].startswith("All 2 cells are OK")


def test_without_a_control_the_weaker_method_is_named() -> None:
    text = text_of(make_nights(slower(18), again=[18], arms=[Arm.HERE]))
    assert "a slower machine looks like slower software" in paragraphs(text)[3]
    assert "without a control" in paragraphs(text)[1]
    assert rows_in(text)[0]["s/epoch"].endswith(" s")
    assert "a slower machine looks like" not in text_of(quiet())


def test_accepted_change_names_who_and_why_and_nothing_of_it_becomes_markup(tmp_path: Path) -> None:
    nights = make_nights(
        lambda night, row: slower(12)(night, row | {"hostname": "n|<script>x</script>"}), 25, again=[12]
    )
    path = write_night_report(evidence_of(nights, [ACCEPTED]), tmp_path)
    text, page = path.read_text(encoding="utf-8"), (tmp_path / "night.html").read_text(encoding="utf-8")
    assert paragraphs(text)[0].endswith(": OK, 2 of 2 cells")
    (row,) = rows_in(text, "What changed")
    assert row["from night"] == "2026-01-13"
    assert row["why"] == r"accepted by ann: more layers \| &lt;b&gt;bold&lt;/b&gt; \[a\](b)"
    assert row["of"] == "mirrored, batch 128"
    assert "<script" not in page
    assert "<b>" not in page
    chart = ElementTree.fromstring((tmp_path / "charts" / "night-trend.svg").read_bytes())
    words = [element.text for element in chart.iter() if element.tag.endswith("text")]
    assert f"[1] 2026-01-13: accepted by ann: {ACCEPTED.why}" in words
    assert words.count("[1]") == 1  # in the panel of that cell alone


def test_folder_keeps_what_it_had_and_the_report_is_the_same_every_time(tmp_path: Path) -> None:
    def read() -> dict[str, bytes]:
        return {str(p.relative_to(tmp_path)): p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}

    evidence = evidence_of(make_nights(upgraded(18), again=[18]), characteristic=KNOWN)
    path = write_night_report(evidence, tmp_path)
    assert path == tmp_path / "night.md"
    assert "report.md" not in path.read_text()
    kept = dict.fromkeys(("report.md", "charts/01-training-time.svg"), b"kept")
    for name, content in kept.items():
        (tmp_path / name).write_bytes(content)
    write_night_report(evidence, tmp_path)
    found = read()
    assert found.keys() == {*kept, "charts/night-trend.svg", "night.html", "night.md"}
    assert kept.items() <= found.items()
    assert b"[report.md](report.md)" in found["night.md"]
    assert b'src="data:image/svg+xml;base64,' in found["night.html"]
    write_night_report(evidence, tmp_path)
    assert read() == found


def test_chart_says_what_it_shows_and_draws_the_last_nights_only(tmp_path: Path) -> None:
    faults: Change = lambda night, row: None if night == 100 else upgraded(124)(night, row)  # noqa: E731
    nights = make_nights(faults, 126, again=[124], prefix="synthetic-")
    text = write_night_report(evidence_of(nights), tmp_path).read_text(encoding="utf-8")
    assert text.startswith("# SYNTHETIC: nobody measured this. Night of 2026-05-06")
    alt = re.findall(r"!\[(.+?)\]\(charts/night-trend\.svg\)", text)
    assert alt == [
        "SYNTHETIC: nobody measured this: night after night, cell by cell. REGRESSED: mirrored, batch 128; "
        r"OK: one\_device, batch 128 and the control on machine node"
    ]
    values = rows_in(text, "Night after night")
    assert [values[0]["night"], values[-1]["night"]] == ["2026-05-06", "2026-01-07"]
    assert len(values) == 120
    assert values[0]["mirrored, batch 128"].endswith(" REGRESSED")
    assert values[25]["mirrored, batch 128"] == "NOT MEASURED"
    svg = (tmp_path / "charts" / "night-trend.svg").read_text(encoding="utf-8")
    assert ">SYNTHETIC: nobody measured this</text>" in svg
    assert "the last 120 of 126 nights</text>" in svg
    assert "on CPU slices: not a GPU" in svg
    assert all(f">{word}</text>" in svg for word in ("OK", "SUSPECT", "REGRESSED", "NOT MEASURED"))
    assert ">IMPROVED</text>" not in svg
    assert re.search(r">REGRESSED, 1\.\d+ x its baseline</text>", svg)


def test_many_cells_have_several_charts_and_the_worst_is_in_the_first(tmp_path: Path) -> None:
    more = [cell | {"global_batch_size": 2 * cell["global_batch_size"], "loop": "step"} for cell in GRID]
    nights = make_nights(num_nights=3, cells=[*GRID, *more])
    evidence = evidence_of(nights)
    path = write_night_report(evidence, tmp_path)
    assert sorted(p.name for p in (tmp_path / "charts").iterdir()) == ["night-trend-2.svg", "night-trend.svg"]
    assert path.read_text().count("](charts/night-trend") == 2
    brief = night_artifact_markdown(evidence, path)
    assert brief.count("](data:image/svg+xml;base64,") == 1
    assert tables_of(brief)[0][0] == ["cell", "state", "v baseline", "n"]
    assert "The values" not in brief
    assert "night.md" in brief


def test_worth_of_the_rule_is_quoted_as_simulated_or_said_to_be_unknown() -> None:
    known = section_of(text_of(quiet(), characteristic=KNOWN), "How sure")
    for words in (
        "Simulated, not measured: with 14 pairs of a cell a night, runs that differ by 5 % and nights by 1 %",
        "0.0210 false alarms a cell and year in both directions (standard error 0.00600), 0.189 a year in an",
    ):
        assert words in known
    header = ["slower by", "within 2 nights", "within 7 nights"]
    assert tables_of(known)[0] == [header, ["5 %", "14 %", "56 %"], ["10 %", "91 %", "100 %"]]
    unknown = section_of(text_of(quiet()), "How sure")
    assert re.search(r"Measured over 20 nights: runs of one night differ by [12]\.\d+ %", unknown)
    assert "is not known" in unknown


def test_slowed_and_empty_nights_say_so() -> None:
    slowed = text_of(tonight_only(lambda night, row: row | {"slowdown": 0.2}))
    assert slowed.startswith("# SLOWED ON PURPOSE: by 20 %, as a test. Night of")
    empty = compose_night(evidence_of(make_nights(lambda night, row: None, 1)))
    assert empty.startswith("# Night of 2026-01-01: NOT MEASURED, 2 of 2 cells\n")
    assert "On what devices is not known" in empty
    assert "nothing-measured again" in text_of(quiet(), command="stratbench nothing-measured again")
