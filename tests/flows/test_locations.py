import secrets
from pathlib import Path

import pytest

from flows import locations
from flows.__main__ import main
from flows.opening import find_run
from tasks.domain.exit_code import ExitCode
from tasks.domain.refusal import Refusal
from tasks.results.storage import open_storage
from tests.analysis.example_runs import fill, make_run
from tests.reporting.reports import pair


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder of an installation that says nothing of its results."""
    monkeypatch.setenv("STRATBENCH_ROOT", str(tmp_path))
    monkeypatch.delenv("STRATBENCH_RESULTS_URL", raising=False)
    return tmp_path


@pytest.fixture
def elsewhere(root: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Results root of an installation that keeps none of them on its disk."""
    monkeypatch.setenv("STRATBENCH_RESULTS_URL", f"memory://{secrets.token_hex(8)}/")
    return locations.results()


def test_results_are_below_the_root_unless_said_otherwise(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert locations.run("mine") == root / "runs" / "mine"
    for given, run in (
        ("s3://bucket/prefix/", "s3://bucket/prefix/mine"),
        ("/srv/results", Path("/srv/results/mine")),
        ("results", root / "results" / "mine"),
        ("", root / "runs" / "mine"),
    ):
        monkeypatch.setenv("STRATBENCH_RESULTS_URL", given)
        assert locations.run("mine") == run


def test_host_with_results_elsewhere_than_the_benchmark_is_refused(root: Path, elsewhere: str) -> None:
    fill(root / "runs" / "mine", make_run(pair(1)))
    with pytest.raises(Refusal) as refused:
        find_run("mine")
    assert str(refused.value).startswith(f"{elsewhere}/mine holds no run: ")
    assert "set STRATBENCH_RESULTS_URL to the same URL" in str(refused.value)
    fill(locations.run("mine"), make_run(pair(1)))
    assert find_run("mine").describe() == make_run(pair(1))


def test_run_in_a_store_is_reported_and_compared_by_its_url(
    root: Path, elsewhere: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root)
    run = make_run(pair(2))
    fill(locations.run("mine"), run)
    fill(root / "runs" / "mine", run)
    assert main(["report", f"{elsewhere}/mine"]) == ExitCode.OK
    assert capsys.readouterr().out == f"{root}/reports/{run.run_name}/report.md\n"
    assert main(["report", "runs/mine", "--output", "local"]) == ExitCode.OK
    capsys.readouterr()
    text = (root / "reports" / run.run_name / "report.md").read_text()
    assert text == (root / "local" / "report.md").read_text()
    fill(root / "runs" / "other", make_run(pair(2), run_name="other"))
    assert main(["compare", f"{elsewhere}/mine", "runs/other"]) == ExitCode.OK
    assert f"{elsewhere.rpartition('/')[2]}/mine (run " in capsys.readouterr().out


def test_url_without_a_run_is_refused_in_one_sentence(elsewhere: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", f"{elsewhere}/none"]) == ExitCode.REFUSED
    assert capsys.readouterr().err == f"stratbench report: {elsewhere}/none holds no run (run.json is missing)\n"
    open_storage(f"{elsewhere}/none").replace("run.json", b"{}")
    assert main(["report", f"{elsewhere}/none"]) == ExitCode.REFUSED
    assert "run.json cannot be read" in capsys.readouterr().err
