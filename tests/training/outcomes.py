"""What an honest training process leaves behind, without any training."""

from tasks.domain.outcome import Epoch, GradientProbe, Phase, StepWindow
from tasks.domain.trial import Trial
from tasks.training.order import example_order, order_checksum
from tasks.training.request import WorkerOutcome


def planned_checksum(trial: Trial) -> int:
    """That of all ids of all epochs, in their order."""
    orders = (example_order(trial.seed, epoch, trial.num_train_examples) for epoch in range(1, trial.num_epochs + 1))
    return sum(order_checksum(order, trial.global_batch_size) for order in orders)


def make_outcome(trial: Trial, rank: int, **changes: object) -> WorkerOutcome:
    """An equal share of the trial; rank 1 is slower by a second an epoch, and in the second of its two windows."""
    epoch = {
        "training_seconds": 1.0 + rank,
        "evaluation_seconds": 0.5,
        "num_examples": trial.num_train_examples // trial.num_workers,
        "train_loss": 0.2,
        "train_accuracy": 0.9,
        "test_loss": 0.1,
        "test_accuracy": 0.98,
    }
    window = {"epoch": 1, "num_steps": 4, "num_examples": 256}
    fields: dict[str, object] = {
        "rank": rank,
        "num_replicas_in_sync": trial.num_replicas,
        "invalid_reason": None,
        "message": None,
        "epochs": tuple(Epoch(epoch=number, **epoch) for number in range(1, trial.num_epochs + 1)),
        "windows": (
            StepWindow(first_step=1, seconds=(0.3, 0.1)[rank], **window),
            StepWindow(first_step=5, seconds=(0.1, 0.2)[rank], **window),
        ),
        "gradients": (
            GradientProbe(step=1, num_examples=64, loss_sum=147.0, gradient_norm=1.0 + rank, projections=(0.5, -1.0)),
        ),
        "phase_seconds": {Phase.TRAINING: 5.0, Phase.TEARDOWN: 0.25},
        "finished_at": 100.0,
        "is_pinned": True,
        "num_parameters": 10,
        "order_checksum": 5 if rank else planned_checksum(trial) - 5 * (trial.num_workers - 1),
        "weights_digests": ("same",),
        "max_resident_bytes": 100,
        "peak_device_memory_bytes": None,
        "versions": {"python": "3", "tensorflow": "2", "keras": "3", "numpy": "2"},
    }
    return WorkerOutcome(**(fields | changes))
