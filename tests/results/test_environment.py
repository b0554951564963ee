from pathlib import Path

import pynvml
import pytest

from tasks.domain.precision import Precision
from tasks.results import environment
from tasks.results.environment import describe_environment, find_devices

FLOAT32, BFLOAT16, FLOAT16, FLOAT64 = Precision
NEITHER, BFLOAT, HALF = (FLOAT32, FLOAT64), (FLOAT32, BFLOAT16, FLOAT64), (FLOAT32, FLOAT16, FLOAT64)
BOTH = (FLOAT32, BFLOAT16, FLOAT16, FLOAT64)
X86 = "processor\t: 0\nmodel name\t: A CPU\nflags\t\t: fpu sse2 {}\nbugs\t\t: spectre_v1\n\nprocessor\t: 1\n"
ARM = "processor\t: 0\nBogoMIPS\t: 243.75\nFeatures\t: fp asimd {}\nCPU implementer\t: 0x41\n"


Precisions = tuple[Precision, ...]
Gpus = list[tuple[str, tuple[int, int]]]
"""Names and compute capabilities."""


@pytest.fixture
def cpuinfo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What Linux tells of the CPU of a machine without a GPU's driver; to be written."""

    def refuse() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(pynvml, "nvmlInit", refuse)
    monkeypatch.setattr(environment, "CPUINFO", tmp_path / "cpuinfo")
    return tmp_path / "cpuinfo"


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> Gpus:
    """The machine's GPUs, in NVML's order; to be filled."""
    found: Gpus = []
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlShutdown", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlSystemGetDriverVersion", lambda: "570.1")
    monkeypatch.setattr(pynvml, "nvmlDeviceGetCount", lambda: len(found))
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByIndex", lambda index: found[index])
    monkeypatch.setattr(pynvml, "nvmlDeviceGetName", lambda handle: handle[0])
    monkeypatch.setattr(pynvml, "nvmlDeviceGetCudaComputeCapability", lambda handle: handle[1])
    return found


@pytest.mark.parametrize(
    ("text", "precisions"),
    [
        (X86.format("avx2"), NEITHER),
        (X86.format("avx512_bf16"), BFLOAT),
        (X86.format("amx_bf16 amx_tile"), BFLOAT),
        (X86.format("avx512_fp16 avx512_bf16"), BOTH),
        (X86.format("amx_fp16"), HALF),
        (X86.format("not_avx512_bf16"), NEITHER),
        (ARM.format("bf16 i8mm"), BFLOAT),
        (ARM.format("crc32"), NEITHER),
        ("", NEITHER),
        (None, NEITHER),
    ],
)
def test_flags_of_the_cpu_tell_what_it_computes(text: str | None, precisions: Precisions, cpuinfo: Path) -> None:
    if text is not None:
        cpuinfo.write_text(text)
    devices = find_devices()
    assert devices.cpu_precisions == precisions
    assert (devices.gpus, devices.gpu_precisions) == ((), NEITHER)


def test_model_of_the_cpu_is_its_first_name(cpuinfo: Path) -> None:
    cpuinfo.write_text(X86.format("avx2"))
    assert describe_environment().cpu_model == "A CPU"


@pytest.mark.parametrize(
    ("capabilities", "precisions"),
    [
        ([(6, 1)], NEITHER),
        ([(7, 0)], HALF),
        ([(7, 5)], HALF),
        ([(8, 0)], BOTH),
        ([(10, 0), (9, 0)], BOTH),
        ([(9, 0), (7, 0)], HALF),
        ([], NEITHER),
    ],
)
def test_oldest_gpu_tells_what_all_of_them_compute(
    capabilities: list[tuple[int, int]], precisions: Precisions, gpus: Gpus
) -> None:
    gpus += [(f"GPU {number}", capability) for number, capability in enumerate(capabilities)]
    devices = find_devices()
    assert devices.gpus == tuple(name for name, _ in gpus)
    assert devices.gpu_precisions == precisions


@pytest.mark.parametrize(
    ("visible", "names", "precisions"),
    [
        ("1", ("H100",), BOTH),
        ("0", ("P100",), NEITHER),
        ("1,0", ("H100", "P100"), NEITHER),
        ("GPU-8932f937", ("P100",), NEITHER),
        ("7", (), NEITHER),
        ("", (), NEITHER),
        ("-1", (), NEITHER),
    ],
)
def test_only_visible_gpus_count(
    visible: str, names: tuple[str, ...], precisions: Precisions, gpus: Gpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpus += [("P100", (6, 0)), ("H100", (9, 0))]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    devices = find_devices()
    assert (devices.gpus, devices.gpu_precisions) == (names, precisions)


def test_environment_names_gpus_and_driver(gpus: Gpus) -> None:
    gpus += [("A100", (8, 0)), ("A100", (8, 0))]
    found = describe_environment()
    assert (found.gpu_model, found.gpu_driver) == ("A100, A100", "570.1")
    assert found.num_physical_cores == len(find_devices().cores)
