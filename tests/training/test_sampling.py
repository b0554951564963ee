import dataclasses
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import psutil
import pynvml
import pytest

from tasks.domain.outcome import InvalidReason
from tasks.training import sampling
from tasks.training.contamination import LIMITS, Taint, find_taint
from tasks.training.sampling import GpuReading, HostReader, HostSampler, HostUsage, Reading, summarise

GIB = 2**30
QUIET = HostUsage(
    cpu_utilisation=0.9,
    foreign_cores=0.1,
    contention=0.10,
    steal_share=0.05,
    load_average=0.5,
    max_memory_used_bytes=GIB,
    gpu_utilisation=0.9,
    gpu_memory_used_bytes=GIB,
    gpu_power_watts=300.0,
    gpu_clock_mhz=1400.0,
    gpu_throttle_reasons=(),
    foreign_gpu_processes=0,
)
GPU = GpuReading(
    utilisation=0.5,
    memory_used_bytes=3 * GIB,
    power_watts=200.0,
    clock_mhz=1400.0,
    throttle_reasons=frozenset(),
    foreign_processes=0,
)


def reading(at: float, **changes: object) -> Reading:
    """Two unbound cores of the trial's at 75 %, one core and a half of others', one CPU in fifty stolen, since 0."""
    fields: dict[str, object] = {
        "at": at,
        "is_training": True,
        "own_seconds": 1.5 * at,
        "busy_seconds": 3.0 * at,
        "bound_busy_seconds": None,
        "steal_seconds": 0.02 * at,
        "memory_used_bytes": GIB,
        "gpu": None,
    }
    return Reading(**(fields | changes))  # type: ignore[arg-type]


def usage(*readings: Reading, num_allowed_cores: int = 3) -> HostUsage:
    return summarise(readings, load_average=0.25, num_cores=2, num_allowed_cores=num_allowed_cores)


def test_only_spans_with_training_at_both_ends_count() -> None:
    evaluation = reading(4, is_training=False, own_seconds=99, busy_seconds=999, memory_used_bytes=5 * GIB)
    found = usage(reading(0, is_training=False, own_seconds=7), reading(1), reading(3), evaluation, reading(6))
    assert found.cpu_utilisation == pytest.approx(0.75)
    assert found.foreign_cores == pytest.approx(1.5)
    assert found.contention == pytest.approx(0.25)
    assert found.steal_share == pytest.approx(0.02)
    assert (found.load_average, found.max_memory_used_bytes) == (0.25, 5 * GIB)


def test_a_bound_trial_contends_on_its_own_cpus_alone() -> None:
    """Its neighbours' load elsewhere counts as foreign but not as contention, however many cores are free."""
    alone, shared = (
        usage(reading(0, bound_busy_seconds=0.0), reading(2, bound_busy_seconds=busy), num_allowed_cores=4)
        for busy in (3.0, 3.5)
    )
    assert (alone.contention, alone.foreign_cores) == (0.0, 1.5)
    assert (shared.contention, shared.foreign_cores) == (0.125, 1.5)


def test_neither_foreign_load_nor_contention_is_negative() -> None:
    """Others on free cores do not contend."""
    assert usage(reading(0), reading(1, busy_seconds=1.4)).foreign_cores == 0.0
    assert usage(reading(0), reading(1), num_allowed_cores=4).contention == 0.0


def test_what_is_not_known_is_none() -> None:
    for found in (usage(), usage(reading(0, gpu=GPU))):
        assert (found.cpu_utilisation, found.foreign_cores, found.contention, found.steal_share) == (None,) * 4
        assert (found.gpu_utilisation, found.gpu_power_watts, found.gpu_clock_mhz) == (None,) * 3
    assert (usage().max_memory_used_bytes, usage().foreign_gpu_processes, usage().gpu_throttle_reasons) == (None,) * 3
    assert usage(reading(0, steal_seconds=None), reading(1, steal_seconds=None)).steal_share is None


def test_training_shorter_than_two_readings_is_not_judged() -> None:
    shared = dataclasses.replace(GPU, throttle_reasons=frozenset({"hw_slowdown"}), foreign_processes=2)
    evaluation = reading(1, is_training=False)
    found = usage(reading(0, gpu=shared), evaluation)
    assert (found.gpu_throttle_reasons, found.foreign_gpu_processes) == (None, None)
    assert find_taint(found) is None
    assert find_taint(usage(reading(0, gpu=GPU), evaluation, reading(2, gpu=shared))) is not None


