import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from tasks.results import storage
from tasks.results.error import ResultsError
from tasks.results.storage import RemoteStorage, Storage, open_storage
from tests.stores import needs_s3, object_store

only_memory = pytest.mark.parametrize("place", ["memory"], indirect=True)
NUM_WRITERS = 12
REQUIREMENTS = Path(__file__).parents[2] / "requirements"


@pytest.fixture
def store(place: Path | str) -> Storage:
    found = open_storage(place)
    found.prepare()
    return found


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No patience with a store that is away, neither here nor in S3's library (which has 7 s of it)."""
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setattr(storage, "PUT_PAUSES", ())


def test_file_is_put_once_read_back_replaced_and_removed(store: Storage) -> None:
    assert not store.exists("trials/a.parquet")
    assert store.put_if_absent("trials/a.parquet", b"first")
    assert not store.put_if_absent("trials/a.parquet", b"second")
    assert store.exists("trials/a.parquet")
    assert store.read("trials/a.parquet") == b"first"
    for content in (b"a long second version", b"short"):
        store.replace("trials/a.parquet", content)
        assert store.read("trials/a.parquet") == content
    store.remove("trials/a.parquet")
    store.remove("trials/a.parquet")
    assert not store.exists("trials/a.parquet")
    assert store.put_if_absent("trials/a.parquet", b"2")


def test_what_is_not_there_is_said_to_be_missing(store: Storage) -> None:
    with pytest.raises(FileNotFoundError):
        store.read("run.json")
    assert store.names("trials", ".parquet") == []
    store.put_if_absent("there", b"1")
    found = store.read_many(["there", "absent"])
    assert found["there"] == b"1"
    assert isinstance(found["absent"], FileNotFoundError)
    assert store.read_many([]) == {}


def test_listing_is_of_now_and_of_one_folder(store: Storage, place: Path | str) -> None:
    store.put_if_absent("trials/b.parquet", b"")
    assert store.names("trials", ".parquet") == ["trials/b.parquet"]
    open_storage(place).put_if_absent("trials/a.parquet", b"")
    store.put_if_absent("trials/a.txt", b"")
    store.put_if_absent("logs/a.parquet", b"")
    assert store.names("trials", ".parquet") == ["trials/a.parquet", "trials/b.parquet"]
    open_storage(place).remove("trials/b.parquet")
    assert store.names("trials", ".parquet") == ["trials/a.parquet"]


def test_text_is_added_to_the_end_also_when_the_writer_fails(store: Storage) -> None:
    with store.appended("logs/a.log") as log:
        log.write("one\n")
    with suppress(RuntimeError), store.appended("logs/a.log") as log:
        log.write("two\n")
        raise RuntimeError
    assert store.read("logs/a.log") == b"one\ntwo\n"


def test_of_many_writers_exactly_one_wins_and_nothing_is_left_behind(store: Storage, place: Path | str) -> None:
    together = threading.Barrier(NUM_WRITERS)

    def write(who: int) -> bool:
        mine = open_storage(place)
        together.wait()
        return mine.put_if_absent("trials/one.parquet", f"{who:02}".encode() * 50_000)

    with ThreadPoolExecutor(NUM_WRITERS) as writers:
        wins = list(writers.map(write, range(NUM_WRITERS)))
    assert sum(wins) == 1
    assert store.read("trials/one.parquet") == f"{wins.index(True):02}".encode() * 50_000
    assert store.names("trials", "") == ["trials/one.parquet"]


def test_many_writers_of_different_files_lose_nothing(store: Storage) -> None:
    names = [f"trials/{number:02}.parquet" for number in range(40)]
    with ThreadPoolExecutor(NUM_WRITERS) as writers:
        assert all(writers.map(lambda name: store.put_if_absent(name, name.encode()), names))
    assert store.names("trials", ".parquet") == names
    assert store.read_many(names) == {name: name.encode() for name in names}


@pytest.mark.parametrize("place", [pytest.param("s3", marks=needs_s3)], indirect=True)
def test_large_file_in_parts_is_put_once_too(store: Storage) -> None:
    large = bytes(101 * 2**20)
    assert store.put_if_absent("data", large)
    assert not store.put_if_absent("data", large[:-1] + b"1")
    assert store.read("data") == large


@only_memory
def test_put_whose_answer_was_lost_counts_as_put(
    store: RemoteStorage, monkeypatch: pytest.MonkeyPatch, at_once: None
) -> None:
    def lose(put: Callable[..., None]) -> Callable[..., None]:
        def answer(*arguments: object, **settings: object) -> None:
            put(*arguments, **settings)
            raise ConnectionError("the connection was closed")

        return answer

    monkeypatch.setattr(store._filesystem, "pipe_file", lose(store._filesystem.pipe_file))
    assert store.put_if_absent("one", b"1")
    assert not store.put_if_absent("one", b"2")
    monkeypatch.undo()
    assert store.read("one") == b"1"


