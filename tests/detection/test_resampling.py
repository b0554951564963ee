"""A history's own nights as noise: what is drawn of them, and whether the figures are those of the noise itself."""

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from flows.__main__ import main
from tasks.detection.backtest import measure, measure_history
from tasks.detection.detector import REMEASURED
from tasks.detection.resampling import LEAST_NIGHTS, Resampler
from tasks.detection.synthetic import Noise
from tasks.detection.synthetic_history import BEGAN, parse_incident, synthesize
from tasks.domain.exit_code import ExitCode
from tasks.domain.sweep import Sweep
from tasks.results.history import Night
from tests.detection.example_nights import accept

CELLS = Sweep(global_batch_sizes=(128,)).cells
NOISE, K = Noise(run=0.05, night=0.02), 14


def make(num_nights: int, *incidents: str, noise: Noise = NOISE) -> list[Night]:
    found = [parse_incident(text, num_nights) for text in incidents]
    return list(synthesize(noise, num_nights, K, 1, found, CELLS))


def drawn(resampler: Resampler, copies: int = 40, num_nights: int = 60) -> np.ndarray:
    """Means of nights, of shape (nights, cells)."""
    nights = resampler.simulate(copies, np.random.default_rng(1), np.zeros(num_nights))
    return np.array([night.first.mean(axis=1) for night in nights])


def test_figures_are_those_of_the_noise_behind_the_history() -> None:
    plain = measure(NOISE, K, 20, seed=1)
    found = measure_history(Resampler(make(365)), 60, seed=1)
    truth = plain.false_alarms_per_configuration_year
    assert found.false_alarms_per_configuration_year == pytest.approx(truth, abs=0.15)
    for change, nights in (("0.05", "7"), ("0.10", "2"), ("0.10", "7"), ("0.20", "2")):
        assert found.power[change][nights] == pytest.approx(plain.power[change][nights], abs=0.1)


def test_nights_keep_their_spread_and_what_lasts_from_one_to_the_next() -> None:
    means = drawn(Resampler(make(365, noise=Noise(run=0.01, night=0.02, autocorrelation=0.7))))
    assert means.std() == pytest.approx(0.02, rel=0.15)
    assert np.corrcoef(means[:-1].ravel(), means[1:].ravel())[0, 1] == pytest.approx(0.6, abs=0.1)  # that history's own


def test_second_look_agrees_with_the_first_as_far_as_nights_differ() -> None:
    agreements = {}
    for name, noise in (("nights differ", Noise(run=0.02, night=0.05)), ("runs differ", Noise(run=0.1))):
        source = np.random.default_rng(1)
        firsts, seconds = [], []
        for night in Resampler(make(60, noise=noise)).simulate(30, source, np.full(20, 1.0)):
            firsts.append(night.first.mean(axis=1))
            again = night.measure_again(np.arange(90) < 45)
            assert again.shape == (90, REMEASURED * K)
            assert np.isfinite(again).all(axis=1).tolist() == [True] * 45 + [False] * 45
            seconds.append(again.mean(axis=1))
        first, second = (np.array(each)[:, :45].ravel() for each in (firsts, seconds))
        assert second.mean() == pytest.approx(1.0, abs=0.03), "the change is in it"
        agreements[name] = np.corrcoef(first, second)[0, 1]
    assert agreements["nights differ"] > 0.9
    assert abs(agreements["runs differ"]) < 0.4


def test_levels_between_cuts_are_no_noise() -> None:
    plain, cut = (drawn(Resampler(make(120, *story))).std() for story in ((), ("control:61:.3",)))
    assert cut == pytest.approx(plain, rel=0.1)
    accepted = replace(accept(0), night=BEGAN + timedelta(days=60))
    assert drawn(Resampler(make(120, "step:61:.3"), [accepted])).std() == pytest.approx(plain, rel=0.1)


def test_nights_of_a_change_that_stands_are_no_noise_and_are_told() -> None:
    found = Resampler(make(120, "step:61-90:.3"))
    assert (found.num_alarms, found.num_cells) == (3, 3)
    assert found.num_nights == pytest.approx(90, abs=4)
    assert np.abs(drawn(found)).max() < 0.2


@pytest.mark.parametrize("num_nights", [0, LEAST_NIGHTS - 1])
def test_few_nights_are_refused(num_nights: int, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if num_nights:
        main(["history", "synthesize", "--nights", str(num_nights), "--pairs", "4"])
    assert main(["detector", "backtest", "--history"]) == ExitCode.REFUSED
    assert f"the history has {num_nights} nights of a cell to draw from, it takes 20" in capsys.readouterr().err


def test_command_says_that_it_resampled_and_how_often_the_detector_really_alarmed(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["history", "synthesize", "--nights", "40", "--pairs", "6", "--incident", "step:36:.5"])
    capsys.readouterr()
    words = ["detector", "backtest", "--history", "--installations", "10"]
    assert main(words) == ExitCode.OK
    first, *_, last = capsys.readouterr().out.splitlines()
    assert first.startswith("SYNTHETIC, RESAMPLED: 10 installations of the 9 cells of this history")
    assert last.startswith("In this history itself 9 alarms in 0.7 years")
    assert main([*words, "--json"]) == ExitCode.OK
    found = json.loads(capsys.readouterr().out)
    assert (found["is_synthetic"], found["is_resampled"], found["num_alarms"], found["noise"]) == (True, True, 9, None)
    assert found["power"]["0.10"].keys() == {"2", "7"}
