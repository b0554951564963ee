"""Charts: what each must say of itself; that they are the same every time is tested with the report's folder."""

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.analysis.analysis import Analysis
from tasks.domain.device import DeviceType
from tasks.domain.loop import Loop
from tasks.domain.outcome import Phase
from tasks.domain.reduction import Reduction
from tasks.domain.strategy import Strategy
from tasks.domain.sweep import Sweep
from tasks.domain.trial import Trial
from tasks.reporting import charts, drawing
from tasks.reporting.charts import draw_charts
from tasks.reporting.drawing import LOOKS, PHASE_GROUPS
from tests.analysis.example_runs import (
    MIRRORED,
    ONE,
    WORKERS,
    Outcome,
    analyze_example,
    degraded,
    grid,
    make_failure,
    make_result,
    realistic,
)
from tests.reporting.reports import CHARTS, paced, pair, versus

PER_POINT = [name for name in CHARTS if name not in ("02-scaling", "03-convergence")]
"""Charts with a row a point."""


@pytest.fixture(autouse=True)
def _coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few dots: what is tested does not depend on them."""
    monkeypatch.setattr(drawing, "DPI", 20)


def svgs_of(analysis: Analysis) -> dict[str, bytes]:
    """By name."""
    return {name.removesuffix(".svg"): svg for name, svg in draw_charts(analysis).items() if name.endswith(".svg")}


def test_every_chart_says_what_it_is_of(tmp_path: Path) -> None:
    files = draw_charts(analyze_example(tmp_path, grid(5, max_train_examples=2048, num_epochs=2), degraded))
    assert sorted(files) == sorted(f"{name}.{kind}" for name in CHARTS for kind in ("svg", "png"))
    for name in CHARTS:
        whole = " whole trials" if name in ("03-convergence", "05-phases") else ""
        for words in (
            *("SMOKE: first 2,048 training examples only", "FAILED: 50 of 65 trials valid"),
            *("2 CPU slices, 1 core each: not a GPU", f"n = 0 to 5{whole} a point"),
            *("failed: worker_killed (5 blocks)", "lost (5 blocks)"),
        ):
            assert words in files[f"{name}.svg"].decode(), name  # text stays text
        assert files[f"{name}.png"].startswith(b"\x89PNG")
        assert b"Software" not in files[f"{name}.png"][:200]
        assert b"<dc:date>" not in files[f"{name}.svg"]


def test_last_second_does_not_touch_the_first_of_the_next_panel(tmp_path: Path) -> None:
    analysis = analyze_example(tmp_path, grid(num_epochs=1), lambda trial: make_result(trial, 4.0 / 1.05))
    panels = charts._convergence(analysis).axes[3:]
    assert [panel.get_xticks()[0] for panel in panels] == [0.0] * 3
    assert all(len(panel.get_xticks()) > 2 for panel in panels)
    assert all(panel.get_xticks()[-1] <= 0.96 * panel.get_xlim()[1] for panel in panels)


def test_charts_of_several_loops_name_the_loop(tmp_path: Path) -> None:
    sweep = grid(global_batch_sizes=(64, 256), num_epochs=1, loops=tuple(Loop), skip_unsupported=True)
    files = {name: content.decode() for name, content in svgs_of(analyze_example(tmp_path, sweep)).items()}
    for name in PER_POINT:
        headings = re.findall(r">(batch .+)</text>", files[name])
        assert headings == [f"batch {n} under {loop.label}" for n in (64, 256) for loop in Loop]
    assert all(f"under {loop.label}" in files["02-scaling"] for loop in Loop)
    assert ">Test accuracy under the fused loop</text>" in files["03-convergence"]
    assert "Keras fit" not in files["03-convergence"]


def test_reductions_of_a_strategy_have_names_and_markers_of_their_own(tmp_path: Path) -> None:
    sweep = grid(strategies=(ONE, MIRRORED), num_epochs=1, reductions=(Reduction.AUTO, Reduction.ONE_DEVICE))
    analysis = analyze_example(tmp_path, sweep)
    keys = charts._strategy_keys(analysis, analysis.points, "ideal")
    assert [(key.get_label(), key.get_fillstyle()) for key in keys[:3]] == [
        *(("OneDeviceStrategy", "full"), ("MirroredStrategy (auto)", "full"), ("MirroredStrategy (one_device)", "none"))
    ]
    assert len(charts.FILLS) == len(Reduction)


@pytest.mark.parametrize("num_epochs", [1, 2])
def test_reference_has_a_row_of_its_own_name_where_it_has_a_value(tmp_path: Path, num_epochs: int) -> None:
    """It trains one epoch, so that it has no wall time of a whole training of two."""
    files = svgs_of(analyze_example(tmp_path, pair(num_epochs=num_epochs)))
    expected = ["OneDeviceStrategy", "MirroredStrategy", "OneDeviceStrategy, all 2 cores"]
    for name in PER_POINT:
        rows = re.findall(r">(\w+Strategy.*)</text>", files[name].decode())[:3]
        assert rows == (expected[:2] if name == "05-phases" and num_epochs == 2 else expected), name
    assert ">0 s</text>" not in files["05-phases"].decode()


RUNS: dict[str, tuple[Sweep, Callable[[Trial], Outcome], dict[str, object]]] = {
    "default": (dataclasses.replace(Sweep(), num_epochs=2, max_blocks=6), realistic, {}),
    "one strategy": (grid(6, strategies=(ONE,), num_epochs=1), realistic, {}),
    "one strange strategy": (pair(1, strategies=(WORKERS,), dataset="/data/$x_{\\bad}$\n|<b>"), realistic, {}),
    "two loops": (grid(num_epochs=1, strategies=(ONE, MIRRORED), loops=(Loop.FUSED, Loop.KERAS_FIT)), realistic, {}),
    "versus": (versus(), paced(0.9), {}),
    "GPUs": (pair(2, global_batch_sizes=(256, 64)), realistic, {"device": DeviceType.GPU}),
    "empty": (pair(), lambda trial: None, {}),
    "all failed": (pair(), make_failure, {}),
}


@pytest.mark.parametrize("name", RUNS)
def test_every_kind_of_run_has_every_chart(tmp_path: Path, name: str) -> None:
    sweep, outcome_of, changes = RUNS[name]
    files = svgs_of(analyze_example(tmp_path, sweep, outcome_of, **changes))
    of_strategies = {"02-scaling", "04-step-split"}
    assert sorted(files) == [each for each in CHARTS if name != "versus" or each not in of_strategies]
    is_void = name in ("empty", "all failed")
    assert all(("NOT MEASURED: 0 of 24 trials valid" in content.decode()) is is_void for content in files.values())
    if name == "versus":
        assert all(f">OneDeviceStrategy, {arm}</text>" in files[PER_POINT[0]].decode() for arm in ("here", "other"))


def test_every_strategy_has_a_look_of_its_own() -> None:
    assert set(LOOKS) == set(Strategy)
    for part in ("colour", "marker", "line"):
        assert len({getattr(look, part) for look in LOOKS.values()}) == len(Strategy)


def test_every_phase_is_in_one_piece_of_the_bar() -> None:
    assert [phase for group in PHASE_GROUPS for phase in group.phases] == list(Phase)
