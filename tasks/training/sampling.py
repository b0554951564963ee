"""Host usage: what a trial and other processes took of the machine, read at intervals from the trial's parent."""

import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Any, TypeVar

import psutil
import pynvml

Value = TypeVar("Value")

PROC_STAT = Path("/proc/stat")
BUSY = ("user", "nice", "system", "irq", "softirq")
"""Kinds of CPU time that count as busy; the kernel has a guest's time within `user`."""
SLOWDOWNS = {
    "hw_slowdown": pynvml.nvmlClocksThrottleReasonHwSlowdown,
    "hw_thermal_slowdown": pynvml.nvmlClocksThrottleReasonHwThermalSlowdown,
    "hw_power_brake_slowdown": pynvml.nvmlClocksThrottleReasonHwPowerBrakeSlowdown,
    "sw_thermal_slowdown": pynvml.nvmlClocksThrottleReasonSwThermalSlowdown,
    "sw_power_cap": pynvml.nvmlClocksThrottleReasonSwPowerCap,
}
"""NVML's bits for the reasons that mean slowed hardware."""
NVML_ERRORS = (pynvml.NVMLError, pynvml.NVMLLibraryMismatchError)
"""The second, which is no kind of the first, is how an older driver says that it lacks a function."""
JOIN_SECONDS = 5.0
"""Patience for a last reading: a lost GPU may never answer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class HostUsage:
    """How busy the machine was during one trial, and by whom; None: not known."""

    cpu_utilisation: float | None
    """Share of its cores that the trial kept busy while it trained; above 1 for a trial that is bound to no cores."""
    foreign_cores: float | None
    """Mean number of logical CPUs that other processes, this one included, kept busy while the trial trained."""
    contention: float | None
    """Share of the trial's cores that others took: seen on the CPUs that it is bound to; of one that is bound to none,
    what others took beyond the cores that it leaves free."""
    steal_share: float | None
    """Share of the allowed CPUs' time that the hypervisor gave to other machines while the trial trained."""
    load_average: float
    """Of the machine over one minute, at the start."""
    max_memory_used_bytes: int | None
    """Largest memory in use on the machine."""
    gpu_utilisation: float | None
    """Mean share of the time in which the trial's GPUs ran a kernel while it trained."""
    gpu_memory_used_bytes: int | None
    """Largest memory in use on the fullest of the trial's GPUs while it trained."""
    gpu_power_watts: float | None
    """Mean sum over the trial's GPUs while it trained."""
    gpu_clock_mhz: float | None
    """Mean clock of the multiprocessors over the trial's GPUs while it trained."""
    gpu_throttle_reasons: tuple[str, ...] | None
    """Names from SLOWDOWNS that held for one of the trial's GPUs while it trained, sorted."""
    foreign_gpu_processes: int | None
    """Most compute processes of others on the trial's GPUs at once while it trained."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GpuReading:
    """The trial's GPUs at one moment; None: one of them does not tell."""

    utilisation: float | None
    """Mean share."""
    memory_used_bytes: int | None
    """Of the fullest."""
    power_watts: float | None
    """Sum."""
    clock_mhz: float | None
    """Mean."""
    throttle_reasons: frozenset[str] | None
    """Names from SLOWDOWNS."""
    foreign_processes: int | None
    """Compute processes of others."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """The machine at one moment."""

    at: float
    """Reading of a monotonic clock, in seconds."""
    is_training: bool
    """Whether the chief trains and every worker lives."""
    own_seconds: float
    """CPU time of the trial's processes so far."""
    busy_seconds: float
    """Busy time so far, summed over the allowed CPUs."""
    bound_busy_seconds: float | None
    """Busy time so far, summed over the CPUs that the trial is bound to; None where it is bound to none."""
    steal_seconds: float | None
    """Stolen time so far, mean of the allowed CPUs; None where the platform does not tell it."""
    memory_used_bytes: int
    gpu: GpuReading | None
    """None without a GPU and outside training."""


