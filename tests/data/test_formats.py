"""What users bring, IDX folders and Keras's `.npz` files: what is read, and what is refused with which words."""

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tasks.data.arrays import DataError, Dataset
from tasks.data.formats import read_idx_folder, read_npz
from tests.data.samples import Arrays, idx_bytes, idx_path, refused, small_arrays, write_idx_folder, write_npz

ARRAYS = small_arrays()


def assert_is_small(dataset: Dataset) -> None:
    """The dataset holds ARRAYS."""
    assert dataset.train.images.shape == (40, 5, 3, 1)
    assert dataset.train.labels.dtype == np.int32
    for name, array in dataset.arrays.items():
        split, kind = name.split("_")
        np.testing.assert_array_equal(np.squeeze(array), ARRAYS[f"{'x' if kind == 'images' else 'y'}_{split}"])


@pytest.mark.parametrize("is_compressed", [False, True])
@pytest.mark.parametrize("is_dotted", [False, True])
def test_all_four_namings_give_the_same_arrays(tmp_path: Path, is_compressed: bool, is_dotted: bool) -> None:
    folder = write_idx_folder(tmp_path / "data", ARRAYS, is_compressed=is_compressed, is_dotted=is_dotted)
    assert_is_small(read_idx_folder(folder))


@pytest.mark.parametrize("name", list(ARRAYS))
def test_missing_file_is_named_with_the_names_that_would_do(folder: Path, name: str) -> None:
    path = idx_path(folder, name)
    path.unlink()
    with refused(str(path), "is missing", "also as .gz", "copy all four there"):
        read_idx_folder(folder)


# One fault in a file: which, what is done to its bytes, and what the error must say.
IDX_FAULTS: dict[str, tuple[str, Callable[[bytes], bytes], tuple[str, ...]]] = {
    "labels where images belong": (
        "x_train",
        lambda _: idx_bytes(ARRAYS["y_train"]),
        ("magic number 2049", "must be 2051", "give the IDX file of that name"),
    ),
    "images where labels belong": (
        "y_test",
        lambda _: idx_bytes(ARRAYS["x_test"]),
        ("magic number 2051", "must be 2049"),
    ),
    "compressed under a plain name": (
        "x_train",
        gzip.compress,
        ("magic number", "must be 2051", "a name that ends in .gz"),
    ),
    "nothing": ("x_train", lambda _: b"", ("truncated", "0 bytes", "header alone has 16", "copy the file again")),
    "last byte missing": (
        "x_train",
        lambda raw: raw[:-1],
        ("truncated", "615 bytes", "announces 40 x 5 x 3", "that is 616", "copy the file again"),
    ),
    "a byte too many": (
        "x_train",
        lambda raw: raw + b"\0",
        ("bytes after its end", "617 bytes", "announces 40 x 5 x 3", "that is 616", "copy the file again"),
    ),
    "an absurd count": (
        "x_train",
        lambda raw: raw[:4] + b"\xff" * 12 + raw[16:],
        ("truncated", "4294967295 x 4294967295"),
    ),
    "images without a pixel": (
        "x_train",
        lambda _: idx_bytes(ARRAYS["x_train"][:, :0]),
        ("is empty", "(40, 0, 3)"),
    ),
}
GZIP_FAULTS: dict[str, Callable[[bytes], bytes]] = {
    "truncated": lambda packed: packed[:-20],
    "flipped byte": lambda packed: packed[:60] + bytes([packed[60] ^ 0xFF]) + packed[61:],
    "no gzip header": lambda packed: b"not gzip" + packed,
    "trailing bytes": lambda packed: packed + b"more",
}


@pytest.mark.parametrize("fault", list(IDX_FAULTS))
def test_faulty_idx_file_is_refused_in_words(folder: Path, fault: str) -> None:
    name, spoil, fragments = IDX_FAULTS[fault]
    path = idx_path(folder, name)
    path.write_bytes(spoil(path.read_bytes()))
    with refused(str(path), *fragments):
        read_idx_folder(folder)


@pytest.mark.parametrize("fault", list(GZIP_FAULTS))
def test_corrupt_gzip_is_refused_in_words(tmp_path: Path, fault: str) -> None:
    folder = write_idx_folder(tmp_path / "data", ARRAYS, is_compressed=True)
    path = idx_path(folder, "x_train", is_compressed=True)
    path.write_bytes(GZIP_FAULTS[fault](path.read_bytes()))
    with refused(str(path), "not a whole gzip file", "copy the file again"):
        read_idx_folder(folder)


def test_no_flipped_byte_of_a_gzip_file_changes_the_data_or_escapes_as_another_error(tmp_path: Path) -> None:
    folder = write_idx_folder(tmp_path / "data", ARRAYS, is_compressed=True)
    path = idx_path(folder, "y_train", is_compressed=True)
    good = path.read_bytes()
    num_refused = 0
    for position in range(len(good)):
        path.write_bytes(good[:position] + bytes([good[position] ^ 0x0F]) + good[position + 1 :])
        try:
            labels = read_idx_folder(folder).train.labels
        except DataError:
            num_refused += 1
            continue
        np.testing.assert_array_equal(labels, ARRAYS["y_train"])
    assert num_refused > len(good) // 2


