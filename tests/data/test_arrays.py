"""The rules of a classification, and the digest."""

from typing import Any

import numpy as np
import pytest

from tasks.data.arrays import Dataset, check_classes, content_digest, examples_from, fingerprints
from tasks.data.error import DataError
from tests.data.samples import small_arrays


def test_sound_dataset_passes_with_as_many_classes_as_labels() -> None:
    dataset = dataset_of()
    check_classes(dataset)
    assert dataset.num_classes == 4
    assert dataset.image_shape == (5, 3, 1)


def test_test_label_without_training_examples_is_named_with_its_position() -> None:
    labels = small_arrays()["y_test"].copy()
    labels[7] = 9
    _assert_refused(
        dataset_of(y_test=labels), "y_test.idx has label 9 at position 7", "0..3", "largest training label", "correct"
    )


def test_labels_that_start_at_one_are_refused() -> None:
    arrays = small_arrays()
    dataset = dataset_of(y_train=arrays["y_train"] + 1, y_test=arrays["y_test"] + 1)
    _assert_refused(dataset, "y_train.idx has no example of label 0", "every label 0..4", "renumber the classes from 0")


def test_gap_in_the_training_labels_is_named() -> None:
    labels = small_arrays()["y_train"]
    _assert_refused(dataset_of(y_train=np.where(labels == 2, 1, labels)), "y_train.idx has no example of label 2")


def test_class_without_test_examples_is_named() -> None:
    labels = small_arrays()["y_test"]
    dataset = dataset_of(y_test=np.where(labels == 3, 0, labels))
    _assert_refused(dataset, "y_test.idx has no example of label 3", "in training and in test", "add examples")


def test_single_class_is_no_classification() -> None:
    arrays = small_arrays(num_classes=1)
    _assert_refused(dataset_of(**arrays), "y_train.idx knows label 0 alone", "two classes or more", "another class")


def test_images_of_two_shapes_are_refused() -> None:
    dataset = dataset_of(x_test=small_arrays(image_shape=(3, 5))["x_test"])
    _assert_refused(dataset, "x_test.idx has images of 3 x 5 x 1", "x_train.idx has 5 x 3 x 1", "same dataset")


def test_digest_is_of_the_content_in_its_order() -> None:
    arrays = {"a": np.array([[1, 2]], np.uint8), "b": np.array([3], np.int32)}
    assert fingerprints(arrays) == {
        "a": "|u1 1 x 2 a12871fee210fb8619291eaea194581cbd2531e4b23759d225f6806923f63222",
        "b": "<i4 1 9d9f290527a6be626a8f5985b26e19b237b44872b03631811df4416fc1713178",
    }
    assert content_digest({"a": "1", "b": "2"}) == "2951835de33689a441bfa61bc7af99b1f0305ca8ec0ab4dd508f14f57b27ca23"


@pytest.mark.parametrize("changed", ["pixel", "label", "shape", "order", "swapped splits"])
def test_digest_changes_with_everything_that_training_would_notice(changed: str) -> None:
    arrays = small_arrays()
    other = {name: array.copy() for name, array in arrays.items()}
    if changed == "pixel":
        other["x_test"][-1, -1, -1] ^= 1
    elif changed == "label":
        other["y_train"][0] = (other["y_train"][0] + 1) % 4
    elif changed == "shape":
        other |= {name: other[name].reshape(-1, 3, 5) for name in ("x_train", "x_test")}
    elif changed == "order":
        other |= {name: other[name][::-1] for name in ("x_train", "y_train")}
    else:
        other = {name: arrays[name.replace(*pair)] for name in arrays for pair in [_other_split(name)]}
    assert digest_of(dataset_of(**other)) != digest_of(dataset_of(**arrays))


def test_digest_does_not_depend_on_the_types_a_source_chose() -> None:
    arrays = small_arrays()
    other = {
        "x_train": np.asfortranarray(arrays["x_train"][..., np.newaxis]),
        "y_train": arrays["y_train"].astype(">i8").reshape(-1, 1),
        "x_test": arrays["x_test"],
        "y_test": arrays["y_test"].astype(np.uint16),
    }
    assert digest_of(dataset_of(**other)) == digest_of(dataset_of(**arrays))


def dataset_of(**changes: np.ndarray[Any, Any]) -> Dataset:
    arrays = small_arrays() | changes
    train, test = (
        examples_from(
            arrays[f"x_{split}"],
            arrays[f"y_{split}"],
            images_place=f"x_{split}.idx",
            labels_place=f"y_{split}.idx",
        )
        for split in ("train", "test")
    )
    return Dataset(train=train, test=test)


def digest_of(dataset: Dataset) -> str:
    return content_digest(fingerprints(dataset.arrays))


def _other_split(name: str) -> tuple[str, str]:
    return ("train", "test") if "train" in name else ("test", "train")


def _assert_refused(dataset: Dataset, *fragments: str) -> None:
    with pytest.raises(DataError) as caught:
        check_classes(dataset)
    for fragment in fragments:
        assert fragment in str(caught.value)
