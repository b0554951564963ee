"""Prepared examples, read for training."""

from enum import StrEnum
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from tasks.data.arrays import DataError
from tasks.domain.refusal import first_line

IMAGE_COLUMN = "image"
LABEL_COLUMN = "label"
SHAPE_KEY = b"image_shape"
"""Key of the schema's metadata that holds `height,width,channels`."""


class Split(StrEnum):
    """What examples are for."""

    TRAIN = "train"
    TEST = "test"

    @property
    def file_name(self) -> str:
        """The Parquet file that holds the split, in a prepared folder as in a shipped one."""
        return f"{self}.parquet"


def read_split(
    directory: Path, split: Split, limit: int | None = None
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32]]:
    """Images uint8 [n, height, width, channels] beside labels int32 [n]: the first `limit`, null for all.

    Both are views of Arrow's memory: the only copy is the one from the mapped file, and of a large file only
    the first `limit` rows are touched. Raises DataError where the file is missing, damaged or not ours.
    """
    path = directory / split.file_name
    try:
        # One thread: a training worker's cores are its own, and one column is nearly all of the file.
        with pq.ParquetFile(path, memory_map=True) as file:
            num_rows = min(limit or file.metadata.num_rows, file.metadata.num_rows)
            batches = file.iter_batches(max(num_rows, 1), columns=[IMAGE_COLUMN, LABEL_COLUMN], use_threads=False)
            batch = next(batches, None)
            if batch is None or batch.num_rows != num_rows:
                raise ValueError(f"it holds {0 if batch is None else batch.num_rows} rows in its first batch")
            shape = _image_shape(file.schema_arrow.metadata or {})
            return _images(batch.column(IMAGE_COLUMN), shape), _labels(batch.column(LABEL_COLUMN))
    # pyarrow raises KeyError for a column that is not there, and its own ArrowException or OSError for damage.
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise DataError(
            f"{path} cannot be read as examples prepared by this version ({first_line(error)}); "
            "prepare the dataset again"
        ) from error


def _image_shape(metadata: dict[bytes, bytes]) -> tuple[int, int, int]:
    text = metadata.get(SHAPE_KEY, b"").decode()
    sizes = [int(size) for size in text.split(",") if size.isdecimal()]
    if len(sizes) != 3:
        raise ValueError(f"its image_shape={text!r} is not height,width,channels")
    return sizes[0], sizes[1], sizes[2]


def _images(column: pa.Array, shape: tuple[int, int, int]) -> npt.NDArray[np.uint8]:
    size = shape[0] * shape[1] * shape[2]
    if not pa.types.is_fixed_size_binary(column.type) or column.type.byte_width != size or column.null_count:
        raise ValueError(f"its column {IMAGE_COLUMN} is {column.type} and not {size} bytes each without nulls")
    values = np.frombuffer(column.buffers()[1], np.uint8, count=len(column) * size, offset=column.offset * size)
    return values.reshape(len(column), *shape)


def _labels(column: pa.Array) -> npt.NDArray[np.int32]:
    if not pa.types.is_integer(column.type) or column.null_count:
        raise ValueError(f"its column {LABEL_COLUMN} is {column.type} and not integers without nulls")
    # Not column.to_numpy(): it imports pandas, half a second that a training worker has no use for.
    dtype = np.dtype(str(column.type))
    values = np.frombuffer(column.buffers()[1], dtype, count=len(column), offset=column.offset * dtype.itemsize)
    return values.astype(np.int32, copy=False)
