"""A year in seconds: incidents of known date and size, and what the nights' verdict makes of them."""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pyarrow.compute as pc
import pytest

from flows.__main__ import main
from tasks.detection.nights import NightState, Tonight
from tasks.detection.series import COLUMNS
from tasks.detection.synthetic import Noise
from tasks.detection.synthetic_history import BEGAN, Kind, parse_incident, synthesize, write
from tasks.domain.cell import Cell
from tasks.domain.exit_code import ExitCode
from tasks.domain.refusal import Refusal
from tasks.domain.sweep import Sweep
from tasks.results.history import Ending, History, Night
from tasks.results.run import SYNTHETIC, check_run_name
from tasks.results.schema import TRIALS, arrow_schema
from tests.detection.example_nights import judge, states

OK, SUSPECT, REGRESSED = NightState.OK, NightState.SUSPECT, NightState.REGRESSED
CELLS = Sweep(global_batch_sizes=(128,)).cells
NOISE, K = Noise(run=0.03, night=0.005), 6


def make(num_nights: int, *incidents: str, cells: Sequence[Cell] = CELLS, seed: int = 1) -> list[Night]:
    return list(synthesize(NOISE, num_nights, K, seed, [parse_incident(text, num_nights) for text in incidents], cells))


def judged(num_nights: int, *incidents: str) -> Tonight:
    return judge(make(num_nights, *incidents))


def test_quiet_year_has_no_regression() -> None:
    tonight = judged(365)
    assert (tonight.exit_code, tonight.is_synthetic) == (ExitCode.OK, True)
    assert all(REGRESSED not in verdict.states for verdict in (*tonight.verdicts, *tonight.platform))
    assert tonight.noise == pytest.approx(0.03, rel=0.1)


def test_upgrade_that_slows_by_fifteen_percent_is_regressed_and_no_new_baseline() -> None:
    for verdict in judged(42, "upgrade:41:.15").verdicts:
        assert verdict.states[-2:] == (SUSPECT, REGRESSED)
        assert (verdict.cuts, verdict.num_nights) == ((), 30)
        assert verdict.step == BEGAN + timedelta(days=40)
        assert verdict.difference == ("tensorflow_version was 2.21.0, now 2.22.0",)
        assert verdict.change == pytest.approx(1.15, abs=0.05)


def test_only_the_cells_that_are_meant_are_slower() -> None:
    red = [v.label for v in judged(42, "step:41:.15:one_device").verdicts if v.state is REGRESSED]
    assert red == ["one_device, batch 128"]


@pytest.mark.parametrize(("kind", "said"), [("driver", "gpu_driver was synthetic 1"), ("control", "control's commit")])
def test_what_both_arms_share_cuts_and_alarms_nobody(kind: str, said: str) -> None:
    assert set(states(judged(42, f"{kind}:41:.3"))) == {NightState.NO_BASELINE}
    later = judged(60, f"{kind}:41:.3")
    assert set(states(later)) == {OK}
    assert later.platform[0].state is OK
    for verdict in (*later.verdicts, *later.platform):
        (cut,) = verdict.cuts
        assert cut.day == BEGAN + timedelta(days=40)
        assert said in cut.why


def test_cut_says_what_stood_before_it_and_was_not_accepted() -> None:
    (verdict, *_) = judged(42, "step:30:.2", "driver:42").verdicts
    assert verdict.states[-2:] == (REGRESSED, NightState.NO_BASELINE)
    (cut,) = verdict.cuts
    assert cut.why.endswith("gpu_driver was synthetic 1, now synthetic 2; REGRESSED stood before, accepted by nobody")


def test_drift_that_no_night_shows_is_found() -> None:
    tonight = judged(180, "drift:41-160:.06")
    assert set(states(tonight)) == {REGRESSED}
    assert any(verdict.is_drift for verdict in tonight.verdicts)


def test_spike_of_one_night_is_suspect_at_most() -> None:
    one = judged(60, "spike:41:.3").verdicts[0]
    assert one.states[40:42] == (SUSPECT, OK)
    assert REGRESSED not in one.states


