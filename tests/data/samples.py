"""Small real datasets, in the formats that users bring."""

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from tasks.data.arrays import DataError, Dataset, examples_from

Arrays = dict[str, np.ndarray]

IDX_STEMS = {"x_train": "train-images", "y_train": "train-labels", "x_test": "t10k-images", "y_test": "t10k-labels"}


def small_arrays(num_classes: int = 4, image_shape: tuple[int, ...] = (5, 3), seed: int = 0) -> Arrays:
    """Keras' four arrays: 10 training and 3 test examples a class, random pixels, labels uint8."""
    generator = np.random.default_rng(seed)
    labels = np.arange(num_classes, dtype=np.uint8)
    return {
        "x_train": generator.integers(0, 256, (10 * num_classes, *image_shape), dtype=np.uint8),
        "y_train": generator.permutation(np.repeat(labels, 10)),
        "x_test": generator.integers(0, 256, (3 * num_classes, *image_shape), dtype=np.uint8),
        "y_test": generator.permutation(np.repeat(labels, 3)),
    }


def idx_bytes(array: np.ndarray) -> bytes:
    """The array of unsigned bytes as an IDX file's content."""
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()


def idx_path(folder: Path, name: str, *, is_compressed: bool = False, is_dotted: bool = False) -> Path:
    """Where MNIST's naming puts the array that Keras calls `name`."""
    ending = "idx3-ubyte" if name.startswith("x") else "idx1-ubyte"
    return folder / f"{IDX_STEMS[name]}{'.' if is_dotted else '-'}{ending}{'.gz' if is_compressed else ''}"


def write_idx_folder(folder: Path, arrays: Arrays, *, is_compressed: bool = False, is_dotted: bool = False) -> Path:
    """A new folder of four IDX files."""
    folder.mkdir(parents=True)
    for name, array in arrays.items():
        content = idx_bytes(array)
        path = idx_path(folder, name, is_compressed=is_compressed, is_dotted=is_dotted)
        path.write_bytes(gzip.compress(content) if is_compressed else content)
    return folder


def write_npz(path: Path, arrays: Arrays) -> Path:
    """A new `.npz` with Keras' names."""
    np.savez(path, **arrays)
    return path


def dataset_of(**changes: np.ndarray) -> Dataset:
    """The small arrays with `changes`, as a decoded dataset from files like `x_train.idx`."""
    arrays = small_arrays() | changes
    train, test = (
        examples_from(
            arrays[f"x_{split}"], arrays[f"y_{split}"], images_place=f"x_{split}.idx", labels_place=f"y_{split}.idx"
        )
        for split in ("train", "test")
    )
    return Dataset(train=train, test=test)


@contextmanager
def refused(*fragments: str) -> Iterator[None]:
    """Demands a DataError of one line that holds every fragment."""
    with pytest.raises(DataError) as caught:
        yield
    for fragment in fragments:
        assert fragment in str(caught.value)
    assert "\n" not in str(caught.value)
