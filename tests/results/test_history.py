"""The history: appended by several writers, read in parts, and damaged."""

import dataclasses
import shutil
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from flows.__main__ import main
from tasks.domain.exit_code import ExitCode
from tasks.results.error import ResultsError
from tasks.results.history import DAMAGED, Ending, Entry, History, Span, export, night_of, parse_span, stack
from tasks.results.run import End, Run
from tasks.results.store import RunFolder, Tables
from tests.analysis.example_runs import fill, grid, make_run
from tests.stores import PLACES

GOLDEN = Path(__file__).parent / "golden" / "version-3"


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Tables]:
    run = make_run(grid(2))
    return run, fill(tmp_path_factory.mktemp("example"), run).read()


def night(example: tuple[Run, Tables], day: int) -> Run:
    """The example, begun on that day of November."""
    return dataclasses.replace(
        example[0], run_name=f"nightly-202611{day:02}", created_at=datetime(2026, 11, day, 2, tzinfo=UTC)
    )


def named(tables: Tables, run: Run) -> Tables:
    return tables.with_trials({"run_name": [run.run_name] * tables.trials.num_rows})


@pytest.fixture
def nights(tmp_path: Path, example: tuple[Run, Tables]) -> History:
    """Three of them."""
    history = History(tmp_path)
    for day in (3, 1, 2):
        run = night(example, day)
        assert history.append(run, named(example[1], run))
    return history


def test_runs_come_back_in_the_order_of_their_days(nights: History, example: tuple[Run, Tables]) -> None:
    names = nights.read(["run_name"])["run_name"].to_pylist()
    assert list(dict.fromkeys(names)) == ["nightly-20261101", "nightly-20261102", "nightly-20261103"]
    assert len(names) == 3 * example[1].trials.num_rows
    assert nights.read().schema.equals(example[1].trials.schema)


def test_span_opens_only_the_files_of_its_days(nights: History, tmp_path: Path) -> None:
    for path in (tmp_path / "history").glob("2026-11-01*"):
        path.write_bytes(b"never read")
    table = nights.read(["run_name", "strategy"], parse_span("2026-11-02", "2026-11-02", ["strategy=mirrored"]))
    assert set(table["run_name"].to_pylist()) == {"nightly-20261102"}
    assert set(table["strategy"].to_pylist()) == {"mirrored"}
    assert nights.read(["run_name"], Span(values={"strategy": "none of them"})).num_rows == 0


def test_run_that_was_continued_counts_once(nights: History, example: tuple[Run, Tables]) -> None:
    run = night(example, 2)
    assert not nights.append(run, named(example[1], run)), "nothing new"
    more = named(example[1], run)
    shorter = dataclasses.replace(more, trials=more.trials.slice(1))
    assert nights.append(run, shorter)
    assert nights.entries()[1] == Entry(date(2026, 11, 2), run.run_name, 1)
    assert nights.read(["run_name"]).num_rows == 3 * example[1].trials.num_rows - 1


@pytest.mark.parametrize("place", PLACES, indirect=True)
def test_writers_lose_nothing(place: str, example: tuple[Run, Tables]) -> None:
    runs = [night(example, day) for day in range(1, 9)]

    def write(run: Run) -> bool:
        return History(place).append(run, named(example[1], run))

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(write, [*runs, *runs])) == len(runs)
    assert len(History(place).entries()) == len(runs)


def test_trials_of_version_3_are_read_as_those_of_this_version(tmp_path: Path) -> None:
    folder = tmp_path / "history"
    folder.mkdir()
    records = [pq.read_table(path) for path in sorted((GOLDEN / "trials").iterdir())]
    old = records[0].drop_columns(["epochs", "steps", "gradients"])
    pq.write_table(old, folder / "2026-11-01.old.0.parquet")
    (row,) = History(tmp_path).read(["run_name", "num_hosts", "hostnames", "hostname"]).to_pylist()
    assert (row["num_hosts"], row["hostnames"]) == (1, [row["hostname"]])


