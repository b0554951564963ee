"""Devices: what one replica trains on."""

from dataclasses import dataclass
from enum import StrEnum

from tasks.domain.precision import ALWAYS, Precision
from tasks.domain.reduction import Reduction
from tasks.domain.refusal import Refusal


class DeviceType(StrEnum):
    """The kind of device that holds one replica."""

    CPU_SLICE = "cpu_slice"
    """A fixed number of physical cores. Never comparable with a GPU."""
    GPU = "gpu"
    """One whole GPU."""

    @property
    def label(self) -> str:
        """The word for one such device in tables and on axes."""
        return {DeviceType.CPU_SLICE: "CPU slice", DeviceType.GPU: "GPU"}[self]


@dataclass(frozen=True, kw_only=True, slots=True)
class Devices:
    """What a machine offers to training."""

    cores: tuple[int, ...]
    """One logical CPU number of each physical core that this process may use."""
    gpus: tuple[str, ...] = ()
    """Model names of the visible GPUs, in index order."""
    cpu_precisions: tuple[Precision, ...] = ALWAYS
    """What the CPU computes in hardware."""
    gpu_precisions: tuple[Precision, ...] = ALWAYS
    """What every visible GPU computes in hardware."""

    @property
    def preferred(self) -> DeviceType:
        """GPUs where there are some, otherwise slices of cores."""
        return DeviceType.GPU if self.gpus else DeviceType.CPU_SLICE

    def check(self, device: DeviceType, num_replicas: int, cores_per_replica: int) -> None:
        """Raise Refusal unless `num_replicas` devices of that kind exist here."""
        if device is DeviceType.GPU:
            if not self.gpus:
                raise Refusal(f"device={device} is asked for, but this machine shows no GPU; use device=cpu_slice")
            if num_replicas > len(self.gpus):
                raise Refusal(
                    f"num_replicas={num_replicas} is more than the {len(self.gpus)} GPUs of this machine; "
                    f"use at most {len(self.gpus)}, or device=cpu_slice"
                )
            return
        if num_replicas * cores_per_replica > len(self.cores):
            raise Refusal(
                f"num_replicas={num_replicas} x cores_per_replica={cores_per_replica} needs "
                f"{num_replicas * cores_per_replica} physical cores, this machine offers {len(self.cores)}; "
                f"use num_replicas={max(1, len(self.cores) // cores_per_replica)} or narrower slices"
            )

    def check_execution(self, device: DeviceType, precision: Precision, reduction: Reduction | None) -> None:
        """Raise Refusal unless devices of that kind here can compute in `precision` and add up by `reduction`."""
        known = self.gpu_precisions if device is DeviceType.GPU else self.cpu_precisions
        if precision not in known:
            raise Refusal(
                f"precision={precision} is not computed by the hardware of this machine's "
                f"{'GPUs' if device is DeviceType.GPU else 'CPU'}; use one of {', '.join(known)}"
            )
        if reduction is Reduction.NCCL and device is not DeviceType.GPU:
            raise Refusal(f"reduction={reduction} needs GPUs, device={device} has none; use reduction=auto")
