"""The MNIST that is part of the package: where it lies, and the content that it must have."""

from collections.abc import Mapping
from pathlib import Path

from tasks.data.arrays import DataError, Dataset, Examples, examples_from
from tasks.data.reading import IMAGE_COLUMN, LABEL_COLUMN, Split, read_split

MNIST_FOLDER = Path(__file__).parent / "mnist"

MNIST_FINGERPRINTS: Mapping[str, str] = {
    "train_images": "|u1 60000 x 28 x 28 x 1 741c988805d008ac6e4c904b69001ba184c24b2c540a4ef403f4c71b676cf757",
    "train_labels": "<i4 60000 ba2e26c82ab7a46fbcd5ec6de8eee4d541cf3829f5050669177da23b515defeb",
    "test_images": "|u1 10000 x 28 x 28 x 1 6d87418db22cc8025d05968bec9bd5c3932904b23485740db143a061a2c9d161",
    "test_labels": "<i4 10000 52aa149c856ca033d02e1d2e5cc61033b4c56ed4a56f0edc328206a178c42126",
}
"""Of each decoded array its type, shape and SHA-256, as `arrays.fingerprints` tells them."""

RESTORE = "restore it from the repository or the package, or rebuild it with python -m tasks.data.mnist.build FOLDER"


def read_mnist() -> Dataset:
    """The shipped MNIST, unchecked: `check_mnist` follows. Raises DataError where a file cannot be read."""
    return Dataset(train=_read_examples(Split.TRAIN), test=_read_examples(Split.TEST))


def check_mnist(prints: Mapping[str, str], places: Mapping[str, str], way_out: str = RESTORE) -> None:
    """Raise DataError unless the fingerprints are MNIST's own; `places` says what to blame for each array."""
    for name, expected in MNIST_FINGERPRINTS.items():
        if prints[name] != expected:
            raise DataError(f"{places[name]} is not MNIST's: it is {prints[name]}, must be {expected}; {way_out}")


def _read_examples(split: Split) -> Examples:
    path = MNIST_FOLDER / split.file_name
    try:
        images, labels = read_split(MNIST_FOLDER, split)
    except DataError as error:
        raise DataError(f"{path}, a file of the shipped MNIST, is missing or damaged; {RESTORE}") from error
    return examples_from(
        images, labels, images_place=f"column {IMAGE_COLUMN} of {path}", labels_place=f"column {LABEL_COLUMN} of {path}"
    )
