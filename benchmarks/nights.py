"""`python -m benchmarks.nights`: real nights, one after another, through the deployment `benchmark/nightly`.

One cell is measured against the control of this very commit, so that nothing differs; from a night on, the worker is
slowed on purpose, and the control is not. The twin goes on from the same first nights without the slow-down. Prints
every night's verdict and what a webhook was told; an hour on two cores, which nothing else should be using.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from prefect.blocks.webhook import Webhook
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.types import SecretDict
from pydantic import SecretStr

from flows import control, locations
from flows.stack.local import Stack, down, up
from flows.verdicts import read_evidence
from tasks.detection.detector import MIN_NIGHTS
from tasks.detection.nights import NightState

BEGAN = date(2026, 1, 1)
CELL = {"strategies": ["one_device"], "global_batch_sizes": [64], "max_train_examples": 12_000}
PATIENCE = """
from tasks.training import contamination
contamination.find_taint = lambda usage: None
"""
"""A `sitecustomize` for trials that bear whatever else the machine does meanwhile."""
PORTS, POLL_SECONDS = "4800-4899", 2.0


@dataclass(frozen=True, slots=True)
class Experiment:
    """Where it runs, and what was asked for."""

    root: Path
    num_pairs: int
    slowdown: float
    posts: list[dict[str, Any]]
    """What the webhook was told."""

    def measure(self, series: str, first: int, num_nights: int, slowdown: float = 0.0) -> None:
        """So many nights under a stack of their own, each with its verdict in one line."""
        os.environ["STRATBENCH_SLOWDOWN"] = str(slowdown)
        stack = up(ports=PORTS)
        try:
            for number in range(first, first + num_nights):
                self._night(stack, series, BEGAN + timedelta(days=number))
        finally:
            down()

    def _night(self, stack: Stack, series: str, day: date) -> None:
        told, began = len(self.posts), time.monotonic()
        parameters = {**CELL, "min_blocks": self.num_pairs, "max_blocks": self.num_pairs, "night": str(day)}
        with stack.server.connected() as client:
            deployment = client.read_deployment_by_name("benchmark/nightly").id
            run = client.create_flow_run_from_deployment(deployment, parameters=parameters).id
            while not ((state := client.read_flow_run(run).state) and state.is_final()):
                time.sleep(POLL_SECONDS)
        time.sleep(POLL_SECONDS)  # the server notifies a moment later
        evidence = read_evidence()
        assert evidence is not None
        verdict = evidence.tonight.verdicts[0]
        interval = f"{verdict.low:.2f} to {verdict.high:.2f}" if verdict.low and verdict.high else ""
        change = f"{verdict.change:.3f}" if verdict.change else ""
        alerts = ", ".join(str(post["event"]) for post in self.posts[told:])
        looks = evidence.nights[-1].trials.num_rows
        print(
            f"| {series} | {day} | {verdict.state} | {state.name} | {verdict.value or 0:.3f} | {change} | {interval} | "
            f"{verdict.num_pairs} | {looks} | {alerts} | {time.monotonic() - began:.0f} |",
            flush=True,
        )


def main() -> int:
    """Run the experiment; returns 1 unless the slow-down was found, confirmed and told, and the twin stayed quiet."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.nights", description=__doc__)
    parser.add_argument("--pairs", type=int, default=6, help="of a night (default: %(default)s)")
    parser.add_argument("--slowdown", type=float, default=0.2, help="as a share (default: %(default)s)")
    parser.add_argument("--quiet-nights", type=int, default=MIN_NIGHTS + 1, help="before it (default: %(default)s)")
    parser.add_argument("--nights", type=int, default=3, help="with it (default: %(default)s)")
    arguments = parser.parse_args()
    for name in ("pairs", "quiet_nights", "nights"):
        if getattr(arguments, name) < 1:
            sys.exit(f"--{name.replace('_', '-')} {getattr(arguments, name)} must be at least 1")
    posts: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="stratbench-nights-") as folder, receiver(posts.append) as url:
        root = Path(folder)
        (root / "site").mkdir()
        (root / "site" / "sitecustomize.py").write_text(PATIENCE)
        path = os.pathsep.join([str(root / "site"), str(Path(__file__).parents[1])])
        os.environ |= {"STRATBENCH_ROOT": folder, "PYTHONPATH": path}
        _pin()
        _save_block(url)
        experiment = Experiment(root, arguments.pairs, arguments.slowdown, posts)
        return _compare(experiment, arguments.quiet_nights, arguments.nights)


def _compare(experiment: Experiment, num_quiet: int, num_nights: int) -> int:
    runs, kept = locations.runs(), experiment.root / "kept"
    print("| series | night | state | flow run | v control | v baseline | 95 % | pairs | trials | told | s |")
    print("| :--- | :--- | :--- | :--- | ---: | ---: | :--- | ---: | ---: | :--- | ---: |", flush=True)
    experiment.measure("quiet", 0, num_quiet)
    shutil.copytree(runs, kept)
    found = []
    for series, slowdown in (("slowed", experiment.slowdown), ("twin", 0.0)):
        shutil.rmtree(runs)
        shutil.copytree(kept, runs)
        told = len(experiment.posts)
        experiment.measure(series, num_quiet, num_nights, slowdown)
        evidence = read_evidence()
        assert evidence is not None
        found.append((evidence.tonight.verdicts[0].state, [post["event"] for post in experiment.posts[told:]]))
    for post in experiment.posts:
        print(f"\n{post['event']}: {post['subject']}\n\n{post['text']}")
    (state, told_slowed), (twin, told_twin) = found
    print(f"\nslowed: {state}, told {told_slowed}; twin: {twin}, told {told_twin}")
    is_found = state is NightState.REGRESSED and told_slowed.count("benchmark.regression") == 1
    return 0 if is_found and twin is NightState.OK and not told_twin else 1


@contextmanager
def receiver(take: Callable[[dict[str, Any]], None]) -> Iterator[str]:
    """A webhook on this machine that hands on what it is told: its address."""

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            take(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *words: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def _pin() -> None:
    """Build the control of this commit, and let nights be measured against it."""
    for line in control.build():
        print(line, flush=True)
    (built,) = locations.controls().iterdir()
    print(control.settle(built.name, "the experiment", "benchmarks.nights"), flush=True)


def _save_block(url: str) -> None:
    """The block through which the stack notifies."""
    stack = up(ports=PORTS)
    try:
        with temporary_settings({PREFECT_API_URL: stack.server.api_url}):
            Webhook(url=SecretStr(url), headers=SecretDict({"Content-Type": "application/json"})).save(
                "oncall", overwrite=True
            )
    finally:
        down()
    os.environ["STRATBENCH_NOTIFY"] = "webhook/oncall"


if __name__ == "__main__":
    sys.exit(main())
