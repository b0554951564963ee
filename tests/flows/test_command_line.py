import dataclasses
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from flows.__main__ import main
from flows.direct import judge
from flows.opening import open_run
from tasks.data.preparation import examine
from tasks.domain.device import Devices
from tasks.domain.exit_code import ExitCode
from tasks.domain.outcome import InvalidReason, TrialResult
from tasks.domain.sweep import Sweep
from tasks.domain.trial import Trial
from tasks.results import schema
from tasks.results.error import ResultsError
from tasks.results.store import RunFolder
from tasks.training.request import PROTOCOL_VERSION
from tests.analysis.example_runs import MIRRORED, Outcome, analyze_example, fill, make_failure, make_run, plan
from tests.reporting.reports import RUNNING, paced, pair, versus

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
    monkeypatch.setattr("flows.direct.find_devices", lambda: Devices(cores=(0, 1)))
    monkeypatch.setattr("flows.direct.measure_trial", refuse)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--strategy tpu", "strategy='tpu' is not known; use one of one_device, mirrored, multi_worker_mirrored"),
        ("--dataset imagenet", "dataset='imagenet' is not known"),
        ("--dataset ./nowhere", "does not exist"),
        ("--model resnet", "model='resnet' is not known; use one of reference_cnn"),
        ("--loop eager", "loop='eager' is not known; use one of fused, step, keras_fit"),
        (
            "--loop fused keras_fit",
            "multi_worker_mirrored, batch 64, keras_fit cannot work: Keras 3 does not train by fit under "
            "MultiWorkerMirroredStrategy; leave it out of the grid, or set skip_unsupported "
            "(--skip-unsupported) to leave out only such combinations",
        ),
        (
            "--loop keras_fit --skip-unsupported",
            "strategy=multi_worker_mirrored cannot work with any of the loops and reductions that are asked for; "
            "leave it out or name more of them",
        ),
        (
            "--precision int8",
            "precision='int8' is not known; use one of float32, mixed_bfloat16, mixed_float16, float64",
        ),
        (
            "--precision float32 mixed_float16",
            "precision=mixed_float16 is not computed by the hardware of this machine's CPU; "
            "use one of float32, float64",
        ),
        ("--xla maybe", "xla='maybe' is not known; use one of off, on"),
        ("--loop keras_fit --xla on --strategy mirrored", "Keras does not compile by XLA under MirroredStrategy"),
        (
            "--reduction tree",
            "reduction='tree' is not known; use one of auto, one_device, hierarchical_copy, ring, nccl",
        ),
        ("--reduction nccl", "reduction=nccl needs GPUs, device=cpu_slice has none; use reduction=auto"),
        (
            "--steps-per-call 939",
            "steps_per_call=939 is more than the 938 steps of an epoch at batch 64; use at most 938, or leave it out",
        ),
        ("--device tpu", "device='tpu' is not known; use one of cpu_slice, gpu"),
        ("--batch-size 65 --replicas 2", "does not divide over num_replicas=2; use a multiple of 2"),
        ("--batch-size 60002", "global_batch_size=60002 is larger than the 60000 training examples"),
        ("--epochs 0", "num_epochs=0 must be a whole number from 1"),
        ("--blocks 0", "min_blocks=0 must be a whole number from 1 to 1000"),
        ("--min-blocks 8 --max-blocks 7", "max_blocks=7 is less than min_blocks=8; raise it, or lower min_blocks"),
        ("--half-width 5", "half_width=5.0 must lie between 0 and 1; use .05 for 5 %"),
        ("--whole-blocks -1", "num_whole_blocks=-1 must be at least 1, or null for all blocks"),
        ("--short-epochs 0", "short_epochs=0 must be a whole number from 1"),
        ("--budget-minutes 0", "budget_minutes=0.0 must be greater than 0 and at most a week, 10080"),
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


@pytest.mark.parametrize(
    "words", ["--batch-size abc", "--strategy", "--batch-size", "--epochs many", "--loop", "--steps-per-call few"]
)
def test_option_without_a_value_that_it_takes_is_refused_in_one_line(
    words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as refused:
        main(["run", *words.split()])
    assert refused.value.code == ExitCode.REFUSED
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    ("file", "sentence"),
    [
        ("out", "cannot be written"),
        ("out/run/run.json", "already holds a run; choose another name or folder"),
        ("out/report.md", "holds other files; name a folder that is new or empty"),
    ],
)
def test_output_that_is_taken_is_refused(
    file: str, sentence: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / file).parent.mkdir(parents=True, exist_ok=True)
    (place / file).write_text("mine")
    assert main(["run", "--output", "out"]) == ExitCode.REFUSED
    assert sentence in capsys.readouterr().err
    assert [path for path in place.rglob("*") if path.is_file()] == [place / file]
    assert (place / file).read_text() == "mine"


