"""A decoded dataset: four arrays, with the rules that a classification needs."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.domain.dataset import PreparedDataset
from tasks.domain.refusal import Refusal

MAX_LABEL = np.iinfo(np.int32).max


class DataError(Refusal):
    """Data that cannot be used: one sentence that names the file, the value, the rule it breaks and the way out."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Examples:
    """One split, in the product's own types; `examples_from` builds it from anybody's."""

    images: npt.NDArray[np.uint8]
    """[n, height, width, channels]"""
    labels: npt.NDArray[np.int32]
    """[n], one class number an image."""
    images_place: str
    """Where the images come from, for errors."""
    labels_place: str


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Dataset:
    """Training examples beside test examples."""

    train: Examples
    test: Examples

    @property
    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The four arrays by name, in the order of the digest."""
        return {
            "train_images": self.train.images,
            "train_labels": self.train.labels,
            "test_images": self.test.images,
            "test_labels": self.test.labels,
        }

    @property
    def places(self) -> dict[str, str]:
        """Where each of the four arrays comes from."""
        return {
            "train_images": self.train.images_place,
            "train_labels": self.train.labels_place,
            "test_images": self.test.images_place,
            "test_labels": self.test.labels_place,
        }

    @property
    def num_classes(self) -> int:
        """One more than the largest training label."""
        return int(self.train.labels.max()) + 1

    @property
    def digest(self) -> str:
        """The identity of the content."""
        return content_digest(fingerprints(self.arrays))

    def prepared(self, source: str, directory: Path) -> PreparedDataset:
        """The reference to this dataset of `source`, prepared in `directory`, which is named after its digest."""
        _, height, width, channels = self.train.images.shape
        return PreparedDataset(
            source=source,
            digest=directory.name,
            directory=str(directory),
            num_train_examples=len(self.train.labels),
            num_test_examples=len(self.test.labels),
            image_shape=(height, width, channels),
            num_classes=self.num_classes,
        )


def examples_from(
    images: npt.NDArray[Any], labels: npt.NDArray[Any], *, images_place: str, labels_place: str
) -> Examples:
    """`images` [n, h, w] or [n, h, w, c] and `labels` [n] or [n, 1] as Examples.

    Raises DataError where types, shapes or counts are wrong; the two places name the file in its text.
    """
    if images.dtype != np.uint8:
        raise DataError(
            f"{images_place} has dtype={images.dtype}, images must be uint8 from 0 to 255; "
            'convert them, for example (x * 255).round().astype("uint8") where they lie between 0 and 1'
        )
    if images.ndim not in (3, 4):
        raise DataError(
            f"{images_place} has shape={images.shape}, images must be (n, height, width) or "
            "(n, height, width, channels); reshape them"
        )
    if labels.dtype.kind not in "iu":
        raise DataError(f"{labels_place} has dtype={labels.dtype}, labels must be integers; convert them to int64")
    if labels.ndim == 0 or labels.size != len(labels):
        raise DataError(
            f"{labels_place} has shape={labels.shape}, labels must be (n,), one class number an image; "
            "turn one-hot rows into numbers with argmax(axis=1)"
        )
    if images.size == 0:
        raise DataError(f"{images_place} is empty, its shape={images.shape}; give at least one example of every class")
    if len(images) != len(labels):
        raise DataError(
            f"{images_place} has {len(images)} images but {labels_place} has {len(labels)} labels, the counts must be "
            "equal; take both from the same release of the dataset"
        )
    flat = labels.reshape(-1)
    wrong = (flat < 0) | (flat > MAX_LABEL)
    if wrong.any():
        raise DataError(
            f"{labels_place} has label {flat[wrong][0]} at position {wrong.argmax()}, labels must be class numbers "
            "0..K-1; renumber the classes from 0 without gaps"
        )
    return Examples(
        images=np.ascontiguousarray(images if images.ndim == 4 else images[..., np.newaxis]),
        labels=np.ascontiguousarray(flat, dtype=np.int32),
        images_place=images_place,
        labels_place=labels_place,
    )


def check_classes(dataset: Dataset) -> None:
    """Raise DataError unless both splits have images of one shape and examples of every class 0..K-1."""
    train_shape, test_shape = (examples.images.shape[1:] for examples in (dataset.train, dataset.test))
    if train_shape != test_shape:
        raise DataError(
            f"{dataset.test.images_place} has images of {_times(test_shape)} but {dataset.train.images_place} has "
            f"{_times(train_shape)}, (height x width x channels) must be equal; take both from the same dataset"
        )
    num_classes = dataset.num_classes
    if num_classes < 2:
        raise DataError(
            f"{dataset.train.labels_place} knows label 0 alone, a classification needs two classes or more; "
            "give examples of another class"
        )
    for examples in (dataset.train, dataset.test):
        present = np.unique(examples.labels)
        if present[-1] >= num_classes:
            position = int((examples.labels >= num_classes).argmax())
            raise DataError(
                f"{examples.labels_place} has label {examples.labels[position]} at position {position}, labels must be "
                f"0..{num_classes - 1} because {num_classes - 1} is the largest training label; "
                "correct the label, or give the class training examples"
            )
        if len(present) < num_classes:
            absent = next((label for label, found in enumerate(present) if label != found), len(present))
            raise DataError(
                f"{examples.labels_place} has no example of label {absent}, every label 0..{num_classes - 1} must "
                "occur in training and in test; renumber the classes from 0 without gaps, or add examples"
            )


def fingerprints(arrays: Mapping[str, npt.NDArray[Any]]) -> dict[str, str]:
    """Of each array its type, its shape and the SHA-256 of its content in C order, as one text."""
    return {
        name: f"{array.dtype.str} {_times(array.shape)} {hashlib.sha256(array.data).hexdigest()}"
        for name, array in arrays.items()
    }


def content_digest(prints: Mapping[str, str]) -> str:
    """SHA-256 over names and fingerprints in their order: the identity of a dataset's content."""
    return hashlib.sha256("".join(f"{name} {text}\n" for name, text in prints.items()).encode()).hexdigest()


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(str(size) for size in shape)