class HostReader:
    """Reads the machine for the trial of the worker processes `pids` on the GPUs that NVML knows as `gpus`.

    `cpus` are the logical CPUs that it is bound to; none: it is not bound.

    A worker counts with its threads and with the children that it has reaped; one that still runs counts as foreign,
    because to find it means to scan all processes.
    """

    def __init__(
        self,
        *,
        pids: Sequence[int],
        cpus: Sequence[int],
        gpus: Sequence[str],
        is_training: Callable[[], bool],
        nvml: Any = pynvml,
    ) -> None:
        self._own = dict.fromkeys(pids, 0.0)
        self._is_training = is_training
        self._nvml = nvml
        self._positions = _positions(None)
        self._bound = _positions(set(cpus)) if cpus else []
        self._gpus = self._find(gpus) if gpus else []

    def __call__(self) -> Reading:
        is_training = self._is_training()
        at = time.monotonic()
        for pid in self._own:
            try:
                own = psutil.Process(pid).cpu_times()
            except psutil.Error:
                is_training = False  # what it used after its last reading is lost, and would count as foreign
            else:
                self._own[pid] = own.user + own.system + own.children_user + own.children_system
        listed = psutil.cpu_times(percpu=True)
        cpus = [listed[position] for position in self._positions]
        memory = psutil.virtual_memory()
        return Reading(
            at=at,
            is_training=is_training,
            own_seconds=sum(self._own.values()),
            busy_seconds=_busy(cpus),
            bound_busy_seconds=_busy([listed[position] for position in self._bound]) if self._bound else None,
            steal_seconds=fmean(cpu.steal for cpu in cpus) if hasattr(cpus[0], "steal") else None,
            memory_used_bytes=memory.total - memory.available,
            gpu=self._read_gpus() if is_training and self._gpus else None,
        )

    def close(self) -> None:
        """Let the driver go."""
        if self._gpus:
            self._nvml.nvmlShutdown()
            self._gpus = []

    def _find(self, gpus: Sequence[str]) -> list[Any]:
        nvml = self._nvml
        try:
            nvml.nvmlInit()
        except NVML_ERRORS:
            return []
        try:
            return [
                nvml.nvmlDeviceGetHandleByIndex(int(gpu)) if gpu.isdigit() else nvml.nvmlDeviceGetHandleByUUID(gpu)
                for gpu in gpus
            ]
        except NVML_ERRORS:
            nvml.nvmlShutdown()
            return []

    def _read_gpus(self) -> GpuReading:
        rates = self._ask("nvmlDeviceGetUtilizationRates")
        memory = self._ask("nvmlDeviceGetMemoryInfo")
        milliwatts = self._ask("nvmlDeviceGetPowerUsage")
        clocks = self._ask("nvmlDeviceGetClockInfo", self._nvml.NVML_CLOCK_SM)
        masks = self._ask("nvmlDeviceGetCurrentClocksThrottleReasons")
        running = self._ask("nvmlDeviceGetComputeRunningProcesses")
        return GpuReading(
            utilisation=fmean(rate.gpu for rate in rates) / 100 if rates else None,
            memory_used_bytes=max(one.used for one in memory) if memory else None,
            power_watts=sum(milliwatts) / 1000 if milliwatts else None,
            clock_mhz=fmean(clocks) if clocks else None,
            throttle_reasons=_slowdowns(masks) if masks else None,
            foreign_processes=self._count_foreign({p.pid for gpu in running for p in gpu}) if running else None,
        )

    def _ask(self, function: str, *arguments: object) -> list[Any] | None:
        """The answers of all GPUs; None where one of them has none."""
        try:
            return [getattr(self._nvml, function)(gpu, *arguments) for gpu in self._gpus]
        except NVML_ERRORS:
            return None

    def _count_foreign(self, pids: set[int]) -> int:
        if pids.isdisjoint(self._own):  # in a container the driver may tell the host's numbers
            return max(0, len(pids) - len(self._own))
        return len(pids - self._own.keys())