def test_results_of_another_schema_version_are_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "run").mkdir()
    (place / "run" / "run.json").write_text('{"schema_version": 1}')
    (place / "report").mkdir()
    (place / "report" / "environment.json").write_text('{"run": {"schema_version": 1}}')
    for folder in ("run", "report"):
        assert main(["report", folder]) == ExitCode.REFUSED
        answer = capsys.readouterr().err
        assert answer.startswith(
            f"stratbench report: {folder} has schema_version=1, this release reads 3 and {schema.VERSION}; "
        )
        assert answer.count("\n") == 1
    assert main(["run", "--output", ".", "--resume"]) == ExitCode.REFUSED
    assert f"{place}/run has schema_version=1" in capsys.readouterr().err
    assert sorted(path.name for path in place.iterdir()) == ["report", "run"]


def test_report_of_nothing_is_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "nowhere"]) == ExitCode.REFUSED
    assert "nowhere" in capsys.readouterr().err


def test_unknown_option_is_refused_by_its_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        main(["run", "--nosuch", "1"])
    assert refused.value.code == ExitCode.REFUSED
    said = "stratbench run: unrecognized arguments: --nosuch 1; `stratbench run --help` lists what is known\n"
    assert capsys.readouterr().err == said


def test_native_windows_is_refused_by_naming_wsl2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    assert main(["run"]) == ExitCode.REFUSED
    assert "WSL2" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "fields"),
    [
        ("", {}),
        ("--blocks 3", {"min_blocks": 3, "max_blocks": 3}),
        ("--min-blocks 7 --max-blocks 9 --half-width .02", {"min_blocks": 7, "max_blocks": 9, "half_width": 0.02}),
        ("--whole-blocks 0", {"num_whole_blocks": None}),
        ("--whole-blocks 2 --short-epochs 2", {"num_whole_blocks": 2, "short_epochs": 2}),
        ("--budget-minutes 45", {"budget_minutes": 45.0}),
    ],
)
def test_options_are_fields_of_the_sweep(
    place: Path, monkeypatch: pytest.MonkeyPatch, words: str, fields: dict[str, object]
) -> None:
    asked: list[tuple[Sweep, str]] = []

    def keep(sweep: Sweep, *, run_name: str, **_: object) -> ExitCode:
        asked.append((sweep, run_name))
        return ExitCode.PARTIAL

    monkeypatch.setattr("flows.direct.run_sweep", keep)
    assert main(["run", *words.split()]) == ExitCode.PARTIAL
    assert main(["versus", "there/bin/python", *words.split()]) == ExitCode.PARTIAL
    here, versus = (sweep for sweep, _ in asked)
    assert here == Sweep(**fields)
    assert versus == dataclasses.replace(here, versus=f"{place}/there/bin/python"), "a worker has another folder"
    assert [name.split("-")[0] for _, name in asked] == ["run", "versus"]


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (None, "cannot be run ("),
        ("echo nonsense", "has no stratbench that can be imported; install it into that environment"),
        ("exit 1", "has no stratbench that can be imported; install it into that environment"),
        (
            "echo 1",
            f"speaks protocol 1, this release {PROTOCOL_VERSION} and the one before; install a newer release there",
        ),
    ],
)
def test_other_environment_that_cannot_train_is_refused(
    place: Path, capsys: pytest.CaptureFixture[str], answer: str | None, sentence: str
) -> None:
    python = place / "python"
    if answer:
        python.write_text(f"#!/bin/sh\n{answer}\n")
        python.chmod(0o755)
    assert main(["versus", "python"]) == ExitCode.REFUSED
    said = capsys.readouterr().err
    assert said.startswith(f"stratbench versus: versus={python} ")
    assert sentence in said
    assert said.count("\n") == 1
    assert not (place / "runs").exists()


