"""Distribution strategies: the arms that a sweep compares."""

from enum import StrEnum


class Strategy(StrEnum):
    """A `tf.distribute` strategy, under TensorFlow's own name."""

    ONE_DEVICE = "one_device"
    """`OneDeviceStrategy`: one process, one replica. The baseline of every speed-up."""
    MIRRORED = "mirrored"
    """`MirroredStrategy`: one process, several replicas that reduce gradients in memory."""
    MULTI_WORKER_MIRRORED = "multi_worker_mirrored"
    """`MultiWorkerMirroredStrategy`: several processes that reduce gradients over the network."""

    @property
    def label(self) -> str:
        """TensorFlow's class name, for axes and prose."""
        return {
            Strategy.ONE_DEVICE: "OneDeviceStrategy",
            Strategy.MIRRORED: "MirroredStrategy",
            Strategy.MULTI_WORKER_MIRRORED: "MultiWorkerMirroredStrategy",
        }[self]
