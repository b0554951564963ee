"""Reductions: how replicas add up their gradients."""

from enum import StrEnum

from tasks.domain.strategy import Strategy


class Reduction(StrEnum):
    """A cross-device reduction of `tf.distribute`."""

    AUTO = "auto"
    """What the strategy chooses by itself."""
    ONE_DEVICE = "one_device"
    """`ReductionToOneDevice`: add up on one device, copy back."""
    HIERARCHICAL_COPY = "hierarchical_copy"
    """`HierarchicalCopyAllReduce`: in two levels along the links between GPUs."""
    RING = "ring"
    """`CommunicationImplementation.RING`: around the workers, over gRPC."""
    NCCL = "nccl"
    """NVIDIA's collectives, between GPUs."""

    @property
    def strategies(self) -> tuple[Strategy, ...]:
        """The strategies that know it."""
        mirrored, workers = Strategy.MIRRORED, Strategy.MULTI_WORKER_MIRRORED
        return {
            Reduction.AUTO: (mirrored, workers),
            Reduction.ONE_DEVICE: (mirrored,),
            Reduction.HIERARCHICAL_COPY: (mirrored,),
            Reduction.RING: (workers,),
            Reduction.NCCL: (mirrored, workers),
        }[self]
