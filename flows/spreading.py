"""Spreading: block after block over the crews of a run, each block wholly on one of them."""

import asyncio
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from uuid import UUID

from prefect import get_run_logger
from prefect.artifacts import acreate_progress_artifact, aupdate_progress_artifact

from flows.blocks import Review, review
from flows.crews import Attendance, Crew
from flows.fan_out import run_trials
from flows.opening import OpenRun
from flows.patience import patiently
from tasks.domain.trial import Trial
from tasks.reporting.task import write_run_report

PROGRESS = "benchmark-progress"
"""Key of the artifact."""


async def measure(opened: OpenRun, crews: Sequence[Crew], report: Path) -> Review:
    """Run blocks until the planner says that it is enough; the report is renewed after each of them.

    A crew of which a machine is lost begins no other block. Raises Refusal, once the other crews have come to their
    end, for a block that a crew cannot go on with.
    """
    spread = _Spread(opened, crews, report, Progress(opened, await acreate_progress_artifact(0.0, key=PROGRESS)))
    results = await asyncio.gather(*map(spread.serve, crews), return_exceptions=True)
    for error in results:
        if isinstance(error, BaseException):
            raise error
    return spread.end or await spread.look(crews[0])


class Progress:
    """The run's artifact in Prefect's UI: trials done of trials planned, and the time left."""

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


def describe(num_done: int, num_planned: int, num_timed: int, seconds: float) -> str:
    """For example `3 of 9 trials, about 6 min left`; `num_timed` of them took `seconds`."""
    text = f"{num_done} of at least {num_planned} trials"
    if not num_timed or num_done >= num_planned:
        return text
    return f"{text}, about {seconds / num_timed * (num_planned - num_done) / 60:.0f} min left"


class _Spread:
    """What the crews of one run share."""

    def __init__(self, opened: OpenRun, crews: Sequence[Crew], report: Path, progress: Progress) -> None:
        self._opened, self._crews, self._report, self._progress = opened, crews, report, progress
        self.end: Review | None = None
        """The last look, once nothing was going on and nothing was left to run."""
        self._taken: set[str] = set()
        self._artifact: UUID | None = None
        self._one_at_a_time = asyncio.Lock()
        self._has_begun = asyncio.Event()

    async def serve(self, crew: Crew) -> None:
        """Let the crew train block after block; the first one begins, the others follow once the pace is known."""
        if crew is not self._crews[0]:
            await self._has_begun.wait()
        attendance, logger = Attendance(crew), get_run_logger()
        try:
            while await attendance.are_all_there(logger) and (trials := await self._next(crew)):
                if len(trials) > 1:
                    self._has_begun.set()
                await run_trials(trials, self._opened, crew, self._progress.show)
                self._taken.difference_update(trial.key for trial in trials)
        finally:
            self._has_begun.set()

    async def _next(self, crew: Crew) -> Sequence[Trial]:
        """What the crew runs now, which no other crew will run; nothing where the run has come to its end."""
        async with self._one_at_a_time:
            state = await self.look(crew)
            if state.has_ended:
                self.end = None if self._taken else state
            else:
                self.end = None
                self._taken.update(trial.key for trial in state.trials)
                await patiently(partial(self._progress.begin_block, state), get_run_logger())
            return state.trials

    async def look(self, crew: Crew) -> Review:
        """Renew the report, and see what is next for that crew."""
        others = [other.environment.hostname for other in self._crews if other is not crew]
        state = await asyncio.to_thread(
            review, self._opened, machine=crew.environment, taken=frozenset(self._taken), elsewhere=others
        )
        if state.analysis.coverage.num_recorded:
            self._artifact = await write_run_report(state.analysis, state.tables, str(self._report), self._artifact)
        get_run_logger().info(f"{' and '.join(crew.hosts)}: {state.message}" if others else state.message)
        return state
