"""`python -m benchmarks.load`: many trials of a program that trains nothing, through the real server and workers.

Says what the stack's processes hold on to while trials pass through (memory and file handles, fitted over the trials),
and what a trial costs beside its program. In the middle the engine of the benchmark is killed; the same command then
runs what is missing.
"""

import argparse
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import linear_regression, median
from uuid import UUID

import psutil

from flows import locations
from flows.stack import processes
from flows.stack.local import Stack, down, up
from tasks.results.store import RunFolder

BLOCK = {
    "global_batch_sizes": [16, 32, 64, 128, 256, 512],
    "num_epochs": 1,
    "num_whole_blocks": None,
    "max_train_examples": 1024,
    "run_name": "load",
}
NUM_TRIALS = 26
"""Of a block, or so."""
POLL_SECONDS = 2.0
SETTLED = 10
"""Trials after which every part has loaded what it needs."""
DUMMY = """
import json, os, runpy, sys
if sys.orig_argv[1:3] == ["-m", "tasks.training.worker"]:
    if sys.orig_argv[3] == "standby":
        line = sys.stdin.readline()
        order = json.loads(line) if line else sys.exit()
        os.environ.update(order["environment"])
        sys.argv = ["", order["request"]]
    else:
        sys.argv = ["", sys.orig_argv[3]]
    sys.path.insert(0, {checkout!r})
    runpy.run_module("tests.training.fake_worker", run_name="__main__")
    sys.stdout.flush()
    os._exit(0)
"""
"""A `sitecustomize` by which every training process writes an outcome at once instead of training."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What the server and the workers hold after so many trials."""

    num_trials: int
    memory: dict[str, int]
    """Resident bytes, by part."""
    handles: dict[str, int]


def main() -> int:
    """Run the load and print what it did; returns 1 where a trial is missing or not valid."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load", description=__doc__)
    parser.add_argument("--blocks", type=int, default=8, help="of 26 trials or so (default: %(default)s)")
    arguments = parser.parse_args()
    if arguments.blocks < 2:
        sys.exit(f"--blocks {arguments.blocks} must be at least 2")
    with tempfile.TemporaryDirectory(prefix="stratbench-load-") as folder:
        place = Path(folder) / "site"
        place.mkdir()
        (place / "sitecustomize.py").write_text(DUMMY.format(checkout=str(Path(__file__).parents[1])))
        os.environ |= {"STRATBENCH_ROOT": folder, "PYTHONPATH": str(place)}
        try:
            return _load(up(ports="4900-4999"), arguments.blocks)
        finally:
            down()


def _load(stack: Stack, num_blocks: int) -> int:
    folder, readings = RunFolder(locations.runs() / "load"), []
    began = time.monotonic()
    run = _submit(stack, num_blocks)
    for reading in _watch(stack, run, folder):
        readings.append(reading)
        if reading.num_trials >= NUM_TRIALS * num_blocks // 2:
            break
    num_before = len(readings)
    before = {path: path.read_bytes() for path in (Path(folder.location) / "trials").glob("*.parquet")}
    _engine(run).send_signal(signal.SIGKILL)
    print(f"killed the benchmark's engine after {len(before)} trials", flush=True)
    readings += _watch(stack, run, folder)
    run = _submit(stack, num_blocks)
    readings += _watch(stack, run, folder)
    seconds = time.monotonic() - began
    trials = sorted(folder.read().trials.to_pylist(), key=lambda trial: trial["started_at"])
    walls = [trial["wall_seconds"] for trial in trials]
    gaps = [(b["started_at"] - a["started_at"]).total_seconds() - a["wall_seconds"] for a, b in pairwise(trials)]
    num_valid = sum(trial["status"] == "valid" for trial in trials)
    same = all(path.read_bytes() == content for path, content in before.items())
    print(f"{num_valid} of {len(trials)} trials valid; those of before the kill have the same bytes: {same}")
    print(f"{seconds:.0f} s in all; medians: {median(walls):.2f} s a trial, {median(gaps):.2f} s from one to the next")
    print("| part | MiB at first | at the end | MiB per 100 trials before and after the kill | handles | at the end |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for part in readings[-1].memory:
        first, last = next(r for r in readings if part in r.memory and r.num_trials >= SETTLED), readings[-1]
        slopes = " and ".join(_slope(phase, part) for phase in (readings[:num_before], readings[num_before:]))
        mib = f"{first.memory[part] / 2**20:.0f} | {last.memory[part] / 2**20:.0f} | {slopes}"
        print(f"| {part} | {mib} | {first.handles[part]} | {last.handles[part]} |")
    left = set(processes.marked()) - {p for part in processes.parts().values() for p in (part, *part.children(True))}
    print(f"processes left over: {len(left)}")
    return 0 if same and not left and num_valid == len(trials) else 1


def _slope(readings: Sequence[Reading], part: str) -> str:
    """Growth of a part's memory in MiB per 100 trials, fitted; a part that was started anew may have none."""
    points = [(r.num_trials, r.memory[part] / 2**20) for r in readings if part in r.memory and r.num_trials >= SETTLED]
    if len({num for num, _ in points}) < 2:
        return "?"
    return f"{100 * linear_regression(*zip(*points, strict=True)).slope:+.1f}"


def _submit(stack: Stack, num_blocks: int) -> UUID:
    with stack.server.connected() as client:
        deployment = client.read_deployment_by_name("benchmark/smoke")
        parameters = {**BLOCK, "min_blocks": num_blocks, "max_blocks": num_blocks}
        return client.create_flow_run_from_deployment(deployment.id, parameters=parameters).id


def _watch(stack: Stack, run: UUID, folder: RunFolder) -> Iterator[Reading]:
    """A reading now and then, until the run has ended."""
    while True:
        with stack.server.connected() as client:
            state = client.read_flow_run(run).state
        yield _read(sum(folder.num_records().values()))
        if state and state.is_final():
            return
        time.sleep(POLL_SECONDS)


def _read(num_trials: int) -> Reading:
    memory, handles = {}, {}
    for name, process in processes.parts().items():
        with suppress(psutil.Error):
            memory[name], handles[name] = process.memory_info().rss, process.num_fds()
    return Reading(num_trials, memory, handles)


def _engine(run: UUID) -> psutil.Process:
    """The process of that flow run."""
    for process, environment in processes.marked().items():
        if environment.get("PREFECT__FLOW_RUN_ID") == str(run) and "prefect.engine" in process.cmdline():
            return process
    raise LookupError(f"no process runs {run}")


if __name__ == "__main__":
    sys.exit(main())
