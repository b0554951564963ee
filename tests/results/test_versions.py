"""Results of earlier releases: `golden/version-3` was written by the last release of that schema."""

import shutil
from pathlib import Path

import pytest

from flows.__main__ import main
from tasks.domain.exit_code import ExitCode
from tasks.results import schema
from tasks.results.store import RunFolder

GOLDEN = Path(__file__).parent / "golden"


def test_every_readable_version_but_this_one_has_a_golden_run() -> None:
    assert sorted(path.name for path in GOLDEN.iterdir()) == [f"version-{n}" for n in schema.READABLE[:-1]]


def test_records_of_version_3_read_as_trials_of_one_machine() -> None:
    folder = RunFolder(GOLDEN / "version-3")
    tables = folder.read()
    assert folder.describe().schema_version == schema.VERSION
    for row in tables.trials.to_pylist():
        assert (row["status"], row["num_hosts"], row["hostnames"]) == ("valid", 1, [row["hostname"]])
        assert row["num_retries"] is None
    assert [table.num_rows for table in (tables.trials, tables.epochs, tables.steps)] == [2, 2, 2]


def test_run_of_version_3_is_continued_and_nothing_of_it_is_measured_again(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = shutil.copytree(GOLDEN / "version-3", root / "runs" / "golden")
    before = {path: path.read_bytes() for path in (run / "trials").iterdir()}
    sweep = ["--strategy", "one_device", "--batch-size", "64", "--epochs", "1", "--blocks", "1"]
    sweep += ["--max-train-examples", "256"]
    assert main(["run", "--run-name", "golden", *sweep, "--resume"]) == ExitCode.OK
    assert "finished: 1 blocks are recorded" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in (run / "trials").iterdir()} == before


@pytest.mark.parametrize("name", ["num_hosts", "strategy"])
def test_a_column_that_no_version_lacks_alone_is_damage(name: str) -> None:
    declared = schema.arrow_schema(schema.TRIALS)
    table = declared.empty_table().drop_columns(name)
    with pytest.raises(ValueError, match="its columns are not those of the schema"):
        schema.upgrade(table, declared)
