"""IDX folders: what is read, and what is refused with which words."""

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tasks.data.error import DataError
from tasks.data.idx import read_idx_folder
from tests.data.samples import idx_bytes, idx_path, small_arrays, write_idx_folder

ARRAYS = small_arrays()


@pytest.mark.parametrize("is_compressed", [False, True])
@pytest.mark.parametrize("is_dotted", [False, True])
def test_all_four_namings_give_the_same_arrays(tmp_path: Path, is_compressed: bool, is_dotted: bool) -> None:
    folder = write_idx_folder(tmp_path / "data", ARRAYS, is_compressed=is_compressed, is_dotted=is_dotted)
    dataset = read_idx_folder(folder)
    assert dataset.train.images.shape == (40, 5, 3, 1)
    assert dataset.train.labels.dtype == np.int32
    np.testing.assert_array_equal(dataset.train.images[..., 0], ARRAYS["x_train"])
    np.testing.assert_array_equal(dataset.train.labels, ARRAYS["y_train"])
    np.testing.assert_array_equal(dataset.test.images[..., 0], ARRAYS["x_test"])
    np.testing.assert_array_equal(dataset.test.labels, ARRAYS["y_test"])


def test_plain_and_gz_files_may_be_mixed(tmp_path: Path) -> None:
    folder = write_idx_folder(tmp_path / "data", ARRAYS)
    plain = idx_path(folder, "x_test")
    Path(f"{plain}.gz").write_bytes(gzip.compress(plain.read_bytes()))
    plain.unlink()
    np.testing.assert_array_equal(read_idx_folder(folder).test.images[..., 0], ARRAYS["x_test"])


@pytest.mark.parametrize("name", list(ARRAYS))
def test_missing_file_is_named_with_the_names_that_would_do(tmp_path: Path, name: str) -> None:
    folder = write_idx_folder(tmp_path / "data", ARRAYS)
    path = idx_path(folder, name)
    path.unlink()
    with pytest.raises(DataError) as caught:
        read_idx_folder(folder)
    _assert_in(str(caught.value), str(path), "is missing", "also as .gz", "copy all four there")


# One fault in `train-images`: what is done to the file's bytes, and what the error must say.
FAULTS: dict[str, tuple[Callable[[bytes], bytes], tuple[str, ...]]] = {
    "labels where images belong": (
        lambda _: idx_bytes(ARRAYS["y_train"]),
        ("magic number 2049", "must be 2051", "give the IDX file of that name"),
    ),
    "signed integers": (lambda raw: b"\0\0\x0c\3" + raw[4:], ("magic number 3075", "must be 2051")),
    "compressed under a plain name": (gzip.compress, ("magic number", "must be 2051", "a name that ends in .gz")),
    "nothing": (lambda _: b"", ("truncated", "0 bytes", "header alone has 16", "copy the file again")),
    "half a header": (lambda raw: raw[:10], ("truncated", "10 bytes", "header alone has 16", "copy the file again")),
    "last byte missing": (
        lambda raw: raw[:-1],
        ("truncated", "615 bytes", "announces 40 x 5 x 3", "that is 616", "copy the file again"),
    ),
    "a byte too many": (
        lambda raw: raw + b"\0",
        ("bytes after its end", "617 bytes", "announces 40 x 5 x 3", "that is 616", "copy the file again"),
    ),
    "an absurd count": (lambda raw: raw[:4] + b"\xff" * 12 + raw[16:], ("truncated", "4294967295 x 4294967295")),
    "one image less than labels": (
        lambda _: idx_bytes(ARRAYS["x_train"][:-1]),
        ("has 39 images but", "has 40 labels", "must be equal", "same release"),
    ),
    "no images": (lambda _: idx_bytes(ARRAYS["x_train"][:0]), ("is empty", "(0, 5, 3)", "give at least one example")),
    "images without a pixel": (lambda _: idx_bytes(ARRAYS["x_train"][:, :0]), ("is empty", "(40, 0, 3)")),
}


@pytest.mark.parametrize("fault", list(FAULTS))
def test_faulty_file_is_refused_in_words(tmp_path: Path, fault: str) -> None:
    spoil, fragments = FAULTS[fault]
    folder = write_idx_folder(tmp_path / "data", ARRAYS)
    path = idx_path(folder, "x_train")
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(DataError) as caught:
        read_idx_folder(folder)
    _assert_in(str(caught.value), str(path), *fragments)


def test_labels_with_a_wrong_magic_number_are_refused(tmp_path: Path) -> None:
    folder = write_idx_folder(tmp_path / "data", ARRAYS)
    path = idx_path(folder, "y_test")
    path.write_bytes(idx_bytes(ARRAYS["x_test"]))
    with pytest.raises(DataError) as caught:
        read_idx_folder(folder)
    _assert_in(str(caught.value), str(path), "magic number 2051", "must be 2049")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda packed: packed[:-20],
        lambda packed: packed[:60] + bytes([packed[60] ^ 0xFF]) + packed[61:],
        lambda packed: packed[:-6] + bytes([packed[-6] ^ 1]) + packed[-5:],
        lambda packed: b"not gzip" + packed,
        lambda packed: packed + b"more",
    ],
    ids=["truncated", "flipped byte", "wrong checksum", "no gzip header", "trailing bytes"],
)
def test_corrupt_gzip_is_refused_in_words(tmp_path: Path, spoil: Callable[[bytes], bytes]) -> None:
    folder = write_idx_folder(tmp_path / "data", ARRAYS, is_compressed=True)
    path = idx_path(folder, "x_train", is_compressed=True)
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(DataError) as caught:
        read_idx_folder(folder)
    _assert_in(str(caught.value), str(path), "not a whole gzip file", "copy the file again")


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


def test_folder_in_place_of_a_file_is_refused_in_words(tmp_path: Path) -> None:
    folder = write_idx_folder(tmp_path / "data", ARRAYS)
    path = idx_path(folder, "y_train")
    path.unlink()
    path.mkdir()
    with pytest.raises(DataError) as caught:
        read_idx_folder(folder)
    _assert_in(str(caught.value), str(path), "cannot be read", "Is a directory")


def _assert_in(text: str, *fragments: str) -> None:
    for fragment in fragments:
        assert fragment in text
    assert "\n" not in text
