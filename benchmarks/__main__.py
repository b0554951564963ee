"""`python -m benchmarks`: each loop beside plain Keras `fit` and beside the machine's limit, in one interleaved run.

Prints a Markdown table of ratios; `--output` keeps the raw measurements as JSON, `--read` prints their table again.
"""

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from benchmarks.arms import ARMS, LIMIT, NUM_EXAMPLES, PLAIN, WORKER
from benchmarks.limit_shapes import AS_COMPUTED, AS_WRITTEN
from tasks.data.preparation import prepare
from tasks.domain.outcome import TrialResult
from tasks.results.environment import find_devices
from tasks.training.launcher import run_trial

BATCH_SIZES = (64, 128, 256)
Rates = dict[tuple[str, int], list[list[float]]]
"""Examples per second by arm and batch size: a list a round, with one value for each timed epoch."""


def main() -> int:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=6, help="measurements of each arm at each batch size")
    parser.add_argument("--output", type=Path, default=None, help="a JSON file for the raw measurements")
    parser.add_argument("--read", type=Path, default=None, help="print the table of such a file; measure nothing")
    arguments = parser.parse_args()
    if arguments.read:
        kept = json.loads(arguments.read.read_text())
        found = {(row["arm"], row["batch"]): row["examples_per_second"] for row in kept["measurements"]}
        print(table({(a.name, b): found[a.name, b] for a in ARMS for b in BATCH_SIZES}, kept["peak_bytes"]))
        return 0
    if arguments.rounds < 1:
        sys.exit(f"--rounds {arguments.rounds} must be at least 1")
    os.environ["PYTHONPATH"] = str(Path(__file__).parents[1])  # the arms' processes find these programs there
    rates, memory = measure(arguments.rounds)
    if arguments.output:
        raw = [{"arm": arm, "batch": batch, "examples_per_second": values} for (arm, batch), values in rates.items()]
        arguments.output.write_text(json.dumps({"measurements": raw, "peak_bytes": memory}, indent=1) + "\n")
    print(table(rates, memory))
    return 0


def measure(rounds: int) -> tuple[Rates, dict[str, int]]:
    """Every arm at every batch size once a round, in an order shuffled by the round."""
    rates: Rates = {(arm.name, batch): [] for arm in ARMS for batch in BATCH_SIZES}
    memory: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as cache:
        data = prepare("mnist", Path(cache))
        for number in range(1, rounds + 1):
            cells = [(arm, batch) for batch in BATCH_SIZES for arm in ARMS]
            random.Random(number).shuffle(cells)
            for arm, batch in cells:
                lines: list[str] = []
                result = run_trial(
                    arm.trial(batch, data, seed=number),
                    devices=find_devices(),
                    data_directory=Path(data.directory),
                    module=arm.module,
                    on_line=lines.append,
                )
                if not isinstance(result, TrialResult):
                    sys.exit("\n".join([*lines[-20:], f"{arm.name}, batch {batch}: {result.message}"]))
                if result.invalid_reason and arm.module == WORKER:
                    sys.exit(f"{arm.name}, batch {batch}: {result.message}")
                values = [epoch.num_examples / epoch.training_seconds for epoch in result.epochs]
                rates[arm.name, batch].append(values)
                memory[arm.name] = max(memory.get(arm.name, 0), result.max_resident_bytes)
                print(f"round {number}: {arm.name}, batch {batch}: {values[0]:,.0f} examples/s", file=sys.stderr)
    return rates, memory


def table(rates: Rates, memory: dict[str, int]) -> str:
    """Medians of the ratios inside a round, with their range; a row an arm, a column a batch size."""
    rounds = len(rates[PLAIN.name, BATCH_SIZES[0]])
    plain = " / ".join(f"{statistics.median(v[0] for v in rates[PLAIN.name, batch]):,.0f}" for batch in BATCH_SIZES)
    lines = [
        f"Times as many examples per second as plain Keras `fit`, and share of the limit: medians of n = {rounds} "
        f"interleaved rounds, one epoch over {NUM_EXAMPLES:,} examples each; in parentheses the range. Plain fit "
        f"trained {plain} examples/s at {' / '.join(map(str, BATCH_SIZES))}. The limit is the arithmetic of a step "
        f"alone in float32, all replicas busy: {AS_COMPUTED.flops() / 1e6:.1f} million float operations an example as "
        f"the fused loop computes it, {AS_WRITTEN.flops() / 1e6:.1f} million as the layers are written. Memory: peak, "
        "summed over the processes.",
        "",
        f"| arm | {' | '.join(f'batch {b}' for b in BATCH_SIZES)} | of the limit | of the limit as written | memory |",
        f"| :--- | {'---: | ' * len(BATCH_SIZES)}---: | ---: | ---: |",
    ]
    for name in dict.fromkeys(arm for arm, _ in rates):
        ratios = [[own[0] / base[0] for own, base in _pairs(rates, name, PLAIN.name, batch)] for batch in BATCH_SIZES]
        shares = [
            " / ".join(
                f"{statistics.median(own[0] / limit[which] for own, limit in _pairs(rates, name, LIMIT.name, b)):.0%}"
                for b in BATCH_SIZES
            )
            for which in (0, 1)
        ]
        times = [f"{statistics.median(r):.2f} x ({min(r):.2f} to {max(r):.2f})" for r in ratios]
        lines.append(f"| {' | '.join([name, *times, *shares, f'{memory[name] / 2**20:,.0f} MiB'])} |")
    return "\n".join(lines)


def _pairs(rates: Rates, arm: str, base: str, batch: int) -> Iterable[tuple[list[float], list[float]]]:
    return zip(rates[arm, batch], rates[base, batch], strict=True)


if __name__ == "__main__":
    sys.exit(main())
