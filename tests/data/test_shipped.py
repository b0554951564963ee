"""The shipped MNIST: there, whole, and refused by name where it is not."""

import hashlib
import re
from pathlib import Path

import numpy as np
import pytest

from tasks.data import shipped
from tasks.data.arrays import content_digest
from tasks.data.preparation import prepare
from tasks.data.reading import Split, read_split
from tasks.data.shipped import MNIST_FINGERPRINTS, MNIST_FOLDER, check_mnist
from tasks.data.writing import write_split
from tests.data.samples import refused

DIGEST = "cacba11cc422ecd67a6f0928193a1118ca2db784e1dcf3e0f2468be17f37a4a0"

# SHA-256 of the original files: an IDX file is its header and the array, so the arrays can be held against them.
IDX_CHECKSUMS = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}


def test_mnist_is_prepared_whole(tmp_path: Path) -> None:
    prepared = prepare("mnist", tmp_path)
    assert prepared.digest == DIGEST == content_digest(MNIST_FINGERPRINTS)
    assert (prepared.num_train_examples, prepared.num_test_examples) == (60000, 10000)
    assert (prepared.image_shape, prepared.num_classes) == ((28, 28, 1), 10)
    _, labels = read_split(Path(prepared.directory), Split.TRAIN, 8)
    assert labels.tolist() == [5, 0, 4, 1, 9, 2, 1, 3]


def test_shipped_arrays_are_those_of_the_original_files() -> None:
    for split, prefix in ((Split.TRAIN, "train"), (Split.TEST, "t10k")):
        images, labels = read_split(MNIST_FOLDER, split)
        header = b"\0\0\x08\3" + np.array([len(images), 28, 28], ">u4").tobytes()
        assert hashlib.sha256(header + images.tobytes()).hexdigest() == IDX_CHECKSUMS[f"{prefix}-images-idx3-ubyte"]
        header = b"\0\0\x08\1" + np.array([len(labels)], ">u4").tobytes()
        content = header + labels.astype(np.uint8).tobytes()
        assert hashlib.sha256(content).hexdigest() == IDX_CHECKSUMS[f"{prefix}-labels-idx1-ubyte"]


@pytest.mark.parametrize("name", list(MNIST_FINGERPRINTS))
def test_each_array_is_compared_and_blamed_by_name(name: str) -> None:
    places = {key: f"place of {key}" for key in MNIST_FINGERPRINTS}
    check_mnist(MNIST_FINGERPRINTS, places)
    with refused(f"place of {name} is not MNIST's", "something else", MNIST_FINGERPRINTS[name], "restore it"):
        check_mnist({**MNIST_FINGERPRINTS, name: "something else"}, places)


def test_changed_shipped_pixel_is_refused_with_file_and_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "train.parquet").symlink_to(MNIST_FOLDER / "train.parquet")
    images, labels = read_split(MNIST_FOLDER, Split.TEST)
    images = images.copy()
    images[9999, 27, 27, 0] ^= 1
    write_split(tmp_path / "test.parquet", images, labels)
    monkeypatch.setattr(shipped, "MNIST_FOLDER", tmp_path)
    with refused(f"column image of {tmp_path / 'test.parquet'}", "must be", "tasks.data.mnist.build FOLDER"):
        prepare("mnist", tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("damage", ["missing", "truncated"])
def test_unreadable_shipped_file_is_named_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    if damage == "truncated":
        (tmp_path / "train.parquet").write_bytes((MNIST_FOLDER / "train.parquet").read_bytes()[:-1000])
    monkeypatch.setattr(shipped, "MNIST_FOLDER", tmp_path)
    with refused("train.parquet, a file of the shipped MNIST, ", "; restore it from"):
        prepare("mnist", tmp_path / "cache")


def test_readme_tells_the_checksums_of_code_and_files() -> None:
    readme = (MNIST_FOLDER / "README.md").read_text()
    files = {split.file_name: (MNIST_FOLDER / split.file_name).read_bytes() for split in Split}
    facts = {
        **IDX_CHECKSUMS,
        **{name: text.rpartition(" ")[2] for name, text in MNIST_FINGERPRINTS.items()},
        **{name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
    }
    for name, checksum in facts.items():
        assert re.search(rf"^\| `{re.escape(name)}` \|.*`{checksum}` \|$", readme, re.MULTILINE), name
    assert DIGEST in readme
    assert sum(len(content) for content in files.values()) < 10_400_000


def test_authors_and_licence_lie_beside_the_data() -> None:
    text = (MNIST_FOLDER / "LICENSE").read_text()
    for fact in ("Yann LeCun", "Corinna Cortes", "Burges", "NIST", "CC BY-SA 3.0", "not covered by the program's MIT"):
        assert fact in text
