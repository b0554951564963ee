"""From nothing to a report: the real server, pools, workers and trainings of all three strategies."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest

from tasks.domain.strategy import Strategy
from tasks.domain.trial import Role
from tests.examples import needs_two_cores

pytestmark = [pytest.mark.stack, pytest.mark.tensorflow, needs_two_cores]
SMALL = [
    word
    for parameter in ("global_batch_sizes=[64]", "num_epochs=1", "max_train_examples=600")
    for word in ("--param", parameter)
]


def stratbench(root: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    environment |= {"STRATBENCH_ROOT": str(root), "HOME": str(root / "home")}
    return subprocess.run(
        [sys.executable, "-m", "flows", *words],
        cwd=Path(__file__).parents[2],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
    )


def processes_of(root: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("STRATBENCH_ROOT") == str(root):
                found.append(process)
        except psutil.Error:
            continue
    return found


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("installation")
    (root / "home").mkdir()
    yield root
    stratbench(root, "down")
    assert not processes_of(root)


def test_benchmark_ends_in_a_report_of_all_strategies(root: Path) -> None:
    ran = stratbench(root, "benchmark", "smoke", *SMALL)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    page, report = ran.stdout.rstrip().splitlines()[-2:]
    assert page.startswith("http://127.0.0.1:")
    assert "/runs/flow-run/" in page
    text = Path(report).read_text()
    assert "5 of 5 trials valid (3 strategies x 1 batch size + 1 reference + 1 baseline, 1 block)" in text
    assert (Path(report).parent / "report.html").read_text().startswith("<!doctype html>")
    assert "CPU slice" in text

    trials = pq.read_table(Path(report).parent / "trials.parquet").to_pylist()
    assert sorted(trial["role"] for trial in trials) == ["baseline", "discarded", *["measured"] * 3, "reference"]
    assert {trial["strategy"] for trial in trials if trial["role"] == Role.MEASURED} == set(Strategy)
    for trial in trials:
        assert trial["status"] == "valid"
        assert trial["queue_seconds"] > 0
        assert trial["import_seconds"] < 0.5, "a prepared process has imported TensorFlow, for seconds, before"
        assert 0.2 < trial["test_accuracy"] < 1
    assert len({trial["order_checksum"] for trial in trials if trial["role"] == Role.MEASURED}) == 1

    logs = list((root / "runs").glob("*/logs/*.log"))
    assert len(logs) == 6
    assert all("epoch 1 of 1" in log.read_text() for log in logs)
    history = stratbench(root, "history", "list").stdout.splitlines()[1]
    assert history.split()[2:4] == ["6", "6"], "trials, and valid ones"


def test_second_benchmark_uses_the_stack_that_is_up_and_refuses_what_cannot_be_served(root: Path) -> None:
    ran = stratbench(root, "benchmark", "smoke", "--param", "global_batch_sizes=[65]")
    assert ran.returncode == 1, ran.stdout + ran.stderr
    assert "global_batch_size=65 does not divide over num_replicas=2" in " ".join(ran.stdout.split())
    assert len(list((root / "runs").glob("*/run.json"))) == 1
    assert stratbench(root, "status").returncode == 0, "the stack that was up stays up"


def test_down_leaves_no_process(root: Path) -> None:
    assert processes_of(root)
    assert stratbench(root, "down").returncode == 0
    assert not processes_of(root)
    assert not (root / "prefect.toml").exists()
