"""Verdicts, acceptances and their undoing on the command line, over synthetic nights."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from flows import locations
from flows.__main__ import main
from tasks.detection.synthetic import Noise
from tasks.detection.synthetic_history import BEGAN, parse_incident, synthesize
from tasks.domain.cell import Cell
from tasks.domain.exit_code import ExitCode
from tasks.domain.strategy import Strategy
from tasks.results.events import Events
from tasks.results.history import History

NIGHTS = 20
CELLS = tuple(
    Cell(strategy=strategy, reduction=reduction, global_batch_size=64)
    for strategy, reduction in ((Strategy.ONE_DEVICE, None), (Strategy.MIRRORED, "auto"))
)
Say = Callable[..., tuple[int, list[str]]]


def day(number: int) -> date:
    return BEGAN + timedelta(days=number - 1)


@pytest.fixture
def say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Say:
    """Exit code and lines of a command."""
    monkeypatch.setenv("STRATBENCH_ROOT", str(tmp_path))

    def run(*words: str) -> tuple[int, list[str]]:
        capsys.readouterr()
        code = main(list(words))
        said = capsys.readouterr()
        return code, (said.out + said.err).splitlines()

    return run


@pytest.fixture
def nights(say: Say) -> None:
    """At the root of `say`: another TensorFlow slows `mirrored` from night 15 on."""
    del say
    incidents = [parse_incident("upgrade:15:.2:mirrored", NIGHTS)]
    for night in synthesize(Noise(run=0.02), NIGHTS, 6, 1, incidents, CELLS):
        History(locations.results()).append_night(night)


def test_no_night_is_not_measured_and_says_what_measures_one(say: Say) -> None:
    none = "NOT MEASURED: the history holds no nightly run"
    way_out = f"{none}; `prefect deployment run benchmark/nightly` measures one"
    assert say("verdict") == (ExitCode.NOT_MEASURED, [way_out])
    assert say("verdict", "2999-01-01")[1] == [f"{none} of 2999-01-01; it is yet to come"]
    refusal = "stratbench history: the history holds no nightly run; there is nothing to accept"
    assert say("history", "accept", "--why", "no reason") == (ExitCode.REFUSED, [refusal])


@pytest.mark.usefixtures("nights")
def test_verdict_names_the_cell_the_change_and_its_cause(say: Say) -> None:
    code, lines = say("verdict")
    assert code == ExitCode.REGRESSED
    assert lines[0].startswith(f"SYNTHETIC, nobody measured this. Night of {day(NIGHTS)}: REGRESSED (synthetic-")
    quiet, red = lines[2:4]
    assert quiet.split()[:4] == ["one_device,", "batch", "64", "OK"]
    assert red.split()[:5] == ["mirrored,", "batch", "64", "REGRESSED", str(day(16))]
    assert f"first seen in the night of {day(15)}; tensorflow_version was 2.21.0, now 2.22.0" in red


@pytest.mark.usefixtures("nights")
def test_verdict_of_an_earlier_night_knows_nothing_of_the_later_ones(say: Say) -> None:
    assert say("verdict", str(day(14)))[0] == ExitCode.OK
    assert say("verdict", str(day(15)))[0] == ExitCode.SUSPECT
    assert say("verdict", str(day(5)))[0] == ExitCode.NO_BASELINE
    assert say("verdict", str(day(NIGHTS + 1)))[0] == ExitCode.NOT_MEASURED
    assert say("verdict", "--run", f"synthetic-{day(14)}")[0] == ExitCode.OK
    refusal = "stratbench verdict: night=yesterday is no day; write it as 2026-11-23"
    assert say("verdict", "yesterday") == (ExitCode.REFUSED, [refusal])


@pytest.mark.parametrize(("age", "code"), [(0, ExitCode.OK), (1, ExitCode.OK), (2, ExitCode.NOT_MEASURED)])
def test_last_night_says_nothing_of_those_that_should_have_followed(say: Say, age: int, code: ExitCode) -> None:
    last = datetime.now(UTC).date() - timedelta(days=age)
    for night in synthesize(Noise(run=0.02), 14, 6, 1, (), CELLS):
        shifted = night.day + (last - day(14))
        History(locations.results()).append_night(replace(night, day=shifted, run_name=f"nightly-{shifted}"))
    found, lines = say("verdict")
    assert found == code
    assert (f"NOT MEASURED: no night since that of {last}" in lines) == (code != ExitCode.OK)
    assert say("verdict", str(last))[0] == say("verdict", "--run", f"nightly-{last}")[0] == ExitCode.OK


@pytest.mark.usefixtures("nights")
def test_verdict_as_json_and_as_a_report(say: Say, tmp_path: Path) -> None:
    document = json.loads("\n".join(say("verdict", "--json")[1]))
    assert (document["state"], document["exit_code"], document["is_synthetic"]) == ("REGRESSED", 10, True)
    assert [verdict["state"] for verdict in document["verdicts"]] == ["OK", "REGRESSED"]
    assert say("verdict", "--report", str(tmp_path / "night"))[1][-1] == str(tmp_path / "night" / "night.md")
    text = (tmp_path / "night" / "night.md").read_text()
    assert text.startswith("# SYNTHETIC: nobody measured this. Night of ")
    assert "Simulated, not measured: with 6 pairs" in text


@pytest.mark.usefixtures("nights")
def test_what_stands_is_accepted_whatever_the_last_night_says(say: Say) -> None:
    last = synthesize(Noise(run=0.02), NIGHTS + 1, 6, 1, [parse_incident(f"crash:{NIGHTS + 1}", NIGHTS + 1)], CELLS)
    History(locations.results()).append_night(list(last)[-1])
    assert say("verdict")[0] == ExitCode.FAILED
    code, lines = say("history", "accept", "--why", "wanted")
    assert (code, len(lines)) == (ExitCode.OK, 1)
    assert "mirrored, batch 64 has a new baseline from the night of" in lines[0]


@pytest.mark.usefixtures("nights")
def test_acceptance_of_another_night_is_refused_or_says_what_it_left(say: Say) -> None:
    for wrong in (day(0), day(NIGHTS + 1)):
        refusal = f"night={wrong} is none of the history; name one from {day(1)} to {day(NIGHTS)}"
        answer = say("history", "accept", "--why", "x", "--night", str(wrong))
        assert answer == (ExitCode.REFUSED, [f"stratbench history: {refusal}"])
    assert not Events(locations.results()).read()
    lines = say("history", "accept", "--why", "x", "--night", str(day(2)))[1]
    assert lines[1:] == ["mirrored, batch 64 is still REGRESSED: it changed after the new baseline had begun"]


@pytest.mark.usefixtures("nights")
def test_acceptance_and_its_undoing_are_events(say: Say) -> None:
    code, lines = say("history", "accept", "--why", "a faster kernel was given up", "--by", "ann")
    event = Events(locations.results()).read()[0]
    assert code == ExitCode.OK
    assert lines == [f"{event.id}: mirrored, batch 64 has a new baseline from the night of {day(15)} on"]
    assert (event.by, event.night, event.cells) == ("ann", day(15), ("mirrored, batch 64",))
    assert say("verdict")[0] == ExitCode.NO_BASELINE
    accepted = f"{day(15)}  new baseline of mirrored, batch 64: accepted by ann: a faster kernel was given up"
    assert say("history", "list")[1][-1] == accepted
    assert say("history", "undo", event.id, "--why", "it was not", "--by", "bob")[0] == ExitCode.OK
    assert say("verdict")[0] == ExitCode.REGRESSED
    listed = say("history", "events")[1][1:]
    assert [line.split()[:5] for line in listed] == [
        [each.id, f"{each.at:%Y-%m-%d}", f"{each.at:%H:%M}", each.kind, counts]
        for each, counts in zip(Events(locations.results()).read(), ("no", "-"), strict=True)
    ]
    labels = [cell.label for cell in CELLS]
    assert say("history", "accept", "--why", "both", "--night", str(day(15)), "--cell", *labels)[0] == ExitCode.OK
    both = [each.id for each in Events(locations.results()).read()[2:]]
    assert [line.split(": ")[1] for line in say("history", "undo", *both, "--why", "neither")[1]] == [
        f"{each} counts no longer" for each in both
    ]
    code, lines = say("history", "undo", event.id, "--why", "again")
    assert code == ExitCode.REFUSED
    assert "is no event that counts" in lines[0]


@pytest.mark.usefixtures("nights")
def test_acceptance_names_cells_that_exist_and_changes_that_happened(say: Say) -> None:
    code, lines = say("history", "accept", "--cell", "mirrored, batch 9", "--why", "typing")
    assert code == ExitCode.REFUSED
    assert lines == [
        f"stratbench history: cell='mirrored, batch 9' was not measured in the night of {day(NIGHTS)}; "
        "name one of one_device, batch 64; mirrored, batch 64; synthetic"
    ]
    code, lines = say("history", "accept", "--cell", "one_device, batch 64", "--why", "other cooling")
    assert code == ExitCode.REFUSED
    assert lines[0].endswith(
        f"has not changed by the night of {day(NIGHTS)}; name the first night of its new baseline by --night"
    )
    assert say("history", "accept", "--by", "", "--why", "x")[1] == [
        "stratbench history: by is empty; say it in a few words, for who reads it in a year"
    ]
    say("history", "accept", "--cell", "one_device, batch 64", "--night", str(day(18)), "--why", "other\ncooling")
    assert len(say("history", "events")[1]) == 2, "a decision is one line"
    assert Events(locations.results()).read()[0].night == day(18)
    say("history", "accept", "--why", "wanted")
    code, lines = say("history", "accept", "--why", "again")
    assert code == ExitCode.REFUSED
    assert lines[0].endswith("name those that are meant by --cell")


@pytest.mark.usefixtures("nights")
def test_night_whose_file_is_damaged_is_never_green(say: Say) -> None:
    assert say("verdict", str(day(14)))[0] == ExitCode.OK
    history = Path(locations.results()) / "history"
    for number in range(15, NIGHTS + 1):
        next(history.glob(f"{day(number)}.*.parquet")).write_bytes(b"PAR1 and no more")
    code, lines = say("verdict")
    assert code == ExitCode.NOT_MEASURED
    assert any(f"Night of {day(14)}: OK" in line for line in lines)
    name = f"history/{day(15)}.synthetic-{day(15)}.0.parquet"
    way_out = "`stratbench history verify` sets it aside, `stratbench history add` takes its run in again"
    assert f"NOT MEASURED: {name} cannot be read; {way_out}" in lines
    assert say("verdict", str(day(15)))[0] == ExitCode.NOT_MEASURED
    assert say("verdict", str(day(14)))[0] == ExitCode.OK, "the nights before know nothing of it"


@pytest.mark.usefixtures("nights")
def test_report_that_has_no_place_is_refused(say: Say, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("mine")
    code, lines = say("verdict", "--report", str(tmp_path / "taken"))
    assert code == ExitCode.REFUSED
    assert lines[-1].endswith("taken cannot be made (File exists); choose another")
