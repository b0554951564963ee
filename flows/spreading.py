"""Spreading: block after block over the crews of a run, each block wholly on one of them."""

import asyncio
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from uuid import UUID

from prefect import get_run_logger

from flows.blocks import Review, review
from flows.crews import Attendance, Crew
from flows.fan_out import run_trials
from flows.opening import OpenRun
from flows.patience import patiently
from flows.progress import Progress, begin_progress
from tasks.domain.trial import Trial
from tasks.reporting.task import write_run_report


async def measure(opened: OpenRun, crews: Sequence[Crew], report: Path) -> Review:
    """Run blocks until the planner says that it is enough; the report is renewed after each of them.

    A crew of which a machine is lost begins no other block. Raises Refusal, once the other crews have come to their
    end, for a block that a crew cannot go on with.
    """
    spread = _Spread(opened, crews, report, await begin_progress(opened))
    results = await asyncio.gather(*map(spread.serve, crews), return_exceptions=True)
    for error in results:
        if isinstance(error, BaseException):
            raise error
    return spread.end or await spread.look(crews[0])


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
                await run_trials(trials, self._opened, crew, self._progress)
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
