"""Charts: what each must say of itself; that they are the same every time is tested with the report's folder."""

import re
from pathlib import Path

import pytest

from tasks.domain.device import DeviceType
from tasks.domain.loop import Loop
from tasks.domain.outcome import Phase
from tasks.domain.reduction import Reduction
from tasks.domain.strategy import Strategy
from tasks.domain.sweep import Sweep
from tasks.reporting import charts
from tasks.reporting.charts import draw_charts
from tasks.reporting.palette import LOOKS, PHASE_GROUPS
from tests.analysis.example_runs import MIRRORED, ONE, WORKERS, analyze_example, make_result
from tests.reporting.reports import degraded

NAMES = ["01-training-time", "02-scaling", "03-convergence", "04-step-times", "05-phases"]


@pytest.fixture(autouse=True)
def _coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few dots: what is tested does not depend on them."""
    monkeypatch.setattr(charts, "DPI", 20)


def test_every_chart_says_what_it_is_of(tmp_path: Path) -> None:
    analysis = analyze_example(tmp_path, Sweep(max_train_examples=2048, num_blocks=5, num_epochs=2), degraded)
    files = draw_charts(analysis)
    assert sorted(files) == sorted(f"{name}.{kind}" for name in NAMES for kind in ("svg", "png"))
    for name in NAMES:
        text = files[f"{name}.svg"].decode()  # matplotlib leaves every text as a comment beside its outlines
        assert "SMOKE: first 2,048 training examples only" in text
        assert "DEGRADED: 30 of 45 trials valid" in text
        assert "2 CPU slices, 1 core each: not a GPU" in text
        assert "n = 0 to 5 a point" in text
        assert "failed: worker_killed (5 blocks)" in text
        assert "missing (5 blocks)" in text
        assert files[f"{name}.png"].startswith(b"\x89PNG")
        assert b"Software" not in files[f"{name}.png"][:200]
        assert b"<dc:date>" not in files[f"{name}.svg"]


def test_last_second_does_not_touch_the_first_of_the_next_panel(tmp_path: Path) -> None:
    analysis = analyze_example(tmp_path, Sweep(num_epochs=1), lambda trial: make_result(trial, 4.0 / 1.05))
    panels = charts._convergence(analysis).axes[3:]
    assert [panel.get_xticks()[0] for panel in panels] == [0.0] * 3
    assert all(len(panel.get_xticks()) > 2 for panel in panels)
    assert all(panel.get_xticks()[-1] <= 0.96 * panel.get_xlim()[1] for panel in panels)


def test_charts_of_several_loops_name_the_loop(tmp_path: Path) -> None:
    sweep = Sweep(global_batch_sizes=(64, 256), num_epochs=1, loops=tuple(Loop), skip_unsupported=True)
    files = {
        name: content.decode(errors="ignore") for name, content in draw_charts(analyze_example(tmp_path, sweep)).items()
    }
    for name in ("01-training-time", "04-step-times", "05-phases"):
        headings = re.findall(r"<!-- (batch .+) -->", files[f"{name}.svg"])
        assert headings == [f"batch {n} under {loop.label}" for n in (64, 256) for loop in Loop]
    assert all(f"under {loop.label}" in files["02-scaling.svg"] for loop in Loop)
    assert "<!-- Test accuracy under the fused loop -->" in files["03-convergence.svg"]
    assert "Keras fit" not in files["03-convergence.svg"]


def test_reductions_of_a_strategy_have_names_and_markers_of_their_own(tmp_path: Path) -> None:
    sweep = Sweep(strategies=(ONE, MIRRORED), num_epochs=1, reductions=(Reduction.AUTO, Reduction.ONE_DEVICE))
    analysis = analyze_example(tmp_path, sweep)
    keys = charts._strategy_keys(analysis, analysis.points, "ideal")
    assert [(key.get_label(), key.get_fillstyle()) for key in keys[:3]] == [
        *(("OneDeviceStrategy", "full"), ("MirroredStrategy (auto)", "full"), ("MirroredStrategy (one_device)", "none"))
    ]
    assert len(charts.FILLS) == len(Reduction)


@pytest.mark.parametrize(
    ("sweep", "changes"),
    [
        (Sweep(strategies=(WORKERS,), global_batch_sizes=(64,), num_epochs=1, dataset="/data/$x_{\\bad}$\n|<b>"), {}),
        (Sweep(strategies=(MIRRORED, ONE), global_batch_sizes=(256, 64), num_epochs=2), {"device": DeviceType.GPU}),
    ],
)
def test_unusual_runs_have_charts(tmp_path: Path, sweep: Sweep, changes: dict[str, object]) -> None:
    assert len(draw_charts(analyze_example(tmp_path, sweep, **changes))) == 10


def test_run_without_values_has_charts_that_say_so(tmp_path: Path) -> None:
    for name, content in draw_charts(analyze_example(tmp_path, Sweep(num_epochs=1), lambda trial: None)).items():
        if name.endswith(".svg"):
            assert "NOT MEASURED: 0 of 9 trials valid" in content.decode()


def test_every_strategy_has_a_look_of_its_own() -> None:
    assert set(LOOKS) == set(Strategy)
    for part in ("colour", "marker", "line"):
        assert len({getattr(look, part) for look in LOOKS.values()}) == len(Strategy)


def test_every_phase_is_in_one_piece_of_the_bar() -> None:
    assert [phase for group in PHASE_GROUPS for phase in group.phases] == list(Phase)