@only_memory
def test_put_waits_for_a_store_that_is_away_for_a_moment(store: RemoteStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "PUT_PAUSES", (0.0, 0.0))
    put, failures = store._filesystem.pipe_file, [ConnectionError("away"), OSError("409 another put is under way")]

    def refuse_at_first(*arguments: object, **settings: object) -> None:
        if failures:
            raise failures.pop()
        put(*arguments, **settings)

    monkeypatch.setattr(store._filesystem, "pipe_file", refuse_at_first)
    assert store.put_if_absent("one", b"1")


@only_memory
def test_store_that_writes_over_files_is_refused_before_a_run_begins(
    store: RemoteStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = store._filesystem.pipe_file
    monkeypatch.setattr(store._filesystem, "pipe_file", lambda path, content, mode="overwrite": put(path, content))
    with pytest.raises(ResultsError, match=r"results_url=memory://\w+: this store writes over a file"):
        store.prepare()
    assert store.names(".", "") == []


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("nothing://bucket/x", "results_url=nothing://bucket/x: Protocol not known: nothing"),
        ("ftp://host/x", "results_url=ftp://host/x: ftp has no put that fails where a file is there"),
        ("memory://", "results_url=memory:// names no bucket"),
        ("s3://bucket/x?versionId=1", "results_url=s3://... must be a plain URL"),
        ("simplecache::s3://bucket/x", "results_url=simplecache::s3://... must be a plain URL"),
    ],
)
def test_location_that_cannot_serve_is_refused_in_one_sentence(location: str, words: str) -> None:
    with pytest.raises(ResultsError) as refused:
        open_storage(location)
    assert str(refused.value).startswith(words)
    assert "\n" not in str(refused.value)


def test_protocol_without_its_package_is_refused_with_the_extra_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(storage, "get_filesystem_class", missing)
    with pytest.raises(ResultsError) as refused:
        open_storage("s3://bucket/x")
    assert str(refused.value) == (
        "results_url=s3://bucket/x: Install s3fs to access S3; install the extra: pip install 'stratbench[s3]'"
    )


@pytest.mark.parametrize("location", ["s3://key:hunter2@bucket/x", "s3://hunter2@bucket/x", "ftp://me:hunter2@host/"])
def test_url_with_credentials_is_refused_and_never_repeated(location: str) -> None:
    with pytest.raises(ResultsError, match="has a user or password in it") as refused:
        open_storage(location)
    assert "hunter2" not in str(refused.value)


def test_file_url_is_the_local_folder(tmp_path: Path) -> None:
    found = open_storage(f"{tmp_path.as_uri()}/a%20b")
    assert found.is_local
    assert found.location == tmp_path / "a b"


def test_local_folder_that_is_gone_is_not_made_again(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match=r"the results folder .* cannot be written \(No such file or directory\)"):
        open_storage(tmp_path / "gone").put_if_absent("trials/a.parquet", b"")
    assert not (tmp_path / "gone").exists()


@needs_s3
def test_store_that_goes_away_is_said_in_one_sentence(at_once: None, caplog: pytest.LogCaptureFixture) -> None:
    with object_store() as server:
        store = open_storage("s3://bench/gone")
        store.put_if_absent("trials/a.parquet", b"1")
        server.stop()
        for call in (
            lambda: store.put_if_absent("trials/b.parquet", b"1"),
            lambda: store.replace("run.json", b"1"),
            lambda: store.read("run.json"),
            lambda: store.read_many(["trials/a.parquet"]),
            lambda: store.exists("run.json"),
            lambda: store.names("trials", ".parquet"),
        ):
            with pytest.raises(ResultsError) as refused:
                call()
            assert str(refused.value).startswith("the results at s3://bench/gone cannot be reached (")
            assert "\n" not in str(refused.value)
        with store.appended("logs/a.log") as log:
            log.write("one\n")
    (said,) = caplog.messages
    assert said.startswith("the log logs/a.log is lost: the results at s3://bench/gone cannot be reached (")


@needs_s3
def test_bucket_that_does_not_exist_is_said_in_one_sentence(s3: object, at_once: None) -> None:
    with pytest.raises(ResultsError, match=r"the results at s3://nobody/x cannot be reached \(.*bucket does not exist"):
        open_storage("s3://nobody/x").put_if_absent("run.json", b"1")


def test_pinned_s3fs_is_of_the_release_of_the_pinned_fsspec() -> None:
    def pinned(name: str, file: str) -> str:
        return str(re.findall(rf"^{name}==(\S+)", (REQUIREMENTS / file).read_text(), re.MULTILINE)[0])

    assert pinned("s3fs", "extras.txt") == pinned("fsspec", "cpu.txt") == pinned("fsspec", "gpu.txt")
