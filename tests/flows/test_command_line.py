import os
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest

from flows.__main__ import main
from tasks.data.preparation import prepare
from tasks.domain.device import Devices
from tasks.domain.exit_code import ExitCode, worst
from tasks.domain.trial import Trial

ROOT = Path(__file__).parents[2]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder that is also the installation's root, on a machine of two plain cores without GPUs.

    Nothing trains here: a process of a trial would be an error.
    """

    def refuse(trial: Trial, **_: object) -> NoReturn:
        raise AssertionError(f"{trial.label} was started")

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("STRATBENCH_ROOT", raising=False)
    monkeypatch.setattr("flows.opening.find_devices", lambda: Devices(cores=(0, 1)))
    monkeypatch.setattr("flows.direct.measure_trial", refuse)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--strategy tpu", "strategy='tpu' is not known; use one of one_device, mirrored, multi_worker_mirrored"),
        ("--strategy mirrored mirrored", "strategies names mirrored twice"),
        ("--dataset imagenet", "dataset='imagenet' is not known"),
        ("--dataset ./nowhere", "does not exist"),
        ("--model resnet", "model='resnet' is not known; use one of reference_cnn"),
        ("--loop eager", "loop='eager' is not known; use one of fused, step, keras_fit"),
        ("--loop fused fused", "loops names fused twice; name each value once"),
        (
            "--loop fused keras_fit",
            "multi_worker_mirrored, batch 64, keras_fit cannot work: Keras 3 does not train by fit under "
            "MultiWorkerMirroredStrategy; leave one of the two out, or leave out only what cannot work by",
        ),
        (
            "--loop keras_fit --skip-unsupported",
            "strategy=multi_worker_mirrored cannot work with any of the loops and reductions that are asked for; "
            "leave it out or name more of them",
        ),
        (
            "--loop keras_fit --xla on --strategy mirrored",
            "Keras does not compile by XLA under MirroredStrategy; leave one of the two out",
        ),
        ("--loop step --steps-per-call 8", "the step loop makes one call a step; leave one of the two out"),
        (
            "--precision int8",
            "precision='int8' is not known; use one of float32, mixed_bfloat16, mixed_float16, float64",
        ),
        (
            "--precision mixed_float16",
            "precision=mixed_float16 is not computed by the hardware of this machine's CPU; "
            "use one of float32, float64",
        ),
        (
            "--precision float32 mixed_bfloat16",
            "precision=mixed_bfloat16 is not computed by the hardware of this machine's CPU; "
            "use one of float32, float64",
        ),
        ("--xla maybe", "xla='maybe' is not known; use one of off, on"),
        (
            "--reduction tree",
            "reduction='tree' is not known; use one of auto, one_device, hierarchical_copy, ring, nccl",
        ),
        ("--reduction nccl", "reduction=nccl needs GPUs, device=cpu_slice has none; use reduction=auto"),
        (
            "--reduction ring --strategy one_device mirrored",
            "reduction=ring is known to multi_worker_mirrored only, of which none is asked for; leave it out",
        ),
        ("--steps-per-call 0", "steps_per_call=0 must be at least 1"),
        (
            "--steps-per-call 939",
            "steps_per_call=939 is more than the 938 steps of an epoch at batch 64; use at most 938, or leave it out",
        ),
        ("--device tpu", "device='tpu' is not known; use one of cpu_slice, gpu"),
        ("--batch-size 0", "global_batch_size=0 must be at least 1"),
        ("--batch-size -64", "global_batch_size=-64 must be at least 1"),
        ("--batch-size 64 64", "global_batch_sizes names 64 twice"),
        ("--batch-size 65 --replicas 2", "does not divide over num_replicas=2; use a multiple of 2"),
        ("--batch-size 60002", "global_batch_size=60002 is larger than the 60000 training examples"),
        ("--epochs 0", "num_epochs=0 must be a whole number from 1"),
        ("--replicas 512 --batch-size 512", "needs 512 physical cores, this machine offers 2; use num_replicas=2"),
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
    for words in ("--batch-size abc", "--strategy", "--batch-size", "--epochs many", "--loop", "--steps-per-call few"):
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


def test_results_of_another_schema_version_are_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "run").mkdir()
    (place / "run" / "run.json").write_text('{"schema_version": 1}')
    (place / "report").mkdir()
    (place / "report" / "environment.json").write_text('{"run": {"schema_version": 1}}')
    for folder in ("run", "report"):
        assert main(["report", folder]) == ExitCode.REFUSED
        answer = capsys.readouterr().err
        assert answer.startswith(f"stratbench report: {folder} has schema_version=1, this release reads 2; measure it")
        assert answer.count("\n") == 1
    assert main(["run", "--output", ".", "--resume"]) == ExitCode.REFUSED
    assert f"{place}/run has schema_version=1" in capsys.readouterr().err
    assert sorted(path.name for path in place.iterdir()) == ["report", "run"]


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
    assert {
        "report.md",
        "trials.parquet",
        "epochs.parquet",
        "steps.parquet",
        "gradients.parquet",
        "environment.json",
    } <= {path.name for path in files}
    again = subprocess.run(
        [*command, "report", "out"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert again.returncode == 0, again.stdout + again.stderr
    assert {p: p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file()} == files


def test_relative_dataset_is_found_from_the_users_folder(place: Path) -> None:
    with pytest.raises(ValueError, match=str(place / "data")):
        prepare(str(place / "data"), place / "cache")