def test_gpu_readings_are_means_and_extremes() -> None:
    capped = dataclasses.replace(
        GPU,
        utilisation=1.0,
        power_watts=300.0,
        memory_used_bytes=None,
        throttle_reasons=frozenset({"sw_power_cap", "hw_slowdown"}),
        foreign_processes=2,
    )
    found = usage(reading(0, gpu=GPU), reading(1, gpu=capped))
    assert (found.gpu_utilisation, found.gpu_power_watts, found.gpu_clock_mhz) == (0.75, 250.0, 1400.0)
    assert (found.gpu_memory_used_bytes, found.foreign_gpu_processes) == (3 * GIB, 2)
    assert found.gpu_throttle_reasons == ("hw_slowdown", "sw_power_cap")
    assert usage(reading(0, gpu=GPU), reading(1, gpu=GPU)).gpu_throttle_reasons == ()


class FakeNvml:
    """Two GPUs, number 1 and `GPU-b`, that know no power; `running` are the processes on each."""

    NVML_CLOCK_SM = pynvml.NVML_CLOCK_SM

    def __init__(self, running: dict[str, list[int]]) -> None:
        self.running = running
        self.num_users = 0

    def nvmlInit(self) -> None:  # noqa: N802
        self.num_users += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.num_users -= 1

    def __getattr__(self, name: str) -> Callable[..., object]:
        answers: dict[str, Callable[..., object]] = {
            "nvmlDeviceGetHandleByIndex": lambda index: {1: "a"}[index],
            "nvmlDeviceGetHandleByUUID": lambda uuid: {"GPU-b": "b"}[uuid],
            "nvmlDeviceGetUtilizationRates": lambda gpu: SimpleNamespace(gpu={"a": 100, "b": 50}[gpu]),
            "nvmlDeviceGetMemoryInfo": lambda gpu: SimpleNamespace(used={"a": GIB, "b": 2 * GIB}[gpu]),
            "nvmlDeviceGetClockInfo": lambda gpu, kind: {"a": 1000, "b": 1500}[gpu],
            "nvmlDeviceGetCurrentClocksThrottleReasons": lambda gpu: {"a": 0x1 | 0x40, "b": 0x4}[gpu],
            "nvmlDeviceGetComputeRunningProcesses": lambda gpu: [SimpleNamespace(pid=p) for p in self.running[gpu]],
        }
        return answers.get(name, self.refuse)

    def refuse(self, *arguments: object) -> object:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)


def reader(nvml: object, is_training: bool = True, pid: int | None = None) -> HostReader:
    return HostReader(
        pids=[pid or os.getpid()],
        cpus=(),
        gpus=("1", "GPU-b"),
        is_training=lambda: is_training,
        nvml=nvml,
    )


def test_gpus_are_read_by_index_and_by_identifier() -> None:
    nvml = FakeNvml({"a": [os.getpid(), 7], "b": [os.getpid(), 7, 8]})
    read = reader(nvml)
    found = read()
    assert found.is_training
    assert found.gpu == GpuReading(
        utilisation=0.75,
        memory_used_bytes=2 * GIB,
        power_watts=None,
        clock_mhz=1250.0,
        throttle_reasons=frozenset({"hw_thermal_slowdown", "sw_power_cap"}),
        foreign_processes=2,
    )
    assert nvml.num_users == 1
    read.close()
    assert nvml.num_users == 0
    assert reader(nvml, is_training=False)().gpu is None


@pytest.mark.parametrize(("host_pids", "foreign"), [([5], 0), ([5, 6], 1), ([], 0)])
def test_a_containers_own_process_is_not_foreign_under_the_hosts_number(host_pids: list[int], foreign: int) -> None:
    found = reader(FakeNvml({"a": host_pids, "b": host_pids}))().gpu
    assert found is not None
    assert found.foreign_processes == foreign


def test_without_a_driver_there_is_no_gpu() -> None:
    nvml = SimpleNamespace(nvmlInit=FakeNvml({}).refuse)
    assert reader(nvml)().gpu is None


