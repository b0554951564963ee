"""Datasets in the formats that users bring: a folder of four IDX files, as MNIST has them, or Keras's `.npz`."""

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.data.arrays import DataError, Dataset, Examples, examples_from

UNSIGNED_BYTES = 0x0800
"""An IDX file's big-endian magic number less its dimensions; a 32-bit size for each follows, then the bytes."""

NPZ_NAMES = ("x_train", "y_train", "x_test", "y_test")


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


def read_npz(path: Path) -> Dataset:
    """The dataset of an `.npz` with x_train, y_train, x_test, y_test; never unpickles anything.

    Raises DataError where the file is damaged or an array is missing or has a wrong type or shape.
    """
    try:
        arrays = _load_npz(path)
    except DataError:
        raise
    # NumPy passes on whatever its tokenizer, zipfile, zlib and the allocator make of a damaged file.
    except Exception as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise DataError(
            f"{path} is not a whole .npz file of plain arrays ({reason}); write it again with numpy.savez"
        ) from error
    train, test = (
        examples_from(
            arrays[f"x_{split}"],
            arrays[f"y_{split}"],
            images_place=f"x_{split} of {path}",
            labels_place=f"y_{split} of {path}",
        )
        for split in ("train", "test")
    )
    return Dataset(train=train, test=test)


def _load_npz(path: Path) -> dict[str, npt.NDArray[Any]]:
    archive = np.load(path, allow_pickle=False)
    if not isinstance(archive, np.lib.npyio.NpzFile):
        raise DataError(f"{path} holds a single array and is no .npz archive; write it with numpy.savez")
    with archive:
        missing = [name for name in NPZ_NAMES if name not in archive.files]
        if missing:
            raise DataError(
                f"{path} has no array {', '.join(missing)} (it has {', '.join(archive.files) or 'none'}), it must hold "
                f"{', '.join(NPZ_NAMES)}; write it with numpy.savez and these names"
            )
        return {name: archive[name] for name in NPZ_NAMES}
