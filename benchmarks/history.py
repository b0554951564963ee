"""`python -m benchmarks.history`: tonight's verdict over a long history beside pandas over all that was measured.

The nights are synthetic, in a temporary folder: their trials in the history, their steps beside them as in the folders
of reports. The arms are fresh processes, one after the other, imports and all.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from tasks.detection.synthetic import Noise
from tasks.detection.synthetic_history import synthesize, write
from tasks.results import schema
from tasks.results.history import History, Night
from tasks.results.store import encode

NOISE, NUM_PAIRS = Noise(run=0.03, night=0.005), 6
"""Of 9 cells in 2 arms: 108 trials a night."""
VERDICT, REPORT, EVERYTHING = "stratbench verdict", "the same with its report", "pandas, all trials and steps"
ARMS: Mapping[str, Sequence[str]] = {
    VERDICT: ("-m", "flows", "verdict"),
    REPORT: ("-m", "benchmarks.history_report"),
    EVERYTHING: ("-m", "benchmarks.history_pandas"),
}
"""Arguments of Python, in a folder that holds the runs; what they print is not kept."""
STEPS_PER_WINDOW = 32


@dataclass(frozen=True, slots=True)
class Reading:
    """What one process took, from launch to exit."""

    arm: str
    seconds: float
    cpu_seconds: float
    """Of all its threads: what other processes on the machine leave alone, mostly."""
    peak_bytes: int
    """Largest resident memory."""


def main() -> int:
    """Make the history, measure, print, keep."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.history", description=__doc__)
    parser.add_argument("--nights", type=int, default=400, help="of 108 trials (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=10_000_000, help="rows of the tables of steps, in all")
    parser.add_argument("--rounds", type=int, default=5, help="processes of each arm (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=None, help="a JSON file for the raw measurements")
    arguments = parser.parse_args()
    for name in ("nights", "steps", "rounds"):
        if getattr(arguments, name) < 1:
            sys.exit(f"--{name} {getattr(arguments, name)} must be at least 1")
    with tempfile.TemporaryDirectory(prefix="stratbench-history-") as folder:
        num_trials, num_steps = fill(Path(folder), arguments.nights, arguments.steps)
        readings = [
            measure(arm, Path(folder))
            for number in range(1, arguments.rounds + 1)
            for arm in random.Random(number).sample(list(ARMS), len(ARMS))
        ]
    if arguments.output:
        arguments.output.write_text(json.dumps([asdict(each) for each in readings], indent=1) + "\n")
    print(f"{arguments.nights} nights, {num_trials:,} trials, {num_steps:,} rows of steps; SYNTHETIC\n")
    print(table(readings))
    return 0


def fill(folder: Path, num_nights: int, num_steps: int) -> tuple[int, int]:
    """Nights below `folder`/runs, each with its share of the steps; how many trials and steps there are."""
    nights = list(synthesize(NOISE, num_nights, NUM_PAIRS, seed=1))
    list(write(History(folder / "runs"), nights))
    num_trials = sum(night.trials.num_rows for night in nights)
    num_windows = max(1, round(num_steps / num_trials))
    for night in nights:
        run = folder / "runs" / night.run_name
        run.mkdir()
        (run / "steps.parquet").write_bytes(encode(make_steps(night, num_windows)))
    return num_trials, num_trials * num_windows


def make_steps(night: Night, num_windows: int) -> pa.Table:
    """So many windows of each trial, one after another; a trial's sum to its seconds but for their noise."""
    seconds = np.repeat(night.trials["training_seconds"].to_numpy() / num_windows, num_windows)
    windows = np.tile(np.arange(num_windows), night.trials.num_rows)
    columns = {
        "trial_key": np.repeat(night.trials["trial_key"].to_numpy(), num_windows),
        "epoch": np.ones_like(windows),
        "first_step": 1 + STEPS_PER_WINDOW * windows,
        "num_steps": np.full_like(windows, STEPS_PER_WINDOW),
        "num_examples": np.repeat(night.trials["global_batch_size"].to_numpy() * STEPS_PER_WINDOW, num_windows),
        "seconds": seconds * np.random.default_rng(night.day.toordinal()).normal(1, 0.02, len(seconds)),
    }
    return pa.table(columns, schema=schema.arrow_schema(schema.STEPS))


def measure(arm: str, folder: Path) -> Reading:
    """One process of that arm."""
    places = {
        "STRATBENCH_ROOT": str(folder),
        "STRATBENCH_RESULTS_URL": "",
        "PYTHONPATH": str(Path(__file__).parents[1]),
    }
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, *ARMS[arm]], env=os.environ | places, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds, process.returncode = time.perf_counter() - began, os.waitstatus_to_exitcode(status)
    if process.returncode not in (0, 10, 11):  # a verdict that there is one
        sys.exit(f"{arm} ended with {process.returncode}")
    print(f"{arm}: {seconds:.2f} s", file=sys.stderr)
    return Reading(arm, seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)


def table(readings: Sequence[Reading]) -> str:
    """Medians with their range; a row an arm, and the ratio of the last one's medians to the first one's."""
    lines = [f"| arm (n = {len(readings) // len(ARMS)}) | wall s | CPU s | peak MiB |", "| :--- | ---: | ---: | ---: |"]
    medians: dict[str, list[float]] = {}
    for arm in ARMS:
        own = [(each.seconds, each.cpu_seconds, each.peak_bytes / 2**20) for each in readings if each.arm == arm]
        columns = list(zip(*own, strict=True))
        medians[arm] = [statistics.median(values) for values in columns]
        cells = [
            f"{median:,.{digits}f} ({min(values):,.{digits}f} to {max(values):,.{digits}f})"
            for median, values, digits in zip(medians[arm], columns, (2, 2, 0), strict=True)
        ]
        lines.append(f"| {' | '.join([arm, *cells])} |")
    ratios = [f"{one / other:.1f} x" for one, other in zip(medians[EVERYTHING], medians[VERDICT], strict=True)]
    return "\n".join([*lines, f"| {' | '.join(['pandas: times as much', *ratios])} |"])


if __name__ == "__main__":
    sys.exit(main())
