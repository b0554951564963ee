"""Preparation from end to end: every kind of source, again and again, sound and unsound."""

import logging
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tasks.data import cache, preparation
from tasks.data.preparation import examine, prepare
from tasks.data.reading import Split, read_split
from tasks.domain.dataset import PreparedDataset
from tests.data.samples import idx_path, refused, small_arrays, write_idx_folder, write_npz


def test_every_form_of_one_dataset_is_prepared_once(tmp_path: Path) -> None:
    arrays = small_arrays()
    sources = [
        write_idx_folder(tmp_path / "plain", arrays),
        write_idx_folder(tmp_path / "packed", arrays, is_compressed=True),
        write_npz(tmp_path / "data.npz", arrays | {"y_test": arrays["y_test"].astype(np.int64)}),
    ]
    prepared = [prepare(str(source), tmp_path / "cache") for source in sources]
    digest = prepared[0].digest
    assert prepared[0] == PreparedDataset(
        source=str(sources[0]),
        digest=digest,
        directory=str(tmp_path / "cache" / digest),
        num_train_examples=40,
        num_test_examples=12,
        image_shape=(5, 3, 1),
        num_classes=4,
    )
    assert [one.source for one in prepared] == [str(source) for source in sources]
    assert all(replace(one, source="") == replace(prepared[0], source="") for one in prepared)
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [digest]


def test_prepared_examples_are_the_sources(tmp_path: Path) -> None:
    arrays = small_arrays(num_classes=300, image_shape=(4, 6, 3))
    labels = np.arange(300)
    arrays |= {"y_train": np.repeat(labels, 10), "y_test": np.repeat(labels, 3)}
    prepared = prepare(str(write_npz(tmp_path / "data.npz", arrays)), tmp_path / "cache")
    assert (prepared.num_classes, prepared.image_shape) == (300, (4, 6, 3))
    for split in Split:
        images, read_labels = read_split(Path(prepared.directory), split)
        np.testing.assert_array_equal(images, arrays[f"x_{split}"])
        np.testing.assert_array_equal(read_labels, arrays[f"y_{split}"])


