import os
import subprocess
import sys
from pathlib import Path

import pytest

from flows.__main__ import main
from tasks.data.preparation import prepare
from tasks.domain.exit_code import ExitCode, worst

ROOT = Path(__file__).parents[2]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder that is also the installation's root."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("STRATBENCH_ROOT", raising=False)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--strategy tpu", "strategy='tpu' is not known; use one of one_device, mirrored, multi_worker_mirrored"),
        ("--strategy mirrored mirrored", "strategies names mirrored twice"),
        ("--dataset imagenet", "dataset='imagenet' is not known"),
        ("--dataset ./nowhere", "does not exist"),
        ("--model resnet", "model='resnet' is not known; use one of reference_cnn"),
        ("--loop step", "loop='step' is not known; use one of fused"),
        ("--precision int8", "precision='int8' is not known; use one of float32"),
        ("--device tpu", "device='tpu' is not known; use one of cpu_slice, gpu"),
        ("--batch-size 0", "global_batch_size=0 must be at least 1"),
        ("--batch-size -64", "global_batch_size=-64 must be at least 1"),
        ("--batch-size 64 64", "global_batch_sizes names 64 twice"),
        ("--batch-size 65 --replicas 2", "does not divide over num_replicas=2; use a multiple of 2"),
        ("--batch-size 60002", "global_batch_size=60002 is larger than the 60000 training examples"),
        ("--epochs 0", "num_epochs=0 must be a whole number from 1"),
        ("--replicas 512 --batch-size 512", "physical cores, this machine offers"),
        ("--seed 99999999999999999999", "must be a whole number from 0 to 2147483648"),
        ("--max-train-examples 60001", "is more than the 60000 training examples"),
        ("--run-name=", "run_name='' must be 1 to 100 letters"),
        ("--run-name ../up", "run_name='../up' must be 1 to 100 letters"),
    ],
)
def test_refused_input_is_one_sentence_and_nothing_is_written(
    words: str, sentence: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", *words.split()]) == ExitCode.REFUSED
    answer = capsys.readouterr().err
    assert sentence in answer
    assert answer.startswith("stratbench run: ")
    assert answer.count("\n") == 1
    assert list(place.iterdir()) == []


def test_no_strategies_and_no_batches_are_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in ("--batch-size abc", "--strategy", "--batch-size", "--epochs many"):
        with pytest.raises(SystemExit) as refused:
            main(["run", *words.split()])
        assert refused.value.code == ExitCode.REFUSED
        assert capsys.readouterr().err.count("\n") == 1
    assert list(place.iterdir()) == []


def test_output_that_cannot_be_written_is_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "file").write_text("mine")
    assert main(["run", "--output", "file"]) == ExitCode.REFUSED
    assert "cannot be written" in capsys.readouterr().err
    assert (place / "file").read_text() == "mine"


def test_output_that_holds_a_run_is_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "out" / "run").mkdir(parents=True)
    (place / "out" / "run" / "run.json").write_text("{}")
    assert main(["run", "--output", "out"]) == ExitCode.REFUSED
    assert "already holds a run; choose another name or folder" in capsys.readouterr().err


def test_output_that_holds_other_files_is_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "mine").mkdir()
    (place / "mine" / "report.md").write_text("mine")
    assert main(["run", "--output", "mine"]) == ExitCode.REFUSED
    assert "holds other files; name a folder that is new or empty" in capsys.readouterr().err
    assert (place / "mine" / "report.md").read_text() == "mine"


def test_report_of_nothing_is_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "nowhere"]) == ExitCode.REFUSED
    assert "nowhere" in capsys.readouterr().err


def test_native_windows_is_refused_by_naming_wsl2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    assert main(["run"]) == ExitCode.REFUSED
    assert "WSL2" in capsys.readouterr().err


def test_worst_of_several_results_is_the_exit_code() -> None:
    assert worst([]) is ExitCode.OK
    assert worst([ExitCode.OK, ExitCode.INVALID, ExitCode.OK]) is ExitCode.INVALID
    assert worst([ExitCode.INVALID, ExitCode.FAILED, ExitCode.OK]) is ExitCode.FAILED


@pytest.mark.tensorflow
def test_single_point_trains_reports_and_rebuilds(tmp_path: Path) -> None:
    """What a user types for one point; the report is then rebuilt from its own Parquet with the same bytes."""
    words = "--strategy one_device --batch-size 128 --epochs 1 --max-train-examples 1000 --output out"
    command = [sys.executable, "-m", "flows"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(
        [*command, "run", *words.split()], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.rstrip().splitlines()[-1] == f"report: {tmp_path}/out/report.md"
    assert len(list((tmp_path / "out" / "run" / "trials").glob("*.parquet"))) == 1
    files = {p: p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file()}
    assert {"report.md", "trials.parquet", "epochs.parquet", "steps.parquet", "environment.json"} <= {
        path.name for path in files
    }
    again = subprocess.run(
        [*command, "report", "out"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert again.returncode == 0, again.stdout + again.stderr
    assert {p: p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file()} == files


def test_relative_dataset_is_found_from_the_users_folder(place: Path) -> None:
    with pytest.raises(ValueError, match=str(place / "data")):
        prepare(str(place / "data"), place / "cache")
