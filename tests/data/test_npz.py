"""Keras' `.npz` files: what is read, and what is refused with which words."""

from pathlib import Path

import numpy as np
import pytest

from tasks.data.error import DataError
from tasks.data.npz import read_npz
from tests.data.samples import Arrays, small_arrays, write_npz

ARRAYS = small_arrays()


def test_keras_arrays_are_read_as_they_are(tmp_path: Path) -> None:
    dataset = read_npz(write_npz(tmp_path / "data.npz", ARRAYS))
    np.testing.assert_array_equal(dataset.train.images[..., 0], ARRAYS["x_train"])
    np.testing.assert_array_equal(dataset.train.labels, ARRAYS["y_train"])
    np.testing.assert_array_equal(dataset.test.images[..., 0], ARRAYS["x_test"])
    np.testing.assert_array_equal(dataset.test.labels, ARRAYS["y_test"])


def test_colour_images_with_column_labels_in_any_order_are_read(tmp_path: Path) -> None:
    arrays = small_arrays(image_shape=(4, 6, 3))
    changed = arrays | {
        "x_train": np.asfortranarray(arrays["x_train"]),
        "y_train": arrays["y_train"].reshape(-1, 1).astype(">i8"),
        "more": np.zeros(3),
    }
    dataset = read_npz(write_npz(tmp_path / "data.npz", changed))
    assert dataset.image_shape == (4, 6, 3)
    assert dataset.train.images.flags.c_contiguous
    np.testing.assert_array_equal(dataset.train.images, arrays["x_train"])
    np.testing.assert_array_equal(dataset.train.labels, arrays["y_train"])


FAULTS: dict[str, tuple[Arrays, tuple[str, ...]]] = {
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
        ("x_train of", "40 images", "y_train of", "30 labels", "must be equal"),
    ),
    "nothing": ({"x_test": ARRAYS["x_test"][:0]}, ("x_test of", "is empty", "(0, 5, 3)")),
}


@pytest.mark.parametrize("fault", list(FAULTS))
def test_wrong_array_is_refused_in_words(tmp_path: Path, fault: str) -> None:
    changes, fragments = FAULTS[fault]
    path = write_npz(tmp_path / "data.npz", ARRAYS | changes)
    with pytest.raises(DataError) as caught:
        read_npz(path)
    for fragment in (str(path), *fragments):
        assert fragment in str(caught.value)


def test_missing_arrays_are_named_beside_those_that_are_there(tmp_path: Path) -> None:
    path = write_npz(tmp_path / "data.npz", {"x_train": ARRAYS["x_train"], "labels": ARRAYS["y_train"]})
    with pytest.raises(DataError) as caught:
        read_npz(path)
    for fragment in (str(path), "no array y_train, x_test, y_test", "it has x_train, labels", "numpy.savez"):
        assert fragment in str(caught.value)


def test_pickled_objects_are_never_loaded(tmp_path: Path) -> None:
    path = write_npz(tmp_path / "data.npz", ARRAYS | {"y_train": np.array([print], dtype=object)})
    with pytest.raises(DataError, match=r"not a whole \.npz file of plain arrays .*allow_pickle=False.*numpy.savez"):
        read_npz(path)


def test_single_array_is_no_archive(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    with path.open("wb") as file:
        np.save(file, ARRAYS["x_train"])
    with pytest.raises(DataError, match=r"holds a single array and is no \.npz archive; write it with numpy.savez"):
        read_npz(path)


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04 and no more"])
def test_file_of_another_kind_is_refused_in_words(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "data.npz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"data\.npz is not a whole \.npz file of plain arrays .*; write it again"):
        read_npz(path)


def test_no_flipped_byte_changes_the_data_or_escapes_as_another_error(tmp_path: Path) -> None:
    path = write_npz(tmp_path / "data.npz", ARRAYS)
    good = path.read_bytes()
    wanted = read_npz(path).arrays
    num_refused = 0
    for position in range(0, len(good), 5):
        path.write_bytes(good[:position] + bytes([good[position] ^ 0x41]) + good[position + 1 :])
        try:
            arrays = read_npz(path).arrays
        except DataError:
            num_refused += 1
            continue
        for name, array in arrays.items():
            np.testing.assert_array_equal(array, wanted[name])
    assert num_refused > 100


def test_header_that_numpy_cannot_parse_is_refused_in_words(tmp_path: Path) -> None:
    # NumPy lets its tokenizer's error through here: a stored archive has no other guard than its checksum.
    path = write_npz(tmp_path / "data.npz", ARRAYS)
    path.write_bytes(path.read_bytes().replace(b"'shape': (40, 5, 3), }", b"'shape': (40, 5, 3,  }"))
    with pytest.raises(DataError, match=r"not a whole \.npz file"):
        read_npz(path)
