"""A trial from launch to its record, wherever the results are; no training happens."""

import os
from pathlib import Path

import pytest

from tasks.domain.device import Devices
from tasks.domain.strategy import Strategy
from tasks.results.record import Record
from tasks.results.storage import open_storage
from tasks.results.store import RunFolder
from tasks.training import measurement
from tasks.training.launcher import OnLine, run_ranks
from tasks.training.measurement import measure_trial
from tasks.training.part import Part, Ranks
from tests.analysis.example_runs import make_run
from tests.examples import DATA, make_trial

TRIAL = make_trial(strategy=Strategy.ONE_DEVICE, replicas_per_worker=1, reduction=None)
CORES = Devices(cores=tuple(sorted(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else (0, 1))


def measure(folder: RunFolder, data: Path, lines: list[str]) -> Record:
    """What `measure_trial` makes of the one fake process."""

    def train(on_line: OnLine) -> list[Part]:
        def keep(line: str) -> None:
            lines.append(line)
            on_line(line)

        ranks, module = Ranks(numbers=range(1)), "tests.training.fake_worker"
        return [run_ranks(TRIAL, ranks, devices=CORES, data_directory=data, on_line=keep, module=module)]

    return measure_trial(TRIAL, run_name="r", folder=folder, data=DATA, train=train)


def test_measured_run_reads_back_with_its_log(
    place: Path | str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    monkeypatch.setattr(measurement, "find_taint", lambda usage: None)
    lines: list[str] = []
    folder = RunFolder(place)
    folder.create(make_run())
    record = measure(folder, tmp_path, lines)
    assert record["status"] == "valid", record["message"]
    tables = folder.read()
    local = RunFolder(tmp_path / "local")
    local.create(make_run())
    local.put(record)
    for name in ("trials", "epochs", "steps", "gradients"):
        assert getattr(tables, name).equals(getattr(local.read(), name)), name
    assert "hello from rank 0" in lines
    measure(folder, tmp_path, lines)
    assert open_storage(place).read(f"logs/{TRIAL.key}.log").decode().splitlines() == lines, "both attempts' output"
    assert folder.num_records() == {TRIAL.key: 1}
