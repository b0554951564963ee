"""The report folder: whole, self-sufficient, and rebuilt to the same bytes."""

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.analysis.analysis import Analysis, analyze
from tasks.reporting import drawing, report
from tasks.reporting.html import render
from tasks.reporting.markdown import Edition
from tasks.reporting.report import artifact_markdown, compose, read_report, write_report
from tasks.results import schema
from tasks.results.error import ResultsError
from tasks.results.store import Tables
from tests.analysis.example_runs import degraded, fill, grid, make_run
from tests.reporting.reports import CHARTS, EVIDENCE, tables_of

Written = tuple[Analysis, Tables, Path]
FILES = {
    *("report.md", "report.html", "environment.json"),
    *("trials.parquet", "epochs.parquet", "steps.parquet", "gradients.parquet"),
    *(f"charts/{name}.{kind}" for name in CHARTS for kind in ("svg", "png")),
}


@pytest.fixture(scope="module")
def coarse() -> Iterator[None]:
    """Few dots: what is tested does not depend on them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drawing, "DPI", 20)
        yield


def read_all(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory, coarse: None) -> Written:
    """The report of a degraded run of two blocks, with the run's own folder inside the report's."""
    folder = tmp_path_factory.mktemp("reports") / "full"
    run = make_run(grid(2, num_epochs=2), command="stratbench run --blocks 2")
    tables = fill(folder / "run", run, degraded).read()
    analysis = analyze(run, tables)
    path = write_report(analysis, tables, folder)
    assert path == folder / "report.md"
    return analysis, tables, folder


def test_folder_holds_everything_and_leaves_the_rest_alone(written: Written) -> None:
    analysis, _, folder = written
    found = read_all(folder)
    assert {name for name in found if not name.startswith("run/")} == FILES
    assert "run/run.json" in found
    assert len([name for name in found if name.startswith("run/trials/")]) == 24
    text = found["report.md"].decode()
    addresses = re.findall(r"\]\(([^)]+)\)", text)
    assert len(addresses) == 6
    assert set(addresses) <= FILES
    assert "```sh\nstratbench run --blocks 2\n```" in text
    assert found["report.html"].decode() == render(text, found.__getitem__)
    document = json.loads(found["environment.json"])
    assert document["command"] == "stratbench run --blocks 2"
    assert document["run"]["dataset_digest"] == analysis.run.dataset_digest
    assert [(each["environment"]["hostname"], each["num_trials"]) for each in document["machines"]] == [("bench-1", 24)]


def test_rebuilt_report_has_the_same_bytes(written: Written) -> None:
    """Made from nothing but what lies in its folder."""
    _, _, folder = written
    before = read_all(folder)
    for name in FILES - {"environment.json"}:
        if not name.endswith(".parquet"):
            (folder / name).unlink()
    run, tables = read_report(folder)
    write_report(analyze(run, tables), tables, folder)
    assert read_all(folder) == before


def test_committed_report_is_what_this_code_writes() -> None:
    """`stratbench report FOLDER --output FOLDER` writes it again."""
    text = compose(analyze(*read_report(EVIDENCE)), Edition(lambda chart: f"charts/{chart}.svg"))
    assert text == (EVIDENCE / "report.md").read_text(encoding="utf-8")


def test_failed_writing_leaves_the_earlier_report(written: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    analysis, tables, folder = written
    before = read_all(folder)

    def fail(*arguments: object) -> dict[str, bytes]:
        raise OSError("disk full")

    monkeypatch.setattr(report, "draw_charts", fail)
    with pytest.raises(OSError, match="disk full"):
        write_report(analysis, tables, folder)
    assert read_all(folder) == before


@pytest.mark.parametrize("content", [None, b"{}", b"not json", b"[]", b'{"run": {}}'])
def test_folder_that_is_no_report_is_refused_in_one_sentence(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "environment.json").write_bytes(content)
    with pytest.raises(ResultsError, match=r"environment\.json cannot be read") as refused:
        read_report(tmp_path)
    assert "\n" not in str(refused.value)


def test_folder_that_is_not_there_is_refused_as_that(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match=r"folder=\S+/nothing is none; name a run's folder or a report's"):
        read_report(tmp_path / "nothing")


def test_report_of_another_schema_version_is_refused_by_naming_both(tmp_path: Path) -> None:
    (tmp_path / "environment.json").write_text('{"run": {"schema_version": 1, "sweep": {"loop": "fused"}}}')
    with pytest.raises(ResultsError) as refused:
        read_report(tmp_path)
    assert str(refused.value) == (
        f"{tmp_path} has schema_version=1, this release reads 3 and {schema.VERSION}; measure it again, or read it "
        "with the release that wrote it"
    )


def test_artifact_is_short_and_carries_its_images(written: Written) -> None:
    analysis, _, folder = written
    text = artifact_markdown(analysis, folder / "report.md")
    assert len(text.encode()) < 4_000_000
    assert text.startswith(
        "# FAILED: MNIST, reference CNN, 2 CPU slices (1 core each)\n\n"
        "Which strategy, at which batch size? FAILED: 20 of 26 trials valid.\n\nCOVERAGE, 2026-11-22: 20 of 26"
    )
    images = re.findall(r"^!\[.+\]\(data:image/svg\+xml;base64,([^)]+)\)$", text, re.M)
    assert [base64.b64decode(image) for image in images] == [
        (folder / "charts" / f"{name}.svg").read_bytes() for name in CHARTS[:4]
    ]
    headers = [table[0] for table in tables_of(text)]
    assert headers[0] == ["strategy", "batch", "training s", "speed-up", "verdict", "accuracy", "n"]
    assert max(len(header) for header in headers) == 7
    assert max(len(" ".join(header)) for header in headers if header not in headers[1:2]) < 60
    answer = (folder / "report.md").read_text().split("\n\n")[2]
    assert answer in text
    assert re.findall(r"^## (.+)$", text, re.M) == [
        *("How sure", "Scaling", "Convergence", "Where a step goes", "What failed", "The whole report")
    ]