class HostSampler:
    """A thread that calls `reader` every `interval_seconds`, from now on until `stop`.

    `num_cores` are the trial's physical cores, `num_allowed_cores` all those that it might have had.
    """

    def __init__(
        self, reader: HostReader, *, num_cores: int, num_allowed_cores: int, interval_seconds: float = 0.5
    ) -> None:
        self._reader = reader
        self._interval_seconds = interval_seconds
        self._summarise = partial(
            summarise,
            load_average=os.getloadavg()[0],
            num_cores=num_cores,
            num_allowed_cores=num_allowed_cores,
        )
        self._readings: list[Reading] = []
        self._is_stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> HostUsage:
        """End, and say what was seen."""
        self._is_stopped.set()
        self._thread.join(JOIN_SECONDS)
        return self._summarise(tuple(self._readings))

    def _run(self) -> None:
        try:
            self._readings.append(self._reader())
            while not self._is_stopped.wait(self._interval_seconds):
                self._readings.append(self._reader())
        finally:
            self._reader.close()


def summarise(readings: Sequence[Reading], *, load_average: float, num_cores: int, num_allowed_cores: int) -> HostUsage:
    """What the readings amount to.

    CPU time counts between two readings in a row that both saw training; what GPUs tell, but for their memory, from two
    readings on.
    """
    spans = [(a, b) for a, b in pairwise(readings) if a.is_training and b.is_training]
    seconds = sum(b.at - a.at for a, b in spans)
    own = sum(b.own_seconds - a.own_seconds for a, b in spans)
    foreign = taken = None
    if spans:
        foreign = max(0.0, sum(b.busy_seconds - a.busy_seconds for a, b in spans) - own) / seconds
        taken = foreign - (num_allowed_cores - num_cores)
    if bound := _growths((a.bound_busy_seconds, b.bound_busy_seconds) for a, b in spans):
        taken = (sum(bound) - own) / seconds
    stolen = _growths((a.steal_seconds, b.steal_seconds) for a, b in spans)
    gpus = [reading.gpu for reading in readings if reading.gpu]
    reasons = _known(gpu.throttle_reasons for gpu in gpus)
    strangers = _known(gpu.foreign_processes for gpu in gpus)
    return HostUsage(
        cpu_utilisation=own / (seconds * num_cores) if spans else None,
        foreign_cores=foreign,
        contention=None if taken is None else max(0.0, taken) / num_cores,
        steal_share=sum(stolen) / seconds if stolen else None,
        load_average=load_average,
        max_memory_used_bytes=max((reading.memory_used_bytes for reading in readings), default=None),
        gpu_utilisation=_mean(gpu.utilisation for gpu in gpus),
        gpu_memory_used_bytes=max(_known(gpu.memory_used_bytes for gpu in gpus), default=None),
        gpu_power_watts=_mean(gpu.power_watts for gpu in gpus),
        gpu_clock_mhz=_mean(gpu.clock_mhz for gpu in gpus),
        gpu_throttle_reasons=tuple(sorted(frozenset().union(*reasons))) if len(reasons) > 1 else None,
        foreign_gpu_processes=max(strangers) if len(strangers) > 1 else None,
    )


def _busy(cpus: Iterable[Any]) -> float:
    return sum(getattr(cpu, kind, 0.0) for cpu in cpus for kind in BUSY)


def _slowdowns(masks: Sequence[int]) -> frozenset[str]:
    return frozenset(name for name, bit in SLOWDOWNS.items() if any(mask & bit for mask in masks))


def _growths(pairs: Iterable[tuple[float | None, float | None]]) -> list[float]:
    """From the first to the second, where both are known."""
    return [after - before for before, after in pairs if before is not None and after is not None]


def _known(values: Iterable[Value | None]) -> list[Value]:
    return [value for value in values if value is not None]


def _mean(values: Iterable[float | None]) -> float | None:
    """Of the known ones; None where fewer than two are known."""
    known = _known(values)
    return fmean(known) if len(known) > 1 else None


def _positions(cpus: set[int] | None) -> list[int]:
    """Where psutil's list, which leaves out CPUs that are offline, has `cpus`; None: those this process may use."""
    count = len(psutil.cpu_times(percpu=True))
    if cpus is None:
        cpus = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(count))
    if len(cpus) == count:
        return list(range(count))
    online = [int(number) for number in re.findall(r"^cpu(\d+)", PROC_STAT.read_text(), re.MULTILINE)]
    return [position for position, cpu in enumerate(online) if cpu in cpus]
