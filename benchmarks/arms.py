"""The arms that are measured beside each other: all on the same two slices of one core, in fresh processes."""

from dataclasses import dataclass, field

from tasks.domain.dataset import PreparedDataset
from tasks.domain.device import DeviceType
from tasks.domain.loop import Loop
from tasks.domain.precision import Precision
from tasks.domain.reduction import Reduction
from tasks.domain.strategy import Strategy
from tasks.domain.trial import Trial
from tasks.planning.planner import CPU_MICRO_BATCH_SIZE

NUM_EXAMPLES = 20_000
"""Training examples of one measurement: one epoch of two to six seconds."""

WORKER = "tasks.training.worker"


@dataclass(frozen=True, slots=True)
class Arm:
    """One way to train."""

    name: str
    strategy: Strategy
    loop: Loop = Loop.FUSED
    precision: Precision = Precision.FLOAT32
    cores_per_replica: int = 1
    module: str = WORKER
    more: dict[str, object] = field(default_factory=dict)

    def trial(self, global_batch_size: int, data: PreparedDataset, seed: int) -> Trial:
        """One measurement of this arm."""
        num_replicas = 1 if self.strategy is Strategy.ONE_DEVICE else 2
        num_workers = num_replicas if self.strategy is Strategy.MULTI_WORKER_MIRRORED else 1
        fields: dict[str, object] = {
            "strategy": self.strategy,
            "global_batch_size": global_batch_size,
            "num_workers": num_workers,
            "replicas_per_worker": num_replicas // num_workers,
            "device": DeviceType.CPU_SLICE,
            "cores_per_replica": self.cores_per_replica,
            "dataset": data.source,
            "dataset_digest": data.digest,
            "num_train_examples": NUM_EXAMPLES,
            "num_epochs": 1,
            "learning_rate": 1e-3,
            "seed": seed,
            "block": 1,
            "loop": self.loop,
            "precision": self.precision,
            "reduction": None if num_replicas == 1 else Reduction.AUTO,
            "steps_per_call": self.loop.default_steps_per_call,
            "micro_batch_size": CPU_MICRO_BATCH_SIZE if self.loop is Loop.FUSED else None,
            "timeout_seconds": 600.0,
        }
        return Trial(**(fields | self.more))  # type: ignore[arg-type]


ONE, MIRRORED, WORKERS = Strategy
PLAIN = Arm("plain Keras fit, 1 x 2 cores", ONE, Loop.KERAS_FIT, cores_per_replica=2, module="benchmarks.plain_fit")
LIMIT = Arm("convolutions and products alone", WORKERS, module="benchmarks.limit")
ARMS = (
    PLAIN,
    LIMIT,
    Arm("keras_fit, mirrored, 2 x 1 core", MIRRORED, Loop.KERAS_FIT),
    Arm("step, mirrored, 2 x 1 core", MIRRORED, Loop.STEP),
    Arm("fused, one_device, 1 x 2 cores", ONE, cores_per_replica=2),
    Arm("fused, mirrored, 2 x 1 core", MIRRORED),
    Arm("fused, multi_worker_mirrored, 2 x 1 core", WORKERS),
    Arm("fused, mirrored, 2 x 1 core, mixed_bfloat16", MIRRORED, precision=Precision.MIXED_BFLOAT16),
)
"""Interleaved in this order, round by round."""
