import dataclasses
import multiprocessing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tasks.domain.cell import Arm
from tasks.domain.device import DeviceType
from tasks.domain.outcome import (
    Epoch,
    FailureReason,
    GradientProbe,
    Phase,
    StepWindow,
    TrialFailure,
    TrialResult,
)
from tasks.domain.sweep import Sweep
from tasks.domain.trial import Trial
from tasks.results import schema
from tasks.results.environment import describe_environment
from tasks.results.error import ResultsError
from tasks.results.record import Record, build_record
from tasks.results.run import End, Run, check_run_name
from tasks.results.software import Software
from tasks.results.storage import LocalStorage, open_storage
from tasks.results.store import RunFolder, read_tables, write_tables
from tasks.training.sampling import HostUsage
from tests.examples import make_trial

START = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def make_run(**changes: object) -> Run:
    fields: dict[str, object] = {
        "run_name": "full-20261122-120000",
        "command": "prefect deployment run benchmark/full",
        "created_at": START,
        "sweep": Sweep(),
        "device": DeviceType.CPU_SLICE,
        "dataset_digest": "d" * 64,
        "num_train_examples": 60_000,
        "num_test_examples": 10_000,
        "num_classes": 10,
    }
    return Run(**(fields | changes))  # type: ignore[arg-type]


def result_of(trial: Trial) -> TrialResult:
    epochs = tuple(
        Epoch(
            epoch=number,
            training_seconds=2.0,
            evaluation_seconds=0.5,
            num_examples=1000,
            train_loss=0.3,
            train_accuracy=0.9,
            test_loss=0.2,
            test_accuracy=0.95 + 0.01 * number,
        )
        for number in (1, 2)
    )
    return TrialResult(
        trial=trial,
        invalid_reason=None,
        message=None,
        epochs=epochs,
        windows=(StepWindow(epoch=1, first_step=1, num_steps=4, num_examples=256, seconds=0.5),),
        gradients=(GradientProbe(step=1, num_examples=64, loss_sum=147.0, gradient_norm=1.5, projections=(0.5, -1.0)),),
        phase_seconds={Phase.IMPORT: 3.0, Phase.TRAINING: 4.0},
        wall_seconds=8.0,
        is_pinned=True,
        num_parameters=121_930,
        order_checksum=255,
        weights_digest="w" * 64,
        max_resident_bytes=10**9,
        peak_device_memory_bytes=None,
        versions={
            "stratbench": "0.1.0",
            "python": "3.11.7",
            "tensorflow": "2.21.0",
            "keras": "3.15.1",
            "numpy": "2.4.6",
        },
    )


def record_of(outcome: TrialResult | TrialFailure, minutes: int = 0, **changes: object) -> Record:
    return build_record(
        outcome,
        run_name="r",
        environment=describe_environment(),
        python_version="3.11.7",
        started_at=START + timedelta(minutes=minutes),
        queue_seconds=1.5,
        **changes,  # type: ignore[arg-type]
    )


def failure_of(trial: Trial) -> TrialFailure:
    return TrialFailure(
        trial=trial, reason=FailureReason.WORKER_KILLED, message="rank 0 was ended", phase="training", wall_seconds=3.0
    )


@pytest.fixture
def local(tmp_path: Path) -> Path:
    """A folder with a run."""
    RunFolder(tmp_path / "runs" / "r").create(make_run())
    return tmp_path / "runs" / "r"


@pytest.fixture
def folder(place: Path | str) -> RunFolder:
    """A run, in each kind of place."""
    found = RunFolder(place)
    found.create(make_run())
    return found


def record_name(folder: RunFolder) -> str:
    """Of the only record there."""
    (name,) = open_storage(folder.location).names("trials", "")
    return name


def test_record_has_every_declared_column_and_no_other() -> None:
    declared = {column.name for column in schema.TRIALS} | {"epochs", "steps", "gradients"}
    assert set(record_of(result_of(make_trial()))) <= declared
    assert set(record_of(failure_of(make_trial()))) <= declared
    required = {column.name for column in schema.TRIALS if not column.is_nullable}
    assert required <= set(record_of(failure_of(make_trial())))


def test_derived_metrics_by_hand() -> None:
    record = record_of(result_of(make_trial()))
    assert record["training_seconds"] == 4.0
    assert record["examples_per_second"] == 500.0
    assert record["device_seconds"] == 8.0
    assert record["test_accuracy"] == pytest.approx(0.97)
    assert record["unexplained_seconds"] == pytest.approx(1.0)
    assert (record["status"], record["reason"]) == ("valid", None)
    assert record["order_checksum"] == "00000000000000ff"


