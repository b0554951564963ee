"""The cache of prepared folders: all or nothing, however many write and however they end."""

import multiprocessing
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.synchronize import Barrier
from pathlib import Path

import numpy as np
import pytest

from tasks.data import cache
from tasks.data.cache import install, is_intact
from tasks.data.preparation import prepare
from tasks.data.reading import Split, read_split
from tests.data.samples import dataset_of, refused

DATASET = dataset_of()
NUM_ROUNDS = 12


def test_no_flipped_byte_of_the_content_passes_as_intact(tmp_path: Path) -> None:
    directory = tmp_path / DATASET.digest
    install(DATASET, directory)
    for split, examples in ((Split.TRAIN, DATASET.train), (Split.TEST, DATASET.test)):
        path = directory / split.file_name
        good = path.read_bytes()
        for content in (examples.images.tobytes(), examples.labels.tobytes()):
            start = good.index(content)
            for position in (start, start + len(content) // 2, start + len(content) - 1):
                path.write_bytes(good[:position] + bytes([good[position] ^ 1]) + good[position + 1 :])
                assert not is_intact(directory)
        path.write_bytes(good[:-1])
        assert not is_intact(directory)
        path.write_bytes(good)
        assert is_intact(directory)


def test_writer_that_comes_second_leaves_the_first_ones_copy_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tmp_path / DATASET.digest
    move = cache._move

    def lose_the_race(temporary: Path, target: Path) -> None:
        monkeypatch.setattr(cache, "_move", move)
        install(DATASET, directory)
        move(temporary, target)

    monkeypatch.setattr(cache, "_move", lose_the_race)
    install(DATASET, directory)
    assert is_intact(directory)
    assert [path.name for path in tmp_path.iterdir()] == [directory.name]


def test_reader_never_misses_a_file_while_others_replace_it(tmp_path: Path) -> None:
    directory = tmp_path / DATASET.digest
    install(DATASET, directory)
    is_over = threading.Event()

    def replace() -> None:
        try:
            for _ in range(60):
                install(DATASET, directory)
        finally:
            is_over.set()

    writer = threading.Thread(target=replace)
    writer.start()
    num_reads = 0
    while not is_over.is_set():
        images, _ = read_split(directory, Split.TRAIN)
        np.testing.assert_array_equal(images, DATASET.train.images)
        num_reads += 1
    writer.join()
    assert num_reads > 10
    assert is_intact(directory)


def test_two_processes_that_prepare_at_once_both_succeed(tmp_path: Path, archive: Path) -> None:
    for number in range(0, NUM_ROUNDS, 2):  # every other round starts from a damaged copy
        prepared = prepare(str(archive), tmp_path / str(number))
        (Path(prepared.directory) / "train.parquet").write_bytes(b"damaged")
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(2)
    processes = [context.Process(target=prepare_together, args=(str(archive), tmp_path, barrier)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=60)
    assert [process.exitcode for process in processes] == [0, 0]
    for number in range(NUM_ROUNDS):
        assert [path.name for path in (tmp_path / str(number)).iterdir()] == [DATASET.digest]


def prepare_together(source: str, folder: Path, barrier: Barrier) -> None:
    """One of two processes: prepares in step with the other one, then reads what must be there."""
    for number in range(NUM_ROUNDS):
        barrier.wait(timeout=30)
        prepared = prepare(source, folder / str(number))
        images, labels = read_split(Path(prepared.directory), Split.TRAIN)
        np.testing.assert_array_equal(images, DATASET.train.images)
        np.testing.assert_array_equal(labels, DATASET.train.labels)


def test_writer_killed_before_the_end_leaves_nothing_that_is_read(tmp_path: Path, archive: Path) -> None:
    program = (
        "import os, signal, sys, pathlib; from tasks.data import cache, preparation; "
        "cache._move = lambda *_: os.kill(os.getpid(), signal.SIGKILL); "
        "preparation.prepare(sys.argv[1], pathlib.Path(sys.argv[2]))"
    )
    done = subprocess.run([sys.executable, "-c", program, str(archive), str(tmp_path / "cache")], check=False)
    assert done.returncode == -signal.SIGKILL
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".partial"]
    assert is_intact(Path(prepare(str(archive), tmp_path / "cache").directory))


def test_full_disk_is_refused_in_words_and_leaves_nothing(tmp_path: Path) -> None:
    words = f"cache={tmp_path} cannot be written", "File too large", "free space", "another folder"
    with _largest_file(200), refused(*words):
        install(DATASET, tmp_path / DATASET.digest)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("blocked", ["cache", "directory"])
def test_file_in_the_way_is_refused_in_words(tmp_path: Path, blocked: str) -> None:
    directory = tmp_path / "cache" / DATASET.digest
    path = directory.parent if blocked == "cache" else directory
    path.parent.mkdir(exist_ok=True)
    path.write_text("in the way")
    assert not is_intact(directory)
    with refused(f"cache={directory.parent} cannot be written", "; free space there, or choose another"):
        install(DATASET, directory)
    assert path.read_text() == "in the way"


@contextmanager
def _largest_file(num_bytes: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
