"""Prepared datasets on this machine's disk: one folder each, named after its content's digest."""

import logging
import os
import secrets
import shutil
from pathlib import Path

from tasks.data.arrays import DataError, Dataset, examples_from
from tasks.data.reading import Split, read_split
from tasks.data.writing import write_split

logger = logging.getLogger(__name__)


def read_prepared(directory: Path) -> Dataset:
    """The dataset whose prepared files lie in `directory`; raises DataError where they are missing or damaged."""
    train, test = (
        examples_from(*read_split(directory, split), images_place=str(directory), labels_place=str(directory))
        for split in Split
    )
    return Dataset(train=train, test=test)


def is_intact(directory: Path) -> bool:
    """Whether the arrays that `directory` holds have the digest that it is named after; all of them are read."""
    try:
        digest = read_prepared(directory).digest
    except DataError as error:
        if not isinstance(error.__cause__, FileNotFoundError):
            logger.warning("prepared data is damaged: %s", error)
        return False
    if digest != directory.name:
        logger.warning("prepared data is damaged: the arrays in %s have digest %s", directory, digest)
    return digest == directory.name


def install(dataset: Dataset, directory: Path) -> None:
    """Make `directory` hold the dataset, ready to read: all of it or nothing, on the disk when this returns.

    Any number of processes may do so at once. Raises DataError where the disk refuses.
    """
    cache = directory.parent
    temporary = cache / f".{directory.name[:16]}-{secrets.token_hex(8)}.partial"
    try:
        cache.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
        try:
            for split, examples in zip(Split, (dataset.train, dataset.test), strict=True):
                write_split(temporary / split.file_name, examples.images, examples.labels)
            _sync(temporary)
            _move(temporary, directory)
            _sync(cache)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise DataError(
            f"cache={cache} cannot be written ({error.strerror or error}); free space there, or choose another folder"
        ) from error


def _move(temporary: Path, directory: Path) -> None:
    try:
        temporary.rename(directory)
    except OSError:
        if not directory.is_dir():
            raise
        # Another writer was first, or its copy is damaged. Two files of one digest and name have the same content:
        # replacing them one by one leaves no moment in which a reader finds less than it found before.
        for split in Split:
            (temporary / split.file_name).replace(directory / split.file_name)
        _sync(directory)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