@pytest.mark.parametrize("content", [b"", b"PAR1 and no more", None], ids=["empty", "cut", "flipped"])
def test_damaged_file_is_set_aside_and_the_rest_goes_on(
    nights: History, example: tuple[Run, Tables], tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / nights.entries()[0].name
    whole = bytearray(path.read_bytes())
    whole[100] ^= 1  # in the first column's page
    path.write_bytes(bytes(whole) if content is None else content)
    names = set(nights.read()["run_name"].to_pylist())
    assert names == {"nightly-20261102", "nightly-20261103"}
    assert list(nights.set_aside()) == [f"history/{path.name}"]
    assert (tmp_path / DAMAGED / path.name).exists()
    assert nights.set_aside() == {}
    path.write_bytes(b"damaged again")
    assert list(nights.set_aside()) == [f"history/{path.name}"]
    assert (tmp_path / DAMAGED / f"{path.name}.1").read_bytes() == b"damaged again"
    run = night(example, 1)
    assert nights.append(run, named(example[1], run)), "it can be taken in again"
    assert len(nights.entries()) == 3


def test_export_says_the_same_in_both_forms(nights: History, tmp_path: Path) -> None:
    columns = ["run_name", "strategy", "training_seconds", "hostnames"]
    table = nights.read(columns)
    export(table, tmp_path / "all.parquet")
    export(table, tmp_path / "all.csv")
    assert pq.read_table(tmp_path / "all.parquet").equals(table)
    frame = pd.read_csv(tmp_path / "all.csv")
    assert frame["training_seconds"].tolist() == pytest.approx(table["training_seconds"].to_pylist(), nan_ok=True)
    assert set(frame["hostnames"]) == {" ".join(table["hostnames"][0].as_py())}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["export", "all.xlsx"], "export=all.xlsx must end in .csv or .parquet"),
        (["export", "all.csv", "--column", "speed"], "column=speed is none of the table trials"),
        (["list", "--where", "mirrored"], "where=mirrored must be COLUMN=VALUE"),
        (["list", "--where", "hostnames=h1"], "where=hostnames=h1: hostnames holds lists"),
        (["list", "--since", "yesterday"], "since=yesterday is no day"),
        (["list", "--until", "2026-13-01"], "until=2026-13-01 is no day"),
        (["list", "--since", "2026-11-03", "--until", "2026-11-01"], "since=2026-11-03 is after until=2026-11-01"),
    ],
)
def test_nonsense_is_refused(words: list[str], said: str, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["history", *words]) == ExitCode.REFUSED
    assert said in capsys.readouterr().err


def test_run_is_taken_in_again_only_with_what_is_kept_of_it(tmp_path: Path, example: tuple[Run, Tables]) -> None:
    run, whole = example
    part = dataclasses.replace(whole, trials=whole.trials.slice(1))
    other = whole.with_trials({"started_at": [datetime(2026, 12, 1, tzinfo=UTC)] * whole.trials.num_rows})
    history = History(tmp_path)
    history.check_keeps(run, whole)
    assert history.append(run, part)
    history.check_keeps(run, whole)
    assert history.append(run, whole)
    for wrong, count in ((part, 1), (other, whole.trials.num_rows)):
        with pytest.raises(ResultsError, match=rf"the history keeps {count} valid trials of that name"):
            history.check_keeps(run, wrong)
    history.check_keeps(dataclasses.replace(run, run_name="another"), other)