def test_what_was_sampled_fills_columns_of_its_own(folder: RunFolder) -> None:
    names = {field.name for field in dataclasses.fields(HostUsage)}
    assert names <= {column.name for column in schema.TRIALS}
    usage = {"cpu_utilisation": 0.93, "gpu_throttle_reasons": ["hw_slowdown"], "foreign_gpu_processes": 0}
    folder.put(record_of(result_of(make_trial()), usage=usage, num_attempts=2, first_taint="a backup ran"))
    (row,) = folder.read().trials.to_pylist()
    assert {name: row[name] for name in usage} == usage
    assert {row[name] for name in names - set(usage)} == {None}
    assert (row["num_attempts"], row["first_taint"]) == (2, "a backup ran")


def test_honest_trial_has_one_attempt_and_no_slowdown(folder: RunFolder) -> None:
    folder.put(record_of(result_of(make_trial())))
    (row,) = folder.read().trials.to_pylist()
    assert (row["num_attempts"], row["first_taint"], row["slowdown"], row["reduction_seconds"]) == (1, None, None, None)
    assert (row["arm"], row["role"]) == ("here", "measured")


def test_software_of_another_environment_is_its_own_or_not_known() -> None:
    versions = {"stratbench": "0.0.9", "python": "3.12.1", "tensorflow": "2.20.0", "keras": "3.10.0", "numpy": "2.1.0"}
    other = dataclasses.replace(result_of(make_trial(arm=Arm.OTHER)), versions=versions)
    record = record_of(other)
    assert (record["stratbench_version"], record["commit"], record["is_commit_clean"]) == ("0.0.9", None, None)
    assert (record["python_version"], record["tensorflow_version"]) == ("3.12.1", "2.20.0")
    software = Software(stratbench_version="0.0.8", commit="c" * 40, is_commit_clean=True, python_version="3.12.1")
    asked = record_of(other, software=software)
    assert (asked["stratbench_version"], asked["commit"], asked["is_commit_clean"]) == ("0.0.9", "c" * 40, True)
    silent = {name: version for name, version in versions.items() if name != "stratbench"}
    assert record_of(dataclasses.replace(other, versions=silent))["stratbench_version"] == "unknown"
    failed = failure_of(make_trial(arm=Arm.OTHER))
    told = record_of(failed, software=software)
    assert {name: told[name] for name in dataclasses.asdict(software)} == dataclasses.asdict(software)
    lost = record_of(failed)
    assert (lost["stratbench_version"], lost["commit"], lost["python_version"]) == ("unknown", None, "unknown")
    own = record_of(dataclasses.replace(result_of(make_trial()), versions=versions))
    assert own["stratbench_version"] == describe_environment().stratbench_version


def test_failed_trial_is_a_row_with_nulls_and_not_a_zero(folder: RunFolder) -> None:
    folder.put(record_of(failure_of(make_trial())))
    (row,) = folder.read().trials.to_pylist()
    assert (row["status"], row["reason"], row["failed_phase"]) == ("failed", "worker_killed", "training")
    for name in ("training_seconds", "examples_per_second", "test_accuracy", "device_seconds", "unexplained_seconds"):
        assert row[name] is None
    assert (folder.read().epochs.num_rows, folder.read().gradients.num_rows) == (0, 0)


def test_tables_come_back_in_the_order_of_blocks_and_starts(folder: RunFolder) -> None:
    trials = [make_trial(block=block, global_batch_size=batch) for block, batch in ((2, 64), (1, 128), (1, 64))]
    for minutes, trial in enumerate(trials):
        folder.put(record_of(result_of(trial), minutes))
    tables = folder.read()
    assert tables.trials.column("trial_key").to_pylist() == [trials[i].key for i in (1, 2, 0)]
    assert tables.epochs.column("trial_key").to_pylist() == [trials[i].key for i in (1, 1, 2, 2, 0, 0)]
    assert tables.epochs.column("epoch").to_pylist() == [1, 2] * 3
    assert tables.steps.column("seconds").to_pylist() == [0.5] * 3
    assert tables.gradients.column("trial_key").to_pylist() == [trials[i].key for i in (1, 2, 0)]
    assert tables.gradients.column("projections").to_pylist() == [[0.5, -1.0]] * 3


def test_a_record_is_written_once(folder: RunFolder) -> None:
    trial = make_trial()
    assert folder.put(record_of(failure_of(trial)))
    storage, name = open_storage(folder.location), record_name(folder)
    before = storage.read(name)
    assert not folder.put(record_of(result_of(trial)))
    assert storage.read(name) == before
    assert folder.num_records() == {trial.key: 1}


