"""Datasets in one NumPy archive with the names of Keras' datasets."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.data.arrays import Dataset, examples_from
from tasks.data.error import DataError

NAMES = ("x_train", "y_train", "x_test", "y_test")


def read_npz(path: Path) -> Dataset:
    """The dataset of an `.npz` with x_train, y_train, x_test, y_test; never unpickles anything.

    Raises DataError where the file is damaged or an array is missing or has a wrong type or shape.
    """
    try:
        arrays = _load(path)
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


def _load(path: Path) -> dict[str, npt.NDArray[Any]]:
    archive = np.load(path, allow_pickle=False)
    if not isinstance(archive, np.lib.npyio.NpzFile):
        raise DataError(f"{path} holds a single array and is no .npz archive; write it with numpy.savez")
    with archive:
        missing = [name for name in NAMES if name not in archive.files]
        if missing:
            raise DataError(
                f"{path} has no array {', '.join(missing)} (it has {', '.join(archive.files) or 'none'}), it must hold "
                f"{', '.join(NAMES)}; write it with numpy.savez and these names"
            )
        return {name: archive[name] for name in NAMES}