def test_nights_of_an_outage_are_left_out_and_of_a_crash_failed() -> None:
    nights = make(60, "outage:41-45", "crash:50")
    assert len(nights) == 55
    assert [night.ending for night in nights].count(Ending.CRASHED) == 1
    assert 0 < nights[44].trials.num_rows < nights[43].trials.num_rows
    one = judge(nights).verdicts[0]
    assert one.states[44:46] == (NightState.FAILED, OK)
    assert one.state is OK


def test_far_out_cells_are_measured_again_in_both_arms() -> None:
    night = make(41, "step:41:.15:one_device")[40]
    again = night.trials.filter(pc.field("role") == "again")
    assert (set(again["strategy"].to_pylist()), again.num_rows) == ({"one_device"}, 2 * 2 * K)
    assert again["block"].to_pylist() == [block for block in range(K + 1, 3 * K + 1) for _ in range(2)]


def test_rows_are_whole_rows_of_a_night() -> None:
    night = make(2, cells=Sweep().cells)[1]
    assert (night.run_name, night.trials.num_rows) == (f"{SYNTHETIC}2025-01-02", 9 * 2 * K)
    assert night.trials.schema.equals(arrow_schema(TRIALS))
    for column in TRIALS:
        assert column.is_nullable or night.trials[column.name].null_count == 0
    rows = night.trials.to_pylist()
    assert len({row["trial_key"] for row in rows}) == len(rows)
    assert rows == sorted(rows, key=lambda row: row["started_at"])
    assert rows[5]["examples_per_second"] * rows[5]["training_seconds"] == pytest.approx(60_000)
    assert {row["hostname"] for row in rows} == {"synthetic"}
    with pytest.raises(Refusal, match="begins as those of synthetic nights do"):
        check_run_name(night.run_name)


def test_same_seed_is_the_same_history() -> None:
    tables = [make(12, "spike:12", seed=seed)[11].trials for seed in (1, 1, 2)]
    assert tables[0].equals(tables[1])
    assert not tables[0].equals(tables[2])


def test_history_is_written_once_and_never_among_other_runs(tmp_path: Path) -> None:
    history, nights = History(tmp_path), make(12, cells=CELLS[:1])
    assert list(write(history, nights)) == [
        "SYNTHETIC: 12 nights with 144 trials",
        "synthetic-2025-01-01 to synthetic-2025-01-12",
    ]
    read = history.nights(COLUMNS)
    assert [night.day for night in read] == [night.day for night in nights]
    assert read[3].trials.equals(nights[3].trials.select(COLUMNS))
    with pytest.raises(Refusal, match="runs already, the last one synthetic-2025-01-12; synthetic"):
        list(write(history, nights))


@pytest.mark.parametrize("text", ["step", "tornado:3", "step:0", "step:13", "step:9-8", "step:3:-2", "step:3:99"])
def test_incident_that_cannot_be_is_refused(text: str) -> None:
    with pytest.raises(Refusal, match=f"incident={text} must"):
        parse_incident(text, 12)


def test_outage_of_every_night_is_refused() -> None:
    with pytest.raises(Refusal, match="no night is left"):
        make(12, "outage:1-12")


def test_every_kind_can_be_named() -> None:
    assert {parse_incident(f"{kind}:3", 12).kind for kind in Kind} == set(Kind)
    with pytest.raises(Refusal, match="is in none of the labels"):
        make(3, "step:2:.1:no such cell")


def test_command_fills_an_empty_history(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["history", "synthesize", "--nights", "3", "--pairs", "4", "--incident", "crash:2"]
    assert main(words) == ExitCode.OK
    assert capsys.readouterr().out.startswith("SYNTHETIC: 3 nights with 180 trials")
    assert main(words) == ExitCode.REFUSED
    assert main(["history", "synthesize", "--nights", "0"]) == ExitCode.REFUSED
