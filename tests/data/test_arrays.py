"""The rules of a classification, and the digest."""

import numpy as np
import pytest

from tasks.data.arrays import check_classes, content_digest, fingerprints
from tests.data.samples import Arrays, dataset_of, refused, small_arrays

ARRAYS = small_arrays()
X_TEST, Y_TRAIN, Y_TEST = ARRAYS["x_test"], ARRAYS["y_train"], ARRAYS["y_test"]

UNSOUND: dict[str, tuple[Arrays, tuple[str, ...]]] = {
    "test label without training examples": (
        {"y_test": np.where(np.arange(len(Y_TEST)) == 7, 9, Y_TEST)},
        ("y_test.idx has label 9 at position 7", "0..3", "largest training label", "correct"),
    ),
    "labels from one": (
        {"y_train": Y_TRAIN + 1, "y_test": Y_TEST + 1},
        ("y_train.idx has no example of label 0", "every label 0..4", "renumber the classes from 0"),
    ),
    "gap in the training labels": (
        {"y_train": np.where(Y_TRAIN == 2, 1, Y_TRAIN)},
        ("y_train.idx has no example of label 2",),
    ),
    "class without test examples": (
        {"y_test": np.where(Y_TEST == 3, 0, Y_TEST)},
        ("y_test.idx has no example of label 3", "in training and in test", "add examples"),
    ),
    "a single class": (
        small_arrays(num_classes=1),
        ("y_train.idx knows label 0 alone", "two classes or more", "another class"),
    ),
    "images of two shapes": (
        {"x_test": X_TEST.reshape(-1, 3, 5)},
        ("x_test.idx has images of 3 x 5 x 1", "x_train.idx has 5 x 3 x 1", "same dataset"),
    ),
}


@pytest.mark.parametrize("fault", list(UNSOUND))
def test_unsound_classification_is_refused_in_words(fault: str) -> None:
    changes, fragments = UNSOUND[fault]
    with refused(*fragments):
        check_classes(dataset_of(**changes))


def test_digest_is_of_the_content_in_its_order() -> None:
    arrays = {"a": np.array([[1, 2]], np.uint8), "b": np.array([3], np.int32)}
    assert fingerprints(arrays) == {
        "a": "|u1 1 x 2 a12871fee210fb8619291eaea194581cbd2531e4b23759d225f6806923f63222",
        "b": "<i4 1 9d9f290527a6be626a8f5985b26e19b237b44872b03631811df4416fc1713178",
    }
    assert content_digest({"a": "1", "b": "2"}) == "2951835de33689a441bfa61bc7af99b1f0305ca8ec0ab4dd508f14f57b27ca23"


def flipped(array: np.ndarray) -> np.ndarray:
    """With another last bit in the last element."""
    changed = array.copy()
    changed.flat[-1] ^= 1
    return changed


@pytest.mark.parametrize(
    "changes",
    [
        {"x_test": flipped(X_TEST)},
        {"y_train": flipped(Y_TRAIN)},
        {name: ARRAYS[name].reshape(-1, 3, 5) for name in ("x_train", "x_test")},
        {name: ARRAYS[name][::-1] for name in ("x_train", "y_train")},
        {"x_train": X_TEST, "y_train": Y_TEST, "x_test": ARRAYS["x_train"], "y_test": Y_TRAIN},
    ],
    ids=["pixel", "label", "shape", "order", "swapped splits"],
)
def test_digest_changes_with_everything_that_training_would_notice(changes: Arrays) -> None:
    assert dataset_of(**changes).digest != dataset_of().digest


def test_digest_does_not_depend_on_the_types_a_source_chose() -> None:
    other = {
        "x_train": np.asfortranarray(ARRAYS["x_train"][..., np.newaxis]),
        "y_train": Y_TRAIN.astype(">i8").reshape(-1, 1),
        "y_test": Y_TEST.astype(np.uint16),
    }
    assert dataset_of(**other).digest == dataset_of().digest
