"""`python -m benchmarks`: each loop beside plain Keras `fit` and beside the machine's limit, in one interleaved run.

Prints a Markdown table of ratios; `--output` keeps the raw measurements as JSON.
"""

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from benchmarks.arms import ARMS, LIMIT, NUM_EXAMPLES, PLAIN, WORKER, Arm
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
    parser.add_argument("--arm", nargs="+", default=None, help="words that the names of the arms begin with")
    parser.add_argument("--output", type=Path, default=None, help="a JSON file for the raw measurements")
    arguments = parser.parse_args()
    os.environ["PYTHONPATH"] = str(Path(__file__).parents[1])  # the arms' processes find these programs there
    wanted = arguments.arm
    arms = [a for a in ARMS if a in (PLAIN, LIMIT) or not wanted or any(a.name.startswith(word) for word in wanted)]
    rates, memory = measure(arms, arguments.rounds)
    if arguments.output:
        raw = [{"arm": arm, "batch": batch, "examples_per_second": values} for (arm, batch), values in rates.items()]
        arguments.output.write_text(json.dumps({"measurements": raw, "peak_bytes": memory}, indent=1) + "\n")
    print(table(arms, rates, memory))
    return 0


def measure(arms: Sequence[Arm], rounds: int) -> tuple[Rates, dict[str, int]]:
    """Every arm at every batch size once a round, in an order shuffled by the round."""
    rates: Rates = defaultdict(list)
    memory: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as cache:
        data = prepare("mnist", Path(cache))
        for number in range(1, rounds + 1):
            cells = [(arm, batch) for batch in BATCH_SIZES for arm in arms]
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


def table(arms: Sequence[Arm], rates: Rates, memory: dict[str, int]) -> str:
    """Medians of the ratios inside a round, with their range and n."""
    lines = [
        f"Float operations per example, forward and backward: {AS_WRITTEN.flops() / 1e6:.1f} million as written, "
        f"{AS_COMPUTED.flops() / 1e6:.1f} million without what the poolings throw away.",
        f"One epoch over {NUM_EXAMPLES:,} examples a measurement; ratios are taken inside a round.",
        "",
        "| arm | batch | examples/s | x plain fit | share of the limit | of the limit as written | MiB | n |",
        "| :--- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for arm in arms:
        for batch in BATCH_SIZES:
            own = [values[0] for values in rates[arm.name, batch]]
            plain = [mine / values[0] for mine, values in zip(own, rates[PLAIN.name, batch], strict=True)]
            limits = [
                [mine / limit for limit in values] for mine, values in zip(own, rates[LIMIT.name, batch], strict=True)
            ]
            computed, written = zip(*limits, strict=True)
            cells = [
                arm.name,
                str(batch),
                f"{statistics.median(own):,.0f}",
                f"{statistics.median(plain):.2f} ({min(plain):.2f} to {max(plain):.2f})",
                f"{statistics.median(computed):.0%} ({min(computed):.0%} to {max(computed):.0%})",
                f"{statistics.median(written):.0%}",
                f"{memory[arm.name] / 2**20:,.0f}",
                str(len(own)),
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
