"""Progress of a run in Prefect's UI: trials done of trials planned, and the time left."""

import asyncio
import time
from uuid import UUID

from prefect.artifacts import acreate_progress_artifact, aupdate_progress_artifact

from flows.blocks import Review
from flows.opening import OpenRun

KEY = "benchmark-progress"


class Progress:
    """The progress artifact of one run."""

    def __init__(self, opened: OpenRun, artifact_id: UUID) -> None:
        """Count from now on; trials that are recorded already cost no time."""
        self._opened, self._artifact_id, self._num_planned = opened, artifact_id, 1
        self._began, self._num_before = time.monotonic(), len(opened.finished_keys())

    async def begin_block(self, state: Review) -> None:
        """Count the block's trials, and those of the blocks that must follow it."""
        recorded, planned = len(self._opened.finished_keys()), state.analysis.coverage
        self._num_planned = max(recorded + len(state.trials), planned.planned + planned.num_blocks)
        await self.show()

    async def show(self) -> None:
        """Bring the artifact up to date with the records."""
        num_done = len(await asyncio.to_thread(self._opened.finished_keys))
        text = describe(num_done, self._num_planned, num_done - self._num_before, time.monotonic() - self._began)
        await aupdate_progress_artifact(self._artifact_id, 100.0 * num_done / self._num_planned, text)


async def begin_progress(opened: OpenRun) -> Progress:
    """Create the run's progress artifact."""
    return Progress(opened, await acreate_progress_artifact(0.0, key=KEY))


def describe(num_done: int, num_planned: int, num_timed: int, seconds: float) -> str:
    """For example `3 of 9 trials, about 6 min left`; `num_timed` of them took `seconds`."""
    text = f"{num_done} of at least {num_planned} trials"
    if not num_timed or num_done >= num_planned:
        return text
    return f"{text}, about {seconds / num_timed * (num_planned - num_done) / 60:.0f} min left"
