"""The operating characteristic, on a few installations; the figures of the docs come from the command itself."""

import json
from functools import cache

import numpy as np
import pytest

from tasks.detection import backtest
from tasks.detection.backtest import main, measure
from tasks.detection.detector import pairs_needed
from tasks.detection.synthetic import Noise, simulate_nights
from tasks.domain.refusal import Refusal

NOISE = Noise(run=0.05, night=0.01)


def test_detector_keeps_what_the_docs_promise() -> None:
    found = measure(NOISE, pairs_needed(NOISE.run), 30, seed=1)
    assert found.false_alarms_per_configuration_year - 3 * found.error <= 0.1
    assert found.power["0.10"]["2"] >= 0.85
    assert found.power["0.20"]["7"] >= 0.99


def test_fewer_pairs_find_less_and_wilder_nights_cry_wolf() -> None:
    few, many = (measure(NOISE, num_pairs, 10, seed=1) for num_pairs in (6, 24))
    assert few.power["0.10"]["2"] < many.power["0.10"]["2"]
    wild = measure(Noise(run=0.05, night=0.03), 14, 10, seed=1)
    assert wild.false_alarms_per_configuration_year > 0.2


def test_output_says_that_it_is_synthetic_and_json_has_the_figures_by_name(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backtest, "measure", cache(measure))
    main(0.05, 0.01, 4, 10, 7, as_json=False)
    first, *_, last = capsys.readouterr().out.splitlines()
    assert first.startswith("SYNTHETIC: 10 installations of 9 cells")
    assert last.startswith("5 % of the runs are slower by 30 %")
    main(0.05, 0.01, 4, 10, 7, as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert found["false_alarms_per_configuration_year"] >= 0
    assert found["false_alarms_per_installation_year"] == 9 * found["false_alarms_per_configuration_year"]
    assert found["power"].keys() == {"0.05", "0.10", "0.20"}
    assert found["power"]["0.10"].keys() == {"2", "7"}
    assert (found["seed"], found["is_synthetic"], len(found["scenarios"])) == (7, True, 5)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ((0.0, 0.0, 6, 10, 1), "noise=0.0"),
        ((0.05, 1.0, 6, 10, 1), "night_effect=1.0"),
        ((0.05, 0.0, 2, 10, 1), "pairs=2"),
        ((0.05, 0.0, 6, 1, 1), "installations=1"),
        ((0.05, 0.0, 6, 10, -1), "seed=-1"),
    ],
)
def test_nonsense_is_refused(arguments: tuple[float, float, int, int, int], name: str) -> None:
    with pytest.raises(Refusal, match=name):
        main(*arguments, as_json=False)


def test_noise_is_as_stated() -> None:
    noise = Noise(run=0.05, night=0.02, autocorrelation=0.7)
    nights = list(simulate_nights(noise, 2000, 400, np.random.default_rng(1), np.array([0.0, 0.1, 0.1])))
    means = np.array([night.first.mean(axis=1) for night in nights])
    assert nights[0].first.std(axis=1).mean() == pytest.approx(0.05 * np.sqrt(2), rel=0.01)
    assert means.mean(axis=1) == pytest.approx([0, 0.1, 0.1], abs=0.003)
    assert means.std(axis=1) == pytest.approx([0.02] * 3, rel=0.1)
    assert np.corrcoef(means)[0, 1] == pytest.approx(0.7, abs=0.05)
    again = nights[0].measure_again(np.arange(2000) == 3)
    assert again.shape == (2000, 800)
    assert np.isfinite(again).all(axis=1).sum() == 1
