"""The machine and the software that a trial ran on."""

import hashlib
import os
import platform
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import psutil
import pynvml

from tasks.domain.device import Devices
from tasks.domain.precision import ALWAYS, Precision
from tasks.results.software import describe_software

CPUINFO = Path("/proc/cpuinfo")
TOPOLOGY = Path("/sys/devices/system/cpu")

CPU_FLAGS = {
    Precision.MIXED_BFLOAT16: {"avx512_bf16", "amx_bf16", "bf16"},
    Precision.MIXED_FLOAT16: {"avx512_fp16", "amx_fp16"},
}
"""Any of these flags of a CPU (x86's, or ARM's features) stands for products in that precision."""
COMPUTE_CAPABILITIES = {Precision.MIXED_FLOAT16: (7, 0), Precision.MIXED_BFLOAT16: (8, 0)}
"""The first generation of NVIDIA's GPUs with tensor cores for that precision."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Environment:
    """What is recorded beside every trial; the fields are columns of the trials table."""

    hostname: str
    machine_fingerprint: str
    """First 16 hexadecimal digits of a SHA-256 over host, CPU, cores, memory, GPUs and driver."""
    cpu_model: str
    num_physical_cores: int
    memory_bytes: int
    gpu_model: str | None
    gpu_driver: str | None
    operating_system: str
    stratbench_version: str
    commit: str | None
    is_commit_clean: bool | None


def hostname() -> str:
    """This machine's name in records, limits and queues: `STRATBENCH_HOST`, or what the system calls it."""
    return os.environ.get("STRATBENCH_HOST") or platform.node()


def find_devices() -> Devices:
    """The physical cores that this process may use and the visible GPUs."""
    gpus = _gpus()
    return Devices(
        cores=_physical_cores(), gpus=gpus.names, cpu_precisions=_cpu_precisions(), gpu_precisions=gpus.precisions
    )


def describe_environment() -> Environment:
    """This machine and this checkout, now."""
    gpus = _gpus()
    hardware = {
        "hostname": hostname(),
        "cpu_model": _cpu_model(),
        "num_physical_cores": len(_physical_cores()),
        "memory_bytes": psutil.virtual_memory().total,
        "gpu_model": ", ".join(gpus.names) or None,
        "gpu_driver": gpus.driver,
    }
    software = describe_software()
    return Environment(
        **hardware,
        machine_fingerprint=hashlib.sha256(repr(sorted(hardware.items())).encode()).hexdigest()[:16],
        operating_system=f"{platform.system()} {platform.release()}",
        stratbench_version=software.stratbench_version,
        commit=software.commit,
        is_commit_clean=software.is_commit_clean,
    )


def _physical_cores() -> tuple[int, ...]:
    """The first allowed logical CPU of each physical core; without a topology, as many numbers as there are cores."""
    if not hasattr(os, "sched_getaffinity"):
        return tuple(range(psutil.cpu_count(logical=False) or os.cpu_count() or 1))
    first_of: dict[str, int] = {}
    for cpu in sorted(os.sched_getaffinity(0)):
        siblings = TOPOLOGY / f"cpu{cpu}" / "topology" / "thread_siblings_list"
        first_of.setdefault(siblings.read_text().strip() if siblings.exists() else str(cpu), cpu)
    return tuple(first_of.values())


class _Gpus(NamedTuple):
    """The visible NVIDIA GPUs; the defaults are those of a machine without a driver."""

    names: tuple[str, ...] = ()
    driver: str | None = None
    precisions: tuple[Precision, ...] = ALWAYS
    """What all of them compute in hardware."""


def _gpus() -> _Gpus:
    """Those that CUDA_VISIBLE_DEVICES leaves, as NVML describes them."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return _Gpus()
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in _gpu_indices(pynvml.nvmlDeviceGetCount())]
        oldest = min((pynvml.nvmlDeviceGetCudaComputeCapability(handle) for handle in handles), default=(0, 0))
        return _Gpus(
            names=tuple(str(pynvml.nvmlDeviceGetName(handle)) for handle in handles),
            driver=str(pynvml.nvmlSystemGetDriverVersion()),
            precisions=tuple(p for p in Precision if p in ALWAYS or tuple(oldest) >= COMPUTE_CAPABILITIES[p]),
        )
    finally:
        pynvml.nvmlShutdown()


def _gpu_indices(count: int) -> list[int]:
    """Numbers of the visible ones of `count` GPUs; one that is called by an identifier counts at its position."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return list(range(count))
    names = [name.strip() for name in visible.split(",") if name.strip() not in ("", "-1")]
    numbers = (int(name) if name.isdigit() else position for position, name in enumerate(names))
    return [number for number in dict.fromkeys(numbers) if number < count]


def _cpu_precisions() -> tuple[Precision, ...]:
    """What the CPU computes in hardware; float32 and float64 alone where its flags are not known."""
    flags = set(_cpuinfo("flags", "Features").split())
    return tuple(p for p in Precision if p in ALWAYS or flags & CPU_FLAGS[p])


def _cpuinfo(*names: str) -> str:
    """The first value that Linux tells of the CPU under one of these names; empty where it tells none."""
    for line in CPUINFO.read_text().splitlines() if CPUINFO.exists() else ():
        name, _, value = line.partition(":")
        if name.strip() in names:
            return value.strip()
    return ""


def _cpu_model() -> str:
    if model := _cpuinfo("model name"):
        return model
    if platform.system() == "Darwin":
        return subprocess.run(
            ["sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True, check=False
        ).stdout.strip()
    return platform.processor() or platform.machine()
