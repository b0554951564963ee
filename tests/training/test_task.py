"""Training as a Prefect task, without a server."""

import asyncio
import logging
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tasks.training import task
from tests.examples import DATA, make_trial


def test_cancelled_task_tells_the_training_to_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread cannot be cancelled: it would train on to its end, and the process would wait for it."""
    began, has_stopped = threading.Event(), threading.Event()

    def measure(*_: object, stop: threading.Event, **__: object) -> None:
        began.set()
        if stop.wait(20):
            has_stopped.set()

    monkeypatch.setattr(task, "measure_trial", measure)
    monkeypatch.setattr(task, "get_run_logger", lambda: logging.getLogger("test"))

    async def cancel() -> None:
        now = datetime.now(UTC)
        going = asyncio.ensure_future(task.train.fn(make_trial(), "run", str(tmp_path), DATA, "python", now, 0))
        await asyncio.to_thread(began.wait, 20)
        going.cancel()
        with pytest.raises(asyncio.CancelledError):
            await going

    asyncio.run(cancel())
    assert has_stopped.is_set()