def test_failed_trial_that_was_run_again_has_both_records_and_counts_as_the_last(folder: RunFolder) -> None:
    trial = make_trial()
    folder.put(record_of(failure_of(trial)))
    storage, first = open_storage(folder.location), record_name(folder)
    before = storage.read(first)
    assert not folder.has(trial.key, 1)
    assert folder.has_failed(trial.key)
    assert folder.put(record_of(result_of(trial)), num_retries=1)
    assert not folder.has_failed(trial.key)
    assert not folder.put(record_of(failure_of(trial)), num_retries=1)
    assert folder.has(trial.key, 1)
    assert storage.read(first) == before
    assert folder.num_records() == {trial.key: 2}
    assert folder.read().trials.column("status").to_pylist() == ["valid"]


@pytest.mark.parametrize("num_bytes", [0, 10, -20])
def test_damaged_record_is_named_and_left_out(
    folder: RunFolder, caplog: pytest.LogCaptureFixture, num_bytes: int
) -> None:
    folder.put(record_of(result_of(make_trial())))
    storage, name = open_storage(folder.location), record_name(folder)
    folder.put(record_of(result_of(make_trial(seed=2))))
    storage.replace(name, storage.read(name)[:num_bytes])
    assert folder.read().trials.column("trial_key").to_pylist() == [make_trial(seed=2).key]
    (said,) = caplog.messages
    assert f"{folder.location}/{name} cannot be read (" in said
    assert said.endswith("): left out; continue the run to measure it")
    assert "\n" not in said


def test_record_flipped_by_a_byte_in_the_store_is_named_and_left_out(
    folder: RunFolder, caplog: pytest.LogCaptureFixture
) -> None:
    folder.put(record_of(result_of(make_trial())))
    storage, name = open_storage(folder.location), record_name(folder)
    whole = storage.read(name)
    storage.replace(name, whole[:200] + bytes([whole[200] ^ 4]) + whole[201:])
    assert not len(folder.read().trials)
    assert f"{folder.location}/{name} cannot be read (" in caplog.text


def test_flipped_bit_never_changes_a_value_in_silence(local: Path) -> None:
    folder = RunFolder(local)
    folder.put(record_of(result_of(make_trial())))
    honest = folder.read().trials
    (file,) = (local / "trials").iterdir()
    whole = file.read_bytes()
    num_refused = 0
    for at in range(4, len(whole), 131):
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        found = folder.read().trials
        assert found.equals(honest) or not len(found), at
        num_refused += not len(found)
    assert num_refused > 20


def test_damaged_name_of_a_column_is_not_a_column_of_nulls(folder: RunFolder) -> None:
    folder.put(record_of(result_of(make_trial())))
    storage, name = open_storage(folder.location), record_name(folder)
    storage.replace(name, storage.read(name).replace(b"test_accuracy", b"test_accuraay"))
    assert not len(folder.read().trials)


def test_run_that_is_being_measured_is_closed_to_others(local: Path) -> None:
    with (
        RunFolder(local).locked(),
        pytest.raises(ResultsError, match="another process is measuring into"),
        RunFolder(local).locked(),
    ):
        pass
    with RunFolder(local).locked():
        pass


def test_second_run_into_the_same_folder_is_refused(folder: RunFolder) -> None:
    with pytest.raises(ResultsError, match="already holds a run; choose another"):
        folder.create(make_run(run_name="other"))
    assert folder.describe() == make_run()


def test_end_of_a_run_is_written_into_its_description_and_the_trials_stay(folder: RunFolder) -> None:
    folder.put(record_of(result_of(make_trial())))
    assert folder.describe().end is None
    ended = make_run(end=End(reason="2 blocks are recorded", num_blocks=2))
    folder.update(ended)
    assert folder.describe() == ended
    assert folder.num_records() == {make_trial().key: 1}


def test_run_of_another_schema_version_is_refused_by_naming_both(folder: RunFolder) -> None:
    storage = open_storage(folder.location)
    storage.replace("run.json", storage.read("run.json").replace(b'"schema_version": 4', b'"schema_version": 2'))
    with pytest.raises(ResultsError) as refused:
        folder.describe()
    assert str(refused.value) == (
        f"{folder.location} has schema_version=2, this release reads 3 and 4; measure it again, or read it with "
        "the release that wrote it"
    )