def test_second_call_writes_nothing(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = prepare(str(folder), tmp_path / "cache")
    files = {path: path.stat() for path in Path(first.directory).iterdir()}
    monkeypatch.setattr(cache, "write_split", lambda *_, **__: pytest.fail("wrote again"))
    assert prepare(str(folder), tmp_path / "cache") == first
    for path, stat in files.items():
        assert (path.stat().st_ino, path.stat().st_mtime_ns) == (stat.st_ino, stat.st_mtime_ns)


@pytest.mark.parametrize("split", list(Split))
@pytest.mark.parametrize("damage", ["truncation", "missing file", "other pixels"])
def test_damaged_copy_is_noticed_and_rebuilt(
    tmp_path: Path, split: Split, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    arrays = small_arrays()
    source = str(write_idx_folder(tmp_path / "data", arrays))
    prepared = prepare(source, tmp_path / "cache")
    path = Path(prepared.directory) / split.file_name
    good = path.read_bytes()
    match damage:
        case "truncation":
            path.write_bytes(good[: len(good) // 2])
        case "missing file":
            path.unlink()
        case "other pixels":
            other = prepare(str(write_idx_folder(tmp_path / "other", small_arrays(seed=1))), tmp_path / "cache")
            path.write_bytes((Path(other.directory) / split.file_name).read_bytes())
    with caplog.at_level(logging.WARNING):
        assert prepare(source, tmp_path / "cache") == prepared
    assert path.read_bytes() == good
    assert ("prepared data is damaged" in caplog.text) == (damage != "missing file")
    images, _ = read_split(Path(prepared.directory), split)
    np.testing.assert_array_equal(images[..., 0], arrays[f"x_{split}"])


def test_damaged_copy_of_a_source_gone_bad_is_an_error(tmp_path: Path, folder: Path) -> None:
    prepared = prepare(str(folder), tmp_path / "cache")
    (Path(prepared.directory) / "train.parquet").write_bytes(b"damaged")
    idx_path(folder, "x_train").write_bytes(b"\0\0\x08\x03")
    with refused("train-images-idx3-ubyte is truncated: 4 bytes"):
        prepare(str(folder), tmp_path / "cache")


def test_refused_source_leaves_the_cache_unmade(tmp_path: Path) -> None:
    arrays = small_arrays()
    folder = write_idx_folder(tmp_path / "data", arrays | {"y_test": arrays["y_test"] + 1})
    with refused("t10k-labels-idx1-ubyte has label 4 at position", "labels must be 0..3"):
        prepare(str(folder), tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_disk_that_forgets_what_was_written_is_an_error(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preparation, "install", lambda dataset, directory: None)
    with refused("does not read back as it was written; check the disk, or choose another cache"):
        prepare(str(folder), tmp_path / "cache")


def test_tilde_is_the_home_folder_and_a_relative_cache_becomes_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_idx_folder(tmp_path / "data", small_arrays())
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    prepared = prepare("~/data", Path("cache"))
    assert (prepared.source, Path(prepared.directory).parent) == ("~/data", tmp_path / "cache")


UNUSABLE = {
    "cifar10": ("dataset='cifar10' is not known", "mnist, fashion_mnist", "path with a slash"),
    "": ("dataset='' is not known", "mnist, fashion_mnist"),
    "./nowhere": ("dataset='./nowhere' does not exist", "a folder of IDX files or an .npz file"),
    "nowhere.npz": ("dataset='nowhere.npz' does not exist",),
    "~nobody-of-that-name/data": ("does not exist",),
    "/with a nul\0inside": ("does not exist",),
    f"/{'a' * 5000}": ("cannot be read", "File name too long", "give a path that can be"),
    "./notes.txt": ("dataset='./notes.txt' is neither a folder nor an .npz file", "give the folder of the IDX files"),
    "./empty/": ("train-images-idx3-ubyte is missing", "copy all four there"),
}


@pytest.mark.parametrize("source", list(UNUSABLE), ids=lambda source: repr(source[:12]))
def test_source_that_is_no_dataset_is_refused_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").write_text("no data")
    (tmp_path / "empty").mkdir()
    with refused(*UNUSABLE[source]):
        prepare(source, tmp_path / "cache")


def test_fashion_mnist_is_found_where_debian_puts_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Path("/usr/share/datasets/fashion-mnist") == preparation.FASHION_MNIST_FOLDER
    folder = write_idx_folder(tmp_path / "fashion-mnist", small_arrays(), is_compressed=True)
    monkeypatch.setattr(preparation, "FASHION_MNIST_FOLDER", folder)
    prepared = prepare("fashion_mnist", tmp_path / "cache")
    assert (prepared.source, prepared.num_train_examples) == ("fashion_mnist", 40)


def test_absent_fashion_mnist_tells_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparation, "FASHION_MNIST_FOLDER", tmp_path / "nowhere")
    with refused("dataset='fashion_mnist'", "nowhere", "apt-get install dataset-fashion-mnist", "folder", "by path"):
        prepare("fashion_mnist", tmp_path / "cache")


@pytest.mark.skipif(not preparation.FASHION_MNIST_FOLDER.is_dir(), reason="dataset-fashion-mnist is not installed")
def test_real_fashion_mnist_is_whole(tmp_path: Path) -> None:
    prepared = prepare("fashion_mnist", tmp_path)
    assert prepared.digest == "a8d84c0611b097ead9a7d2920908cf1a4c51114b3c349327329ba036144b6785"
    assert (prepared.num_train_examples, prepared.num_test_examples, prepared.num_classes) == (60000, 10000, 10)


def test_preparation_loads_nothing_heavy(tmp_path: Path) -> None:
    source = write_idx_folder(tmp_path / "data", small_arrays())
    program = (
        "import sys, pathlib; from tasks.data.preparation import prepare; "
        "prepare(sys.argv[1], pathlib.Path(sys.argv[2])); "
        "print([name for name in ('prefect', 'pandas', 'tensorflow', 'pyarrow.dataset') if name in sys.modules])"
    )
    command = [sys.executable, "-c", program, str(source), str(tmp_path / "cache")]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout == "[]\n"


def test_examining_finds_the_same_and_writes_nothing(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    examined = examine("mnist", cache)
    assert not cache.exists()
    assert prepare("mnist", cache) == examined