def test_a_worker_that_ended_keeps_its_time_and_ends_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    read = reader(FakeNvml({"a": [], "b": []}))
    before = read()

    def gone(pid: int) -> psutil.Process:
        raise psutil.NoSuchProcess(pid)

    monkeypatch.setattr(psutil, "Process", gone)
    after = read()
    assert (after.is_training, after.gpu) == (False, None)
    assert after.own_seconds == before.own_seconds > 0


def test_only_allowed_cpus_are_read(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:  # type: ignore[no-untyped-def]
    """CPU 1 is offline, so CPU 3 is third in the list."""
    kinds = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal", "guest")
    cpus = [SimpleNamespace(**dict.fromkeys(kinds, 10.0**i)) for i in range(3)]
    (tmp_path / "stat").write_text("cpu  1 1\ncpu0 1 1\ncpu2 1 1\ncpu3 1 1\nintr 5\n")
    monkeypatch.setattr(sampling, "PROC_STAT", tmp_path / "stat")
    monkeypatch.setattr(psutil, "cpu_times", lambda percpu: cpus)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {2, 3}, raising=False)
    found = HostReader(pids=[os.getpid()], cpus=(3,), gpus=(), is_training=lambda: True)()
    assert (found.busy_seconds, found.bound_busy_seconds, found.steal_seconds) == (5 * 110.0, 5 * 100.0, 55.0)


@contextmanager
def spinning() -> Iterator[psutil.Process]:
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as process:
        try:
            yield psutil.Process(process.pid)
        finally:
            process.kill()


def cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this platform binds no process to a CPU")
def test_a_busy_trial_and_a_busy_stranger_are_seen() -> None:
    """Compared with what the two processes got on one CPU, for the machine may be busy with more."""
    cpu = max(os.sched_getaffinity(0))
    with spinning() as own, spinning() as stranger:
        for one in (own, stranger):
            one.cpu_affinity([cpu])
        read = HostReader(pids=[own.pid], cpus=(cpu,), gpus=(), is_training=lambda: True)
        began, before = time.monotonic(), [cpu_seconds(one) for one in (own, stranger)]
        sampler = HostSampler(read, num_cores=1, num_allowed_cores=len(os.sched_getaffinity(0)), interval_seconds=0.1)
        time.sleep(2.0)
        seconds = time.monotonic() - began
        shares = [(cpu_seconds(one) - b) / seconds for one, b in zip((own, stranger), before, strict=True)]
        found = sampler.stop()
    assert found.cpu_utilisation == pytest.approx(shares[0], rel=0.3)
    assert found.foreign_cores is not None
    assert found.foreign_cores > 0.7 * shares[1] > 0
    assert found.contention is not None
    assert found.contention > 0.7 * shares[1]
    assert found.max_memory_used_bytes
    assert found.gpu_utilisation is None


BROKEN: dict[InvalidReason, tuple[dict[str, object], str]] = {
    InvalidReason.FOREIGN_LOAD: ({"contention": 0.23}, "other processes took 23.0 % of the trial's cores (limit 20 %)"),
    InvalidReason.STEAL_TIME: (
        {"steal_share": 0.07},
        "the hypervisor gave 7.0 % of the cores' time away (limit 5 %)",
    ),
    InvalidReason.GPU_THROTTLED: (
        {"gpu_throttle_reasons": ("hw_slowdown", "sw_power_cap")},
        "reasons that slowed the GPUs' clocks: 1 (limit 0)",
    ),
    InvalidReason.GPU_SHARED: (
        {"foreign_gpu_processes": 1},
        "processes of others that computed on the trial's GPUs: 1 (limit 0)",
    ),
}


def test_every_limit_says_what_exceeded_it() -> None:
    assert list(BROKEN) == list(LIMITS)
    for reason, (changes, message) in BROKEN.items():
        assert find_taint(dataclasses.replace(QUIET, **changes)) == Taint(reason, message)


def test_readings_at_the_limit_and_unknown_ones_are_no_taint() -> None:
    at_the_limit = dataclasses.replace(
        QUIET,
        contention=LIMITS[InvalidReason.FOREIGN_LOAD].limit / 100,
        steal_share=LIMITS[InvalidReason.STEAL_TIME].limit / 100,
        gpu_throttle_reasons=("sw_power_cap",),
    )
    assert find_taint(at_the_limit) is None
    assert find_taint(usage()) is None
