"""The machine and the software that a trial ran on."""

import hashlib
import os
import platform
import subprocess
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import psutil
import pynvml

from tasks.domain.device import Devices

TOPOLOGY = Path("/sys/devices/system/cpu")


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


def find_devices() -> Devices:
    """The physical cores that this process may use and the visible GPUs."""
    return Devices(cores=_physical_cores(), gpus=_gpus()[0])


def describe_environment() -> Environment:
    """This machine and this checkout, now."""
    devices = find_devices()
    gpus, driver = _gpus()
    hardware = {
        "hostname": platform.node(),
        "cpu_model": _cpu_model(),
        "num_physical_cores": len(devices.cores),
        "memory_bytes": psutil.virtual_memory().total,
        "gpu_model": ", ".join(gpus) or None,
        "gpu_driver": driver,
    }
    commit, is_clean = _commit()
    return Environment(
        **hardware,
        machine_fingerprint=hashlib.sha256(repr(sorted(hardware.items())).encode()).hexdigest()[:16],
        operating_system=f"{platform.system()} {platform.release()}",
        stratbench_version=metadata.version("stratbench"),
        commit=commit,
        is_commit_clean=is_clean,
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


def _gpus() -> tuple[tuple[str, ...], str | None]:
    """Model names of the visible NVIDIA GPUs and the driver's version; empty and None without a driver."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return (), None
    try:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        count = pynvml.nvmlDeviceGetCount()
        if visible is not None:
            count = min(count, len([name for name in visible.split(",") if name.strip() not in ("", "-1")]))
        names = tuple(str(pynvml.nvmlDeviceGetName(pynvml.nvmlDeviceGetHandleByIndex(i))) for i in range(count))
        return names, str(pynvml.nvmlSystemGetDriverVersion())
    finally:
        pynvml.nvmlShutdown()


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    if platform.system() == "Darwin":
        return subprocess.run(
            ["sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True, check=False
        ).stdout.strip()
    return platform.processor() or platform.machine()


def _commit() -> tuple[str | None, bool | None]:
    """Commit of the checkout that holds this file, and whether nothing in it is uncommitted; None outside one."""
    folder = Path(__file__).resolve().parents[2]
    if not (folder / ".git").exists():
        return None, None
    answers = [
        subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, check=False)
        for words in (("rev-parse", "HEAD"), ("status", "--porcelain"))
    ]
    if any(answer.returncode for answer in answers):
        return None, None
    return answers[0].stdout.strip(), not answers[1].stdout.strip()
