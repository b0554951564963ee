"""The arms that are measured beside each other: all on the same two slices of one core, in fresh processes."""

from dataclasses import dataclass

from tasks.domain.dataset import PreparedDataset
from tasks.domain.device import DeviceType
from tasks.domain.loop import Loop
from tasks.domain.precision import Precision
from tasks.domain.strategy import Strategy
from tasks.domain.sweep import Sweep
from tasks.domain.trial import Role, Trial
from tasks.planning.planner import plan_block

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

    def trial(self, global_batch_size: int, data: PreparedDataset, seed: int) -> Trial:
        """One measurement of this arm."""
        sweep = Sweep(
            strategies=(self.strategy,),
            global_batch_sizes=(global_batch_size,),
            num_epochs=1,
            cores_per_replica=self.cores_per_replica,
            dataset=data.source,
            max_train_examples=NUM_EXAMPLES,
            loops=(self.loop,),
            precisions=(self.precision,),
            seed=seed,
            trial_timeout_seconds=600.0,
        )
        block = plan_block(sweep=sweep, device=DeviceType.CPU_SLICE, data=data, block=1)
        (trial,) = (trial for trial in block if trial.role is Role.MEASURED)
        return trial


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
