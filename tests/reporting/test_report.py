"""The report folder: whole, self-sufficient, and rebuilt to the same bytes."""

import base64
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.domain.sweep import Sweep
from tasks.reporting import charts, report
from tasks.reporting.report import artifact_markdown, rebuild_report, write_report
from tasks.results import schema
from tasks.results.error import ResultsError
from tasks.results.run import Run
from tasks.results.store import Tables
from tests.analysis.example_runs import fill, make_run
from tests.reporting.reports import degraded, tables_of

FILES = {
    *("report.md", "environment.json", "trials.parquet", "epochs.parquet", "steps.parquet", "gradients.parquet"),
    *(f"charts/{name}.{kind}" for name in ("01-training-time", "02-scaling") for kind in ("svg", "png")),
    *(f"charts/{name}.{kind}" for name in ("03-convergence", "04-step-times", "05-phases") for kind in ("svg", "png")),
}


@pytest.fixture(scope="module")
def coarse() -> Iterator[None]:
    """Few dots: what is tested does not depend on them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(charts, "DPI", 20)
        yield


def read_all(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory, coarse: None) -> tuple[Run, Tables, Path]:
    """The report of a degraded run of two blocks, with the run's own folder inside the report's."""
    folder = tmp_path_factory.mktemp("reports") / "full"
    run = make_run(Sweep(num_blocks=2, num_epochs=2), command="stratbench run --blocks 2")
    tables = fill(folder / "run", run, degraded).read()
    path = write_report(run, tables, folder)
    assert path == folder / "report.md"
    return run, tables, folder


def test_folder_holds_everything_and_leaves_the_rest_alone(written: tuple[Run, Tables, Path]) -> None:
    _, _, folder = written
    found = read_all(folder)
    assert {name for name in found if not name.startswith("run/")} == FILES
    assert "run/run.json" in found
    assert len([name for name in found if name.startswith("run/trials/")]) == 16


def test_links_of_the_report_lead_to_files(written: tuple[Run, Tables, Path]) -> None:
    _, _, folder = written
    text = (folder / "report.md").read_text()
    addresses = re.findall(r"\]\(([^)]+)\)", text)
    assert len(addresses) == 5
    assert all((folder / address).is_file() for address in addresses)
    assert "```sh\nstratbench run --blocks 2\n```" in text


def test_environment_holds_command_run_and_machines(written: tuple[Run, Tables, Path]) -> None:
    run, _, folder = written
    document = json.loads((folder / "environment.json").read_text())
    assert document["command"] == "stratbench run --blocks 2"
    assert document["run"]["dataset_digest"] == run.dataset_digest
    assert [machine["environment"]["hostname"] for machine in document["machines"]] == ["bench-1"]
    assert document["machines"][0]["num_trials"] == 16


def test_rebuilt_report_has_the_same_bytes(written: tuple[Run, Tables, Path]) -> None:
    _, _, folder = written
    before = read_all(folder)
    assert rebuild_report(folder) == folder / "report.md"
    assert read_all(folder) == before


def test_failed_writing_leaves_the_earlier_report(
    written: tuple[Run, Tables, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, tables, folder = written
    before = read_all(folder)

    def fail(*arguments: object) -> dict[str, bytes]:
        raise OSError("disk full")

    monkeypatch.setattr(report, "draw_charts", fail)
    with pytest.raises(OSError, match="disk full"):
        write_report(run, tables, folder)
    assert read_all(folder) == before


@pytest.mark.parametrize("content", [None, b"{}", b"not json", b"[]", b'{"run": {}}'])
def test_folder_that_is_no_report_is_refused_in_one_sentence(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "environment.json").write_bytes(content)
    with pytest.raises(ResultsError, match=r"environment\.json cannot be read") as refused:
        rebuild_report(tmp_path)
    assert "\n" not in str(refused.value)


def test_report_of_another_schema_version_is_refused_by_naming_both(tmp_path: Path) -> None:
    (tmp_path / "environment.json").write_text('{"run": {"schema_version": 1, "sweep": {"loop": "fused"}}}')
    with pytest.raises(ResultsError) as refused:
        rebuild_report(tmp_path)
    assert str(refused.value) == (
        f"{tmp_path} has schema_version=1, this release reads {schema.VERSION}; measure it again, or read it with "
        "the release that wrote it"
    )


def test_artifact_is_short_and_carries_its_images(written: tuple[Run, Tables, Path]) -> None:
    run, tables, folder = written
    text = artifact_markdown(run, tables, folder / "report.md")
    assert len(text.encode()) < 4_000_000
    assert text.startswith(
        "# DEGRADED: MNIST, reference CNN, 2 CPU slices (1 core each)\n\n"
        "Which strategy, at which batch size? DEGRADED: 12 of 18 trials valid.\n\nCOVERAGE, 2026-11-22: 12 of 18"
    )
    images = re.findall(r"^!\[.+\]\(data:image/svg\+xml;base64,([^)]+)\)$", text, re.M)
    charts = [f"{name}.svg" for name in ("01-training-time", "02-scaling", "03-convergence", "04-step-times")]
    assert [base64.b64decode(image) for image in images] == [(folder / "charts" / name).read_bytes() for name in charts]
    headers = [table[0] for table in tables_of(text)]
    assert headers[0] == ["strategy", "batch", "training s", "speed-up", "strong eff.", "accuracy", "n"]
    assert max(len(header) for header in headers) == 7
    assert max(len(" ".join(header)) for header in headers) < 60
    answer = (folder / "report.md").read_text().split("\n\n")[2]
    assert answer in text
    assert re.findall(r"^## (.+)$", text, re.M) == [
        *("How sure", "Training time", "Scaling", "Convergence", "Step times", "What failed", "The whole report")
    ]


def test_reporting_loads_neither_prefect_nor_tensorflow() -> None:
    program = "import sys, tasks.reporting.report; print(*sys.modules)"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in answer.stdout.split()}
    assert not loaded & {"prefect", "tensorflow", "keras", "scipy"}
    assert "matplotlib.pyplot" not in answer.stdout.split()
