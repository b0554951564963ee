"""`python -m benchmarks.pipeline`: a whole deployment beside the bare loop of the same trainings, one after the other.

The bare loop calls the launcher trial by trial in one process: no server, no pool, no record, no report.
"""

import argparse
import statistics
import subprocess
import sys
import time
from itertools import product
from pathlib import Path

from flows import locations
from tasks.data.preparation import prepare
from tasks.domain.outcome import TrialResult
from tasks.planning.planner import plan_block
from tasks.results.environment import find_devices
from tasks.results.store import RunFolder
from tasks.training.launcher import run_trial

STRATBENCH = [sys.executable, "-m", "flows"]


def main() -> int:
    """Measure pairs, in each the deployment first and then its bare loop; print their ratios."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pipeline", description=__doc__)
    parser.add_argument("deployment", nargs="?", default="full")
    parser.add_argument("--pairs", type=int, default=1)
    arguments = parser.parse_args()
    if arguments.pairs < 1:
        sys.exit(f"--pairs {arguments.pairs} must be at least 1")
    subprocess.run([*STRATBENCH, "up"], check=True)
    ratios = []
    for number in range(1, arguments.pairs + 1):
        began = time.perf_counter()
        whole(arguments.deployment)
        seconds = time.perf_counter() - began
        run = max(locations.runs().glob(f"{arguments.deployment}-*"), key=lambda path: path.stat().st_mtime)
        loop = bare(RunFolder(run))
        ratios.append(seconds / loop)
        print(f"pair {number}: {arguments.deployment} {seconds:.1f} s, bare loop {loop:.1f} s, {ratios[-1]:.3f} x")
    print(f"median {statistics.median(ratios):.3f} x, n = {len(ratios)}")
    return 0


def whole(deployment: str) -> None:
    """One run of the deployment, from the command to its report."""
    subprocess.run([*STRATBENCH, "benchmark", deployment], check=True)


def bare(folder: RunFolder) -> float:
    """Seconds of the trainings that the run recorded, one after another, without Prefect and reports."""
    run, recorded = folder.describe(), set(folder.num_records())
    sweep, data, devices = run.sweep, prepare(run.sweep.dataset, locations.data_cache()), find_devices()
    began = time.perf_counter()
    for block, is_whole in product(range(1, sweep.max_blocks + 1), (True, False)):
        for trial in plan_block(sweep, run.device, data, block, is_whole):
            if trial.key in recorded:
                recorded -= {trial.key}
                result = run_trial(trial, devices=devices, data_directory=Path(data.directory))
                assert isinstance(result, TrialResult), result
    return time.perf_counter() - began


if __name__ == "__main__":
    sys.exit(main())