def test_run_is_continued_for_more_blocks_and_for_nothing_else(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    places = {
        "location": place / "run",
        "data": examine("mnist", place / "cache"),
        "devices": Devices(cores=(0, 1)),
        "run_name": "mine",
        "command": "stratbench run",
    }
    more = pair(2, half_width=0.01)
    with open_run(pair(1), may_continue=False, **places) as first:
        again = open_run(more, may_continue=True, **places)
        with pytest.raises(ResultsError, match="another process is measuring"), again:
            pass
        assert first.folder.describe().sweep == pair(1), "a refused command changes nothing"
    with open_run(more, may_continue=True, **places) as continued:
        assert continued.run.sweep == RunFolder(place / "run").describe().sweep == more
    assert main(["run", "--output", ".", "--resume", "--strategy", "one_device", "mirrored", "--epochs", "2"]) == 2
    assert (
        f"{place}/run holds another run: global_batch_sizes was [64], now [64, 128, 256]; num_epochs was 1, now 2; "
        "choose another name or folder"
    ) in capsys.readouterr().err


def valid(trial: Trial) -> Outcome:
    return paced(1.8)(trial)


def without_mirrored(trial: Trial) -> Outcome:
    return None if (trial.strategy, trial.block) == (MIRRORED, 2) else valid(trial)


def invalid_mirrored(trial: Trial) -> Outcome:
    result = valid(trial)
    if trial.strategy is not MIRRORED or not isinstance(result, TrialResult):
        return result
    return dataclasses.replace(result, invalid_reason=InvalidReason.LEDGER_GAP, message="a gap")


def read_files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_report_is_rebuilt_from_its_tables_and_misses_a_record_that_was_deleted(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tasks.reporting.drawing.DPI", 20)
    run, records = make_run(pair(2)), place / "out" / "run"
    fill(records, run)
    assert main(["report", "out"]) == ExitCode.OK
    assert capsys.readouterr().out == "out/report.md\n"
    written = read_files(place / "out")
    records.rename(place / "run")
    assert main(["report", "out"]) == ExitCode.OK
    assert read_files(place / "out").items() <= written.items()
    trial = next(trial for trial in plan(run) if trial.strategy is MIRRORED)
    (place / "run" / "trials" / f"{trial.key}.parquet").unlink()
    assert main(["report", "run", "--output", "after"]) == ExitCode.INVALID
    text = (place / "after" / "report.md").read_text()
    assert text.startswith("# DAMAGED: 7 of 8 trials valid. ")
    assert "0 failed, 1 lost," in text


@pytest.mark.parametrize(
    ("sweep", "outcome_of", "changes", "code"),
    [
        (pair(2), valid, {}, ExitCode.OK),
        (pair(2), without_mirrored, {}, ExitCode.INVALID),
        (pair(2), without_mirrored, RUNNING, ExitCode.PARTIAL),
        (pair(2), invalid_mirrored, {}, ExitCode.INVALID),
        (pair(2), lambda t: make_failure(t) if t.strategy is MIRRORED else valid(t), {}, ExitCode.FAILED),
        (pair(2), make_failure, {}, ExitCode.FAILED),
        (pair(2), lambda t: None, {}, ExitCode.NOT_MEASURED),
        (versus(6), paced(0.9, noise=0.01), {}, ExitCode.REGRESSED),
        (versus(6), paced(1.1, noise=0.01), {}, ExitCode.IMPROVED),
        (versus(6), paced(1.0, noise=0.01), {}, ExitCode.OK),
        (versus(6), paced(1.0, noise=0.2), {}, ExitCode.OK),
        (versus(5), paced(0.9, noise=0.01), {}, ExitCode.INCONCLUSIVE),
        (versus(6), paced(1.1, noise=0.01), RUNNING, ExitCode.PARTIAL),
        (versus(6), paced(0.9, noise=0.01), RUNNING, ExitCode.REGRESSED),
    ],
)
def test_exit_code_is_the_worst_that_the_records_and_verdicts_say(
    tmp_path: Path,
    sweep: Sweep,
    outcome_of: Callable[[Trial], Outcome],
    changes: dict[str, object],
    code: ExitCode,
) -> None:
    assert judge(analyze_example(tmp_path, sweep, outcome_of, **changes)) is code


def test_two_runs_are_described_side_by_side(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, speed in (("a", 1.5), ("b", 2.0)):
        fill(place / name, make_run(pair(2), run_name=f"run-{name}"), paced(speed))
    assert main(["compare", "a", "b"]) == ExitCode.OK
    lines = capsys.readouterr().out.splitlines()
    sides = [line.partition(",")[0] for line in lines if line.startswith(("- A", "- B"))]
    assert sides == ["- A: a (run run-a", "- B: b (run run-b"]
    assert "| mirrored | 64 | 1.50 x, n = 2 | 2.00 x, n = 2 | 1.33 x | 8.00, n = 2 | 6.00, n = 2 |" in lines


def test_selfcheck_refuses_in_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["selfcheck", "--families", "99"]) == ExitCode.REFUSED
    assert capsys.readouterr().err == "stratbench selfcheck: num_families=99 must be a whole number from 100 to 20000\n"


@pytest.mark.tensorflow
def test_single_point_trains_reports_and_rebuilds(tmp_path: Path) -> None:
    """What a user types for one point; the report is then rebuilt from its own Parquet with the same bytes."""
    words = "--strategy one_device --batch-size 128 --epochs 1 --blocks 1 --max-train-examples 1000 --output out"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    def say(*words: str) -> str:
        command = [sys.executable, "-m", "flows", *words]
        ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout

    assert say("run", *words.split()).rstrip().splitlines()[-1] == f"report: {tmp_path}/out/report.md"
    assert len(list((tmp_path / "out" / "run" / "trials").glob("*.parquet"))) == 2, "the trial and the discarded one"
    files = read_files(tmp_path / "out")
    tables = {f"{name}.parquet" for name in ("trials", "epochs", "steps", "gradients")}
    assert {"report.md", "report.html", "environment.json", *tables} <= {path.name for path in files}
    say("report", "out")
    assert read_files(tmp_path / "out") == files
