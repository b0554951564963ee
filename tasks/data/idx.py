"""Datasets in a folder of four IDX files, the format of MNIST.

Format: a big-endian magic number 0x0800 + dimensions (0x08: unsigned bytes), one 32-bit size a dimension, the bytes.
"""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tasks.data.arrays import Dataset, Examples, examples_from
from tasks.data.error import DataError

UNSIGNED_BYTES = 0x0800


def read_idx_folder(folder: Path) -> Dataset:
    """The dataset of `folder`; files are plain or .gz, named `train-images-idx3-ubyte` or `train-images.idx3-ubyte`.

    Raises DataError where a file is missing, damaged or does not fit the others.
    """
    return Dataset(train=_read_pair(folder, "train"), test=_read_pair(folder, "t10k"))


def _read_pair(folder: Path, prefix: str) -> Examples:
    images_path = _find(folder, f"{prefix}-images", "idx3-ubyte")
    labels_path = _find(folder, f"{prefix}-labels", "idx1-ubyte")
    return examples_from(
        _read_array(images_path, 3),
        _read_array(labels_path, 1),
        images_place=str(images_path),
        labels_place=str(labels_path),
    )


def _find(folder: Path, stem: str, ending: str) -> Path:
    for name in (f"{stem}-{ending}", f"{stem}.{ending}"):
        for path in (folder / name, folder / f"{name}.gz"):
            if path.exists():
                return path
    raise DataError(
        f"{folder / f'{stem}-{ending}'} is missing (also as .gz, and as {stem}.{ending}); an IDX folder holds "
        "train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte: "
        "copy all four there"
    )


def _read_array(path: Path, num_dimensions: int) -> npt.NDArray[np.uint8]:
    content = _read_bytes(path)
    magic, expected_magic = int.from_bytes(content[:4]), UNSIGNED_BYTES + num_dimensions
    if len(content) >= 4 and magic != expected_magic:
        raise DataError(
            f"{path} has magic number {magic}, must be {expected_magic} (unsigned bytes in {num_dimensions} "
            "dimensions); give the IDX file of that name, unpacked or with a name that ends in .gz"
        )
    header_bytes = 4 + 4 * num_dimensions
    if len(content) < header_bytes:
        raise DataError(
            f"{path} is truncated: {len(content)} bytes, its header alone has {header_bytes}; copy the file again"
        )
    shape = struct.unpack_from(f">{num_dimensions}I", content, 4)
    expected_bytes = header_bytes + math.prod(shape)
    if len(content) != expected_bytes:
        fault = "is truncated" if len(content) < expected_bytes else "has bytes after its end"
        raise DataError(
            f"{path} {fault}: {len(content)} bytes, its header announces {' x '.join(map(str, shape))}, "
            f"that is {expected_bytes}; copy the file again"
        )
    return np.frombuffer(content, np.uint8, offset=header_bytes).reshape(shape)


def _read_bytes(path: Path) -> bytes:
    try:
        return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path} is not a whole gzip file ({error}); copy the file again") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); make it a readable file") from error