def test_folder_in_place_of_a_file_is_refused_in_words(folder: Path) -> None:
    path = idx_path(folder, "y_train")
    path.unlink()
    path.mkdir()
    with refused(str(path), "cannot be read", "Is a directory"):
        read_idx_folder(folder)


def test_keras_arrays_are_read_as_they_are(tmp_path: Path) -> None:
    assert_is_small(read_npz(write_npz(tmp_path / "data.npz", ARRAYS)))


def test_colour_images_with_column_labels_in_any_order_are_read(tmp_path: Path) -> None:
    arrays = small_arrays(image_shape=(4, 6, 3))
    changed = arrays | {
        "x_train": np.asfortranarray(arrays["x_train"]),
        "y_train": arrays["y_train"].reshape(-1, 1).astype(">i8"),
        "more": np.zeros(3),
    }
    dataset = read_npz(write_npz(tmp_path / "data.npz", changed))
    assert dataset.train.images.flags.c_contiguous
    np.testing.assert_array_equal(dataset.train.images, arrays["x_train"])
    np.testing.assert_array_equal(dataset.train.labels, arrays["y_train"])


NPZ_FAULTS: dict[str, tuple[Arrays, tuple[str, ...]]] = {
    "images scaled to 0..1": (
        {"x_train": ARRAYS["x_train"] / 255},
        ("x_train of", "dtype=float64", "must be uint8", '.astype("uint8")'),
    ),
    "flattened images": (
        {"x_test": ARRAYS["x_test"].reshape(12, 15)},
        ("x_test of", "shape=(12, 15)", "(n, height, width)", "reshape them"),
    ),
    "one-hot labels": (
        {"y_train": np.eye(4, dtype=np.int64)[ARRAYS["y_train"]]},
        ("y_train of", "shape=(40, 4)", "argmax(axis=1)"),
    ),
    "float labels": (
        {"y_test": ARRAYS["y_test"].astype(float)},
        ("y_test of", "dtype=float64", "must be integers", "convert them to int64"),
    ),
    "a single label": ({"y_test": np.array(3)}, ("y_test of", "shape=()", "one class number an image")),
    "negative label": (
        {"y_train": ARRAYS["y_train"].astype(np.int64) - (np.arange(40) == 7) * 100},
        ("y_train of", "label -9", "at position 7", "0..K-1", "renumber the classes from 0"),
    ),
    "label beyond 32 bits": (
        {"y_train": np.where(np.arange(40) == 5, 2**40, 0)},
        ("y_train of", "label 1099511627776 at position 5", "0..K-1"),
    ),
    "fewer labels": (
        {"y_train": ARRAYS["y_train"][:30]},
        ("x_train of", "40 images", "y_train of", "30 labels", "must be equal", "same release"),
    ),
    "nothing": ({"x_test": ARRAYS["x_test"][:0]}, ("x_test of", "is empty", "(0, 5, 3)", "give at least one example")),
}


@pytest.mark.parametrize("fault", list(NPZ_FAULTS))
def test_wrong_array_is_refused_in_words(tmp_path: Path, fault: str) -> None:
    changes, fragments = NPZ_FAULTS[fault]
    path = write_npz(tmp_path / "data.npz", ARRAYS | changes)
    with refused(str(path), *fragments):
        read_npz(path)


def test_missing_arrays_are_named_beside_those_that_are_there(tmp_path: Path) -> None:
    path = write_npz(tmp_path / "data.npz", {"x_train": ARRAYS["x_train"], "labels": ARRAYS["y_train"]})
    with refused(str(path), "no array y_train, x_test, y_test", "it has x_train, labels", "numpy.savez"):
        read_npz(path)


def test_pickled_objects_are_never_loaded(tmp_path: Path) -> None:
    path = write_npz(tmp_path / "data.npz", ARRAYS | {"y_train": np.array([print], dtype=object)})
    with refused("not a whole .npz file of plain arrays", "allow_pickle=False", "numpy.savez"):
        read_npz(path)


def test_single_array_is_no_archive(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    with path.open("wb") as file:
        np.save(file, ARRAYS["x_train"])
    with refused("holds a single array and is no .npz archive; write it with numpy.savez"):
        read_npz(path)


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04 and no more"])
def test_file_of_another_kind_is_refused_in_words(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "data.npz"
    path.write_bytes(content)
    with refused("data.npz is not a whole .npz file of plain arrays ", "; write it again"):
        read_npz(path)


def test_no_flipped_byte_changes_the_data_or_escapes_as_another_error(archive: Path) -> None:
    good = archive.read_bytes()
    wanted = read_npz(archive).arrays
    num_refused = 0
    for position in range(0, len(good), 5):
        archive.write_bytes(good[:position] + bytes([good[position] ^ 0x41]) + good[position + 1 :])
        try:
            arrays = read_npz(archive).arrays
        except DataError:
            num_refused += 1
            continue
        for name, array in arrays.items():
            np.testing.assert_array_equal(array, wanted[name])
    assert num_refused > 100


def test_header_that_numpy_cannot_parse_is_refused_in_words(archive: Path) -> None:
    # NumPy lets its tokenizer's error through here: a stored archive has no other guard than its checksum.
    archive.write_bytes(archive.read_bytes().replace(b"'shape': (40, 5, 3), }", b"'shape': (40, 5, 3,  }"))
    with refused("not a whole .npz file"):
        read_npz(archive)
