"""Flows that need neither data nor TensorFlow, for a real server and real workers."""

import asyncio
import os
import sys
from pathlib import Path

from prefect import flow


@flow
async def benchmark(run_name: str | None = None, seconds: float = 0.0, is_failing: bool = False) -> None:
    await asyncio.sleep(seconds)
    if is_failing:
        raise ValueError("asked for")
    folder = Path(os.environ["STRATBENCH_ROOT"]) / "reports" / (run_name or "unnamed")
    folder.mkdir(parents=True)
    (folder / "report.md").write_text(sys.executable)


@flow
async def trial(seconds: float = 0.0) -> None:
    await asyncio.sleep(seconds)


@flow
async def rank(seconds: float = 0.0) -> None:
    await asyncio.sleep(seconds)
