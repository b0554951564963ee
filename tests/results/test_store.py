"""A run's folder: what a record says, how it is kept, and what is refused."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tasks.domain.cell import Arm
from tasks.results import schema
from tasks.results.error import ResultsError
from tasks.results.record import Record
from tasks.results.run import End, check_run_name
from tasks.results.software import Software
from tasks.results.store import RunFolder, read_tables, write_tables
from tasks.training.sampling import HostUsage
from tests.analysis.example_runs import ENVIRONMENT, make_failure, make_result, make_run, record_of
from tests.examples import make_trial

RUN = make_run(end=None)


def valid(minutes: int = 0, **changes: object) -> Record:
    """The record of a trial with those changes that took 4 s."""
    return record_of(RUN, make_result(make_trial(**changes), 4.0, (0.96, 0.97)), minutes)


def failed(**changes: object) -> Record:
    return record_of(RUN, make_failure(make_trial(**changes)))


@pytest.fixture
def local(tmp_path: Path) -> Path:
    """A folder with a run."""
    RunFolder(tmp_path / "runs" / "r").create(RUN)
    return tmp_path / "runs" / "r"


@pytest.fixture
def folder(place: Path | str) -> RunFolder:
    """A run, in each kind of place."""
    found = RunFolder(place)
    found.create(RUN)
    return found


def record_name(folder: RunFolder) -> str:
    """Of the only record there."""
    (name,) = folder.storage.names("trials", "")
    return name


def test_record_has_every_declared_column_and_no_other() -> None:
    declared = {column.name for column in schema.TRIALS} | {"epochs", "steps", "gradients"}
    required = {column.name for column in schema.TRIALS if not column.is_nullable}
    assert required <= set(failed()) <= declared
    assert required <= set(valid()) <= declared


def test_derived_metrics_by_hand() -> None:
    record = valid(seed=255)
    assert record["training_seconds"] == 4.0
    assert record["examples_per_second"] == 500.0
    assert record["device_seconds"] == 8.0
    assert record["test_accuracy"] == pytest.approx(0.97)
    assert record["unexplained_seconds"] == pytest.approx(0.05)
    assert (record["status"], record["reason"]) == ("valid", None)
    assert record["order_checksum"] == "00000000000000ff"


def test_what_was_sampled_fills_columns_of_its_own(folder: RunFolder) -> None:
    names = {field.name for field in dataclasses.fields(HostUsage)}
    assert names <= {column.name for column in schema.TRIALS}
    usage = {"cpu_utilisation": 0.93, "gpu_throttle_reasons": ["hw_slowdown"], "foreign_gpu_processes": 0}
    tainted = {"usage": usage, "num_attempts": 2, "first_taint": "a backup ran"}
    folder.put(record_of(RUN, make_result(make_trial(), 4.0), **tainted))
    folder.put(valid(minutes=1, seed=2))
    row, honest = folder.read().trials.to_pylist()
    assert {name: row[name] for name in usage} == usage
    assert {row[name] for name in names - set(usage)} == {None}
    assert (row["num_attempts"], row["first_taint"]) == (2, "a backup ran")
    assert (honest["num_attempts"], honest["first_taint"], honest["slowdown"]) == (1, None, None)
    assert (honest["arm"], honest["role"]) == ("here", "measured")


def test_software_of_another_environment_is_its_own_or_not_known() -> None:
    versions = {"stratbench": "0.0.9", "python": "3.12.1", "tensorflow": "2.20.0", "keras": "3.10.0", "numpy": "2.1.0"}
    software = Software(stratbench_version="0.0.8", commit="c" * 40, is_commit_clean=True, python_version="3.12.1")

    def told(arm: Arm, versions: dict[str, str], software: Software | None = None) -> list[object]:
        result = dataclasses.replace(make_result(make_trial(arm=arm), 4.0), versions=versions)
        record = record_of(RUN, result, software=software)
        return [record[name] for name in ("stratbench_version", "commit", "is_commit_clean", "python_version")]

    assert told(Arm.OTHER, versions) == ["0.0.9", None, None, "3.12.1"]
    assert told(Arm.OTHER, versions, software) == ["0.0.9", "c" * 40, True, "3.12.1"]
    assert told(Arm.OTHER, {name: text for name, text in versions.items() if name != "stratbench"})[0] == "unknown"
    assert told(Arm.HERE, versions)[0] == ENVIRONMENT.stratbench_version
    for answer in (software, None):
        lost = record_of(RUN, make_failure(make_trial(arm=Arm.OTHER)), software=answer)
        assert lost.items() >= dataclasses.asdict(answer or Software()).items()


def test_failed_trial_is_a_row_with_nulls_and_not_a_zero(folder: RunFolder) -> None:
    folder.put(failed())
    (row,) = folder.read().trials.to_pylist()
    assert (row["status"], row["reason"], row["failed_phase"]) == ("failed", "worker_killed", "training")
    for name in ("training_seconds", "examples_per_second", "test_accuracy", "device_seconds", "unexplained_seconds"):
        assert row[name] is None
    assert (folder.read().epochs.num_rows, folder.read().gradients.num_rows) == (0, 0)


def test_tables_come_back_in_the_order_of_blocks_and_starts(folder: RunFolder) -> None:
    points = [{"block": 2, "global_batch_size": 64}, {"block": 1, "global_batch_size": 128}, {"block": 1}]
    for minutes, point in enumerate(points):
        folder.put(valid(minutes, **point))
    tables, keys = folder.read(), [make_trial(**points[i]).key for i in (1, 2, 0)]
    assert tables.trials.column("trial_key").to_pylist() == keys
    assert tables.epochs.column("trial_key").to_pylist() == [key for key in keys for _ in (1, 2)]
    assert tables.epochs.column("epoch").to_pylist() == [1, 2] * 3
    assert set(tables.steps.column("trial_key").to_pylist()) == set(keys)
    assert sum(tables.steps.column("seconds").to_pylist()) == pytest.approx(3 * 4.0)
    assert tables.gradients.column("trial_key").to_pylist() == [key for key in keys for _ in (1, 2)]
    expected = make_result(make_trial(**points[1]), 4.0).gradients[0].projections
    assert tables.gradients.column("projections")[0].as_py() == list(expected)


def test_record_is_written_once_and_a_failed_trial_that_was_run_again_has_both_and_counts_as_the_last(
    folder: RunFolder,
) -> None:
    key = make_trial().key
    assert folder.put(failed())
    first = record_name(folder)
    before = folder.storage.read(first)
    assert not folder.put(valid())
    assert not folder.has(key, 1)
    assert folder.has_failed(key)
    assert folder.num_records() == {key: 1}
    assert folder.put(valid(), num_retries=1)
    assert not folder.has_failed(key)
    assert not folder.put(failed(), num_retries=1)
    assert folder.has(key, 1)
    assert folder.storage.read(first) == before
    assert folder.num_records() == {key: 2}
    assert folder.read().trials.column("status").to_pylist() == ["valid"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: b"",
        lambda whole: whole[:10],
        lambda whole: whole[:-20],
        lambda whole: whole[:200] + bytes([whole[200] ^ 4]) + whole[201:],
        lambda whole: whole.replace(b"test_accuracy", b"test_accuraay"),
    ],
    ids=["empty", "begin", "end cut", "bit flipped", "column renamed"],
)
def test_damaged_record_is_named_and_left_out(
    folder: RunFolder, caplog: pytest.LogCaptureFixture, damage: Callable[[bytes], bytes]
) -> None:
    folder.put(valid())
    name = record_name(folder)
    folder.put(valid(seed=2))
    folder.storage.replace(name, damage(folder.storage.read(name)))
    assert folder.read().trials.column("trial_key").to_pylist() == [make_trial(seed=2).key]
    (said,) = caplog.messages
    assert f"{folder.location}/{name} cannot be read (" in said
    assert said.endswith("): left out; continue the run to measure it")
    assert "\n" not in said


def test_flipped_bit_never_changes_a_value_in_silence(local: Path) -> None:
    folder = RunFolder(local)
    folder.put(valid())
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
    assert folder.describe() == RUN


def test_end_of_a_run_is_written_into_its_description_and_the_trials_stay(folder: RunFolder) -> None:
    folder.put(valid())
    assert folder.describe().end is None
    ended = dataclasses.replace(RUN, end=End(reason="2 blocks are recorded", num_blocks=2))
    folder.update(ended)
    assert folder.describe() == ended
    assert folder.num_records() == {make_trial().key: 1}


def test_run_of_the_version_before_is_read_and_of_another_one_refused_by_naming_both(folder: RunFolder) -> None:
    storage = folder.storage
    description = storage.read("run.json")
    storage.replace("run.json", description.replace(b'"schema_version": 4', b'"schema_version": 3'))
    assert folder.describe() == RUN
    storage.replace("run.json", description.replace(b'"schema_version": 4', b'"schema_version": 2'))
    with pytest.raises(ResultsError) as refused:
        folder.describe()
    assert str(refused.value) == (
        f"{folder.location} has schema_version=2, this release reads 3 and 4; measure it again, or read it with "
        "the release that wrote it"
    )


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
        folder.put(failed(), num_retries)
    with folder.locked(), folder.log(trial.key) as log:
        log.write("hello\n")
        assert (local / "logs" / f"{trial.key}.log").read_text() == "hello\n", "each line at once"
    assert sorted(str(path.relative_to(local)) for path in local.rglob("*") if path.is_file()) == [
        ".lock", f"logs/{trial.key}.log", "run.json", f"trials/{trial.key}.1.parquet", f"trials/{trial.key}.parquet"
    ]  # fmt: skip


def test_unwritable_folder_is_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResultsError, match="cannot be written .*, or choose another"):
        RunFolder(tmp_path / "file" / "r").create(RUN)


def test_report_tables_keep_types_docs_and_bytes(folder: RunFolder, tmp_path: Path) -> None:
    folder.put(valid())
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
