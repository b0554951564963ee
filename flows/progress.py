"""Progress of a run in Prefect's UI: trials done of trials planned, and the time left."""

import time
from uuid import UUID

from prefect.artifacts import acreate_progress_artifact, aupdate_progress_artifact

from flows.opening import OpenRun

KEY = "benchmark-progress"


class Progress:
    """The progress artifact of one run."""

    def __init__(self, opened: OpenRun, artifact_id: UUID) -> None:
        """Count from now on; trials that are recorded already cost no time."""
        self._opened, self._artifact_id = opened, artifact_id
        self._began, self._num_before = time.monotonic(), len(opened.folder.finished_keys())

    async def show(self) -> None:
        """Bring the artifact up to date with the records."""
        num_done, num_planned = len(self._opened.folder.finished_keys()), self._opened.run.num_planned_trials
        text = describe(num_done, num_planned, num_done - self._num_before, time.monotonic() - self._began)
        await aupdate_progress_artifact(self._artifact_id, 100.0 * num_done / num_planned, text)


async def begin_progress(opened: OpenRun) -> Progress:
    """Create the run's progress artifact."""
    progress = Progress(opened, await acreate_progress_artifact(0.0, key=KEY))
    await progress.show()
    return progress


def describe(num_done: int, num_planned: int, num_timed: int, seconds: float) -> str:
    """For example `3 of 9 trials, about 6 min left`; `num_timed` of them took `seconds`."""
    text = f"{num_done} of {num_planned} trials"
    if not num_timed or num_done == num_planned:
        return text
    return f"{text}, about {seconds / num_timed * (num_planned - num_done) / 60:.0f} min left"
