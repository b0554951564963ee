"""Reading prepared examples: right, with few copies, cheap to import, and never a raw error."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.data.arrays import DataError
from tasks.data.reading import Split, _images, _labels, read_split
from tasks.data.writing import write_split


@pytest.mark.parametrize("seed", range(12))
def test_whatever_is_written_is_read_back(tmp_path: Path, seed: int) -> None:
    generator = np.random.default_rng(seed)
    count, height, width, channels = (int(size) for size in generator.integers(1, (300, 12, 12, 4)))
    images = generator.integers(0, 256, (count, height, width, channels), dtype=np.uint8)
    images = np.asfortranarray(images) if seed % 3 else images
    labels = generator.integers(0, 2**31, count).astype(np.int32)
    zstd_level = None if seed % 2 else 3
    write_split(tmp_path / "test.parquet", images, labels, zstd_level=zstd_level)
    limit = int(generator.integers(1, count + 1))
    for wanted in (None, limit, count, count + 1):
        read_images, read_labels = read_split(tmp_path, Split.TEST, wanted)
        assert (read_images.dtype, read_labels.dtype) == (np.uint8, np.int32)
        np.testing.assert_array_equal(read_images, images[:wanted])
        np.testing.assert_array_equal(read_labels, labels[:wanted])


def test_part_of_a_column_is_read_from_its_start() -> None:
    table = _table({})
    images, labels = _images(table["image"].chunk(0).slice(1), (2, 2, 1)), _labels(table["label"].chunk(0).slice(1))
    assert images.tobytes() == b"efgh"
    assert labels.tolist() == [1]


@pytest.mark.parametrize("limit", [None, 50])
def test_arrays_are_views_and_the_only_copy_is_arrows(tmp_path: Path, limit: int | None) -> None:
    write_split(tmp_path / "train.parquet", *_examples(5000, 7))
    before = pa.total_allocated_bytes()
    images, labels = read_split(tmp_path, Split.TRAIN, limit)
    assert not images.flags.owndata
    assert not labels.flags.owndata
    allocated = pa.total_allocated_bytes() - before
    size = images.nbytes + labels.nbytes
    assert size <= allocated < (1.1 if limit is None else 2) * size


def test_arrays_outlive_a_replaced_file(tmp_path: Path) -> None:
    write_split(tmp_path / "train.parquet", *_examples(100, 7))
    images, labels = read_split(tmp_path, Split.TRAIN)
    (tmp_path / "train.parquet").unlink()
    assert (images == 7).all()
    assert labels.tolist() == list(range(100))


def test_missing_file_is_named_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"train\.parquet cannot be read .*No such file.*; prepare the dataset again"):
        read_split(tmp_path, Split.TRAIN)


def test_no_flipped_byte_or_truncation_escapes_as_another_error(tmp_path: Path) -> None:
    path = tmp_path / "train.parquet"
    write_split(path, *_examples(20, 7, size=2))
    good = path.read_bytes()
    num_refused = 0
    damaged = [good[:length] for length in range(0, len(good), 7)]
    damaged += [
        good[:position] + bytes([good[position] ^ mask]) + good[position + 1 :]
        for position in range(len(good))
        for mask in (1, 0x80)
    ]
    for content in damaged:
        path.write_bytes(content)
        try:
            read_split(tmp_path, Split.TRAIN)
        except DataError:
            num_refused += 1
    assert num_refused > 500


# A file that another program wrote: its table, and what the error must say.
STRANGERS: dict[str, tuple[Callable[[], pa.Table], str]] = {
    "no shape": (lambda: _table({}), "image_shape='' is not height,width,channels"),
    "two sizes": (lambda: _table({"image_shape": "2,2"}), "image_shape='2,2' is not"),
    "another size": (
        lambda: _table({"image_shape": "3,3,1"}),
        r"column image is fixed_size_binary\[4\] and not 9 bytes each",
    ),
    "an endless size": (lambda: _table({"image_shape": f"{10**30},3,1"}), "and not 30+ bytes each"),
    "text labels": (
        lambda: _table({"image_shape": "2,2,1"}, label=pa.array(["a", "b"])),
        "column label is string and not integers",
    ),
    "null image": (
        lambda: _table({"image_shape": "2,2,1"}, image=pa.array([b"abcd", None], pa.binary(4))),
        "without nulls",
    ),
    "no label": (lambda: _table({"image_shape": "2,2,1"}).drop_columns(["label"]), "label"),
    "no rows": (lambda: _table({"image_shape": "2,2,1"}).slice(0, 0), "holds 0 rows"),
}


@pytest.mark.parametrize("stranger", list(STRANGERS))
def test_file_of_another_program_is_refused_in_words(tmp_path: Path, stranger: str) -> None:
    table, reason = STRANGERS[stranger]
    pq.write_table(table(), tmp_path / "train.parquet")
    with pytest.raises(DataError, match=rf"train\.parquet cannot be read .*{reason}.*; prepare the dataset again"):
        read_split(tmp_path, Split.TRAIN)


def _examples(count: int, value: int, size: int = 8) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    return np.full((count, size, size, 1), value, np.uint8), np.arange(count, dtype=np.int32)


def _table(metadata: dict[str, str], **columns: pa.Array) -> pa.Table:
    sound = {"image": pa.array([b"abcd", b"efgh"], pa.binary(4)), "label": pa.array([0, 1], pa.int32())}
    return pa.table(sound | columns).replace_schema_metadata(metadata)
