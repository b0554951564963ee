"""Preparation: from a dataset's name or path to verified, ready-to-read Parquet."""

import os
from pathlib import Path

from tasks.data.arrays import DataError, Dataset, check_classes, content_digest, fingerprints
from tasks.data.cache import install, is_intact
from tasks.data.formats import read_idx_folder, read_npz
from tasks.data.shipped import check_mnist, read_mnist
from tasks.domain.dataset import NamedDataset, PreparedDataset, check_dataset

FASHION_MNIST_FOLDER = Path("/usr/share/datasets/fashion-mnist")
"""Where Debian's package `dataset-fashion-mnist` puts its four .gz files."""


def examine(source: str, cache: Path) -> PreparedDataset:
    """The dataset `source` as `prepare` would leave it, without writing anything.

    Raises DataError, in one sentence for the user, where the source is not a sound dataset.
    """
    return _examine(source, cache)[1]


def prepare(source: str, cache: Path) -> PreparedDataset:
    """The dataset `source`, verified and lying in `cache/<digest>/`, where `reading.read_split` finds it.

    `source` is a name of NamedDataset, a folder of IDX files or an `.npz` file. The source is decoded and the prepared
    arrays' checksums are compared at every call; only what is missing or damaged is written. Raises DataError, in one
    sentence for the user, where the source is not a sound dataset or the cache cannot be written.
    """
    dataset, prepared = _examine(source, cache)
    directory = Path(prepared.directory)
    if not is_intact(directory):
        install(dataset, directory)
        if not is_intact(directory):
            raise DataError(
                f"{directory} does not read back as it was written; check the disk, or choose another cache"
            )
    return prepared


def _examine(source: str, cache: Path) -> tuple[Dataset, PreparedDataset]:
    dataset = _decode(source)
    prints = fingerprints(dataset.arrays)
    if source == NamedDataset.MNIST:
        check_mnist(prints, dataset.places)
    check_classes(dataset)
    directory = cache.expanduser().resolve() / content_digest(prints)
    return dataset, dataset.prepared(source, directory)


def _decode(source: str) -> Dataset:
    if source == NamedDataset.MNIST:
        return read_mnist()
    if source == NamedDataset.FASHION_MNIST:
        return _read_fashion_mnist()
    try:
        check_dataset(source)
    except ValueError as error:
        raise DataError(str(error)) from None
    try:
        return _decode_path(source, Path(os.path.expanduser(source)))  # noqa: PTH111 - leaves ~nobody as it is
    except OSError as error:
        raise DataError(f"dataset={source!r} cannot be read ({error.strerror}); give a path that can be") from error


def _decode_path(source: str, path: Path) -> Dataset:
    if path.is_dir():
        return read_idx_folder(path)
    if not path.exists():
        raise DataError(f"dataset={source!r} does not exist; give a folder of IDX files or an .npz file that does")
    if path.suffix != ".npz":
        raise DataError(f"dataset={source!r} is neither a folder nor an .npz file; give the folder of the IDX files")
    return read_npz(path)


def _read_fashion_mnist() -> Dataset:
    if not FASHION_MNIST_FOLDER.is_dir():
        raise DataError(
            f"dataset={NamedDataset.FASHION_MNIST.value!r} is not at {FASHION_MNIST_FOLDER}; "
            "apt-get install dataset-fashion-mnist, or give a folder of its four IDX files by path"
        )
    return read_idx_folder(FASHION_MNIST_FOLDER)