def test_run_of_the_version_before_is_read(folder: RunFolder) -> None:
    storage = open_storage(folder.location)
    storage.replace("run.json", storage.read("run.json").replace(b'"schema_version": 4', b'"schema_version": 3'))
    assert folder.describe() == make_run()


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'{"schema_version": 3}'])
def test_damaged_description_is_named(local: Path, content: bytes) -> None:
    (local / "run.json").write_bytes(content)
    with pytest.raises(ResultsError, match=r"run\.json cannot be read .*; measure the run again") as refused:
        RunFolder(local).describe()
    assert "\n" not in str(refused.value)


def test_place_without_a_run_says_so(place: Path | str) -> None:
    assert not RunFolder(place).exists()
    with pytest.raises(ResultsError, match=r"holds no run \(run\.json is missing\)"):
        RunFolder(place).describe()
    assert not len(RunFolder(place).read().trials)
    assert not RunFolder(place).has_failed("none")


def test_local_files_have_the_names_that_other_programs_rely_on(local: Path) -> None:
    folder, trial = RunFolder(local), make_trial()
    for num_retries in (0, 1):
        folder.put(record_of(failure_of(trial)), num_retries)
    with folder.locked(), folder.log(trial.key) as log:
        log.write("hello\n")
        assert (local / "logs" / f"{trial.key}.log").read_text() == "hello\n", "each line at once"
    assert sorted(str(path.relative_to(local)) for path in local.rglob("*") if path.is_file()) == [
        ".lock", f"logs/{trial.key}.log", "run.json", f"trials/{trial.key}.1.parquet", f"trials/{trial.key}.parquet"
    ]  # fmt: skip


def test_unwritable_folder_is_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResultsError, match="cannot be written .*, or choose another"):
        RunFolder(tmp_path / "file" / "r").create(make_run())


def test_report_tables_keep_types_docs_and_bytes(folder: RunFolder, tmp_path: Path) -> None:
    folder.put(record_of(result_of(make_trial())))
    tables = folder.read()
    write_tables(tables, tmp_path)
    first = (tmp_path / "trials.parquet").read_bytes()
    again = read_tables(tmp_path)
    assert again.trials.equals(tables.trials)
    assert again.gradients.equals(tables.gradients)
    write_tables(again, tmp_path)
    assert (tmp_path / "trials.parquet").read_bytes() == first
    found = pq.read_schema(tmp_path / "trials.parquet")
    assert found.field("training_seconds").metadata[b"unit"] == b"s"
    assert found.metadata[b"stratbench_schema"] == b"4"


def _race(folder: Path, who: int, wins: "multiprocessing.Queue[int]") -> None:
    if LocalStorage(folder).put_if_absent("one", f"{who}".encode() * 1000):
        wins.put(who)


def test_of_many_processes_exactly_one_wins_and_nothing_is_left_behind(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    wins: multiprocessing.Queue[int] = context.Queue()
    racers = [context.Process(target=_race, args=(tmp_path, who, wins)) for who in range(8)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    winner = wins.get(timeout=5)
    assert wins.empty()
    assert (tmp_path / "one").read_text() == f"{winner}" * 1000
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


@pytest.mark.parametrize("name", ["", ".", "..", "../up", "a/b", "-x", "x" * 101, "a b", "a\nb", "data", "history"])
def test_run_names_cannot_leave_the_results_root(name: str) -> None:
    with pytest.raises(ValueError, match="run_name="):
        check_run_name(name)


def test_every_column_is_documented_and_named_by_the_rules() -> None:
    for table in schema.TABLES.values():
        names = [column.name for column in table]
        assert len(set(names)) == len(names)
        for column in table:
            assert column.doc
            if column.name.endswith("_seconds") or column.name == "seconds":
                assert column.unit == "s"
            if column.name.endswith("_bytes"):
                assert column.unit == "bytes"
            if column.name.startswith("is_"):
                assert column.type == schema.BOOLEAN


def test_columns_that_other_programs_rely_on() -> None:
    trials = {column.name for column in schema.TRIALS}
    assert trials >= {
        "trial_key", "run_name", "block", "role", "arm", "strategy", "global_batch_size", "num_workers", "num_replicas",
        "cores_per_replica", "loop", "precision", "status", "reason", "training_seconds", "examples_per_second",
        "test_accuracy", "device_seconds", "cpu_utilisation", "num_attempts", "first_taint", "slowdown",
    }  # fmt: skip
    assert {column.name for column in schema.EPOCHS} >= {"trial_key", "epoch", "training_seconds", "test_accuracy"}
