"""Charts: the same bytes for the same numbers, and what each must say of itself."""

from pathlib import Path

import pytest

from tasks.analysis.analysis import Analysis, analyze
from tasks.domain.device import DeviceType
from tasks.domain.outcome import Phase
from tasks.domain.strategy import Strategy
from tasks.domain.sweep import Sweep
from tasks.reporting.charts import draw_charts
from tasks.reporting.palette import LOOKS, PHASE_GROUPS
from tests.analysis.example_runs import MIRRORED, ONE, WORKERS, make_run, read_example, realistic
from tests.reporting.reports import degraded

NAMES = ["01-training-time", "02-scaling", "03-convergence", "04-step-times", "05-phases"]


def analyze_example(path: Path, sweep: Sweep, outcome_of: object = realistic, **changes: object) -> Analysis:
    run = make_run(sweep, **changes)
    return analyze(run, read_example(path, run, outcome_of))  # type: ignore[arg-type]


def texts_of(svg: bytes) -> str:
    """What a chart says: matplotlib leaves every text as a comment beside its outlines."""
    return svg.decode()


def test_charts_are_svg_and_png_with_the_same_bytes_every_time(tmp_path: Path) -> None:
    analysis = analyze_example(tmp_path, Sweep(max_train_examples=2048, num_blocks=5), degraded)
    files = draw_charts(analysis)
    assert sorted(files) == sorted(f"{name}.{kind}" for name in NAMES for kind in ("svg", "png"))
    assert draw_charts(analysis) == files
    for name in NAMES:
        text = texts_of(files[f"{name}.svg"])
        assert "SMOKE: first 2,048 training examples only" in text
        assert "DEGRADED: 30 of 45 trials valid" in text
        assert "2 CPU slices, 1 core each: not a GPU" in text
        assert "n = 0 to 5 a point" in text
        assert "failed: worker_killed (5 blocks)" in text
        assert "missing (5 blocks)" in text
        assert files[f"{name}.png"].startswith(b"\x89PNG")
        assert b"Software" not in files[f"{name}.png"][:200]
        assert b"<dc:date>" not in files[f"{name}.svg"]


@pytest.mark.parametrize(
    ("sweep", "changes"),
    [
        (Sweep(strategies=(WORKERS,), global_batch_sizes=(64,), num_epochs=1), {}),
        (Sweep(strategies=(MIRRORED, ONE), global_batch_sizes=(256, 64)), {"device": DeviceType.GPU}),
        (Sweep(dataset="/data/$x_{\\bad}$\n|<b>", global_batch_sizes=(64, 128)), {}),
    ],
)
def test_unusual_runs_have_charts(tmp_path: Path, sweep: Sweep, changes: dict[str, object]) -> None:
    assert len(draw_charts(analyze_example(tmp_path, sweep, **changes))) == 10


def test_run_without_values_has_charts_that_say_so(tmp_path: Path) -> None:
    for name, content in draw_charts(analyze_example(tmp_path, Sweep(), lambda trial: None)).items():
        if name.endswith(".svg"):
            assert "NOT MEASURED: 0 of 9 trials valid" in texts_of(content)


def test_every_strategy_has_a_look_of_its_own() -> None:
    assert set(LOOKS) == set(Strategy)
    for part in ("colour", "marker", "line"):
        assert len({getattr(look, part) for look in LOOKS.values()}) == len(Strategy)


def test_every_phase_is_in_one_piece_of_the_bar() -> None:
    assert [phase for group in PHASE_GROUPS for phase in group.phases] == list(Phase)
