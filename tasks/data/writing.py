"""Parquet files of images with their labels, as `reading.py` expects them."""

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from tasks.data.reading import IMAGE_COLUMN, LABEL_COLUMN, SHAPE_KEY

PAGE_BYTES = 1 << 26
"""One page for most datasets: compresses 4 % better than pages of 1 MiB, and is read in one piece."""


def write_split(
    path: Path,
    images: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.integer],
    *,
    zstd_level: int | None = None,
) -> None:
    """Write images [n, height, width, channels] and labels [n] to a new file, on the disk when this returns.

    Without a `zstd_level` the file is uncompressed, so that reading is one copy. The same arrays give the same bytes
    (with the same pyarrow, whose version is in the file). Raises OSError where the file exists or cannot be written.
    """
    num_examples, height, width, channels = images.shape
    size = height * width * channels
    schema = pa.schema(
        [
            pa.field(IMAGE_COLUMN, pa.binary(size), nullable=False),
            pa.field(LABEL_COLUMN, pa.from_numpy_dtype(labels.dtype), nullable=False),
        ],
        metadata={SHAPE_KEY: f"{height},{width},{channels}".encode(), b"image_layout": b"row-major uint8"},
    )
    # Not pa.array(): it copies, and imports pandas (half a second).
    columns = [
        pa.Array.from_buffers(field.type, num_examples, [None, pa.py_buffer(np.ascontiguousarray(array))])
        for field, array in zip(schema, (images, labels), strict=True)
    ]
    with path.open("xb") as file:
        pq.write_table(
            pa.Table.from_arrays(columns, schema=schema),
            file,
            compression="none" if zstd_level is None else "zstd",
            compression_level=zstd_level,
            row_group_size=num_examples,
            data_page_size=PAGE_BYTES,
            use_dictionary=False,
            write_statistics=False,
        )
        file.flush()
        os.fsync(file.fileno())
