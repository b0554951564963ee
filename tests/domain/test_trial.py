import pytest

from tasks.domain.cell import Arm
from tasks.domain.trial import Role
from tests.examples import make_trial


def test_batch_arithmetic() -> None:
    trial = make_trial(global_batch_size=64, num_train_examples=1000)
    assert (trial.num_replicas, trial.per_replica_batch_size, trial.steps_per_epoch) == (2, 32, 16)
    assert make_trial(num_train_examples=1024).steps_per_epoch == 16
    assert make_trial(num_train_examples=1025).steps_per_epoch == 17


def test_key_is_the_content_and_nothing_else() -> None:
    assert make_trial().key == "39e0b63808affc2f"  # in every process and release
    changes = {"seed": 2, "block": 2, "global_batch_size": 128, "arm": Arm.OTHER, "role": Role.DISCARDED}
    assert len({make_trial().key, *(make_trial(**{name: value}).key for name, value in changes.items())}) == 6


def test_label_states_a_role_that_is_not_the_default() -> None:
    assert make_trial().label == "mirrored, batch 64, 4 steps a call, block 1"
    assert make_trial(role=Role.REFERENCE, block=2).label == "mirrored, batch 64, 4 steps a call (reference), block 2"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"global_batch_size": 65}, "does not divide over num_replicas=2"),
        ({"num_epochs": 0}, "num_epochs=0 must be at least 1"),
        ({"num_train_examples": 63}, "larger than the 63 training examples"),
    ],
)
def test_impossible_trials_are_refused(change: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        make_trial(**change)