def test_command_line_adds_lists_and_verifies(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = shutil.copytree(GOLDEN, root / "runs" / "golden")
    assert main(["history", "add", str(run), str(run)]) == ExitCode.OK
    name = RunFolder(run).describe().run_name
    assert main(["history", "list"]) == ExitCode.OK
    assert main(["history", "verify"]) == ExitCode.OK
    out = capsys.readouterr().out.splitlines()
    assert out[:2] == [f"{name}: appended", f"{name}: is there already"]
    assert out[3].split()[1:4] == [name, "2", "2"]
    assert out[-1] == f"every file of the history at {root / 'runs'} can be read"
    (path,) = (root / "runs" / "history").glob("*.parquet")
    path.write_bytes(b"")
    assert main(["history", "verify"]) == ExitCode.INVALID
    assert main(["history", "verify"]) == ExitCode.OK
    (root / "runs" / "history" / "events").mkdir()
    (root / "runs" / "history" / "events" / "20260101T000000.accept.deadbeef.json").write_text("{")
    assert main(["history", "verify"]) == ExitCode.INVALID


def test_nights_of_one_day_come_in_the_order_in_which_they_were_begun(
    tmp_path: Path, example: tuple[Run, Tables]
) -> None:
    history = History(tmp_path)
    for hour, name in ((2, "nightly-b"), (14, "after"), (20, "nightly-a")):
        at = datetime(2026, 1, 1, hour, tzinfo=UTC)
        run = dataclasses.replace(example[0], run_name=name, night=date(2026, 1, 1), created_at=at)
        history.append(run, example[1])
    nights = history.nights([])
    assert [night.run_name for night in nights] == ["nightly-b", "after", "nightly-a"]
    old = dataclasses.replace(nights[2], created_at=None, run_name="z", trials=example[1].trials)
    history.append_night(old)
    assert [night.run_name for night in history.nights([])] == ["z", "nightly-b", "after", "nightly-a"]


@pytest.mark.parametrize(
    ("interpreter", "control"),
    [
        ("/root/.stratbench/controls/0.1.0-g1a2b3c4d-r5e6f70/venv/bin/python", "0.1.0-g1a2b3c4d-r5e6f70"),
        ("/opt/tf-nightly/bin/python", "/opt/tf-nightly"),
        ("/c/python", "/"),
        (None, None),
    ],
)
def test_night_knows_its_control(example: tuple[Run, Tables], interpreter: str | None, control: str | None) -> None:
    sweep = dataclasses.replace(example[0].sweep, versus=interpreter)
    run = dataclasses.replace(example[0], night=date(2026, 1, 1), sweep=sweep)
    assert night_of(run, example[1]).control == control


def test_nightly_runs_are_kept_with_what_they_were_to_measure_and_how_they_ended(
    tmp_path: Path, example: tuple[Run, Tables]
) -> None:
    history, end = History(tmp_path), End(reason="enough", num_blocks=2)
    ended, stopped, crashed = (
        dataclasses.replace(example[0], run_name=name, night=date(2026, 1, day), end=how)
        for name, day, how in (("b", 2, end), ("a", 1, None), ("c", 3, None))
    )
    history.append(ended, example[1])
    history.append(stopped, example[1])
    history.append(crashed, dataclasses.replace(example[1], trials=example[1].trials.slice(0, 0)), has_crashed=True)
    history.append(dataclasses.replace(example[0], run_name="full-1"), example[1])
    nights = history.nights(["block", "strategy"])
    assert [(night.day.day, night.run_name, night.ending) for night in nights] == [
        (1, "a", Ending.STOPPED),
        (2, "b", Ending.ENDED),
        (3, "c", Ending.CRASHED),
    ]
    assert [night.trials.num_rows for night in nights] == [example[1].trials.num_rows] * 2 + [0]
    assert nights[0].trials.column_names == ["block", "strategy"]
    assert nights[0].cells == tuple(cell.label for cell in example[0].sweep.cells)
    assert not nights[0].has_control
    assert not nights[0].is_synthetic
    assert len(history.nights([], until=date(2026, 1, 2))) == 2
    assert stack(nights)["night"].to_pylist() == [0] * nights[0].trials.num_rows + [1] * nights[1].trials.num_rows
    assert history.append(dataclasses.replace(stopped, end=end), example[1])  # the same rows, but another ending
    assert history.nights([])[0].ending is Ending.ENDED
