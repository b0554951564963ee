"""Datasets: where training examples come from."""

from dataclasses import dataclass
from enum import StrEnum

from tasks.domain.refusal import Refusal


class NamedDataset(StrEnum):
    """A dataset that the product finds by itself."""

    MNIST = "mnist"
    """60,000 + 10,000 handwritten digits, 28 x 28, ten classes; shipped with the package."""
    FASHION_MNIST = "fashion_mnist"
    """60,000 + 10,000 pictures of clothes in the same format; from Debian's `dataset-fashion-mnist`."""

    @property
    def label(self) -> str:
        """The name as its authors write it."""
        return {NamedDataset.MNIST: "MNIST", NamedDataset.FASHION_MNIST: "Fashion-MNIST"}[self]


def check_dataset(source: str) -> None:
    """Raise Refusal unless `source` is a known name or looks like a path (an IDX folder or an `.npz` file)."""
    if source in tuple(NamedDataset) or "/" in source or source.endswith(".npz"):
        return
    known = ", ".join(NamedDataset)
    raise Refusal(
        f"dataset={source!r} is not known; use one of {known}, or a path with a slash "
        "to a folder of IDX files or to an .npz file"
    )


def dataset_label(source: str) -> str:
    """The dataset's name for titles: the authors' spelling, or the last part of a path."""
    return NamedDataset(source).label if source in tuple(NamedDataset) else source.rstrip("/").rsplit("/", 1)[-1]


@dataclass(frozen=True, kw_only=True, slots=True)
class PreparedDataset:
    """A verified dataset on this machine's disk: a reference, never the arrays."""

    source: str
    """The name or path that was asked for."""
    digest: str
    """SHA-256 over shapes, types and contents of the four decoded arrays."""
    directory: str
    """Folder of the prepared Parquet files, named after the digest."""
    num_train_examples: int
    num_test_examples: int
    image_shape: tuple[int, int, int]
    """Height, width, channels."""
    num_classes: int
