"""Blocks over the crews of a run."""

import asyncio
from pathlib import Path
from uuid import uuid4

import pytest
from prefect.logging import disable_run_logger

from flows.blocks import Review, review
from flows.crews import Crew
from flows.spreading import Progress, _Spread, describe
from tasks.domain.device import Devices
from tests.analysis.example_runs import ENVIRONMENT
from tests.flows.test_blocks import open_example
from tests.reporting.reports import pair

CREW = Crew(pool=None, environment=ENVIRONMENT, devices=Devices(cores=(0, 1)))


def test_end_that_was_seen_is_taken_back_when_a_crew_gets_trials_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For example those of a block whose machine was lost after another crew had seen the end."""
    over, goes_on = open_example(tmp_path / "over", pair(1), 1), open_example(tmp_path / "on", pair(2), 1)
    reviews = [review(over), review(goes_on, machine=ENVIRONMENT)]
    assert [state.has_ended for state in reviews] == [True, False]
    spread = _Spread(over, [CREW], tmp_path, Progress(over, uuid4()))

    async def show(self: Progress) -> None: ...

    async def look(crew: Crew) -> Review:
        return reviews.pop(0)

    monkeypatch.setattr(Progress, "show", show)
    monkeypatch.setattr(spread, "look", look)

    async def run() -> None:
        with disable_run_logger():
            assert not await spread._next(CREW)
            assert spread.end is not None
            assert await spread._next(CREW)

    asyncio.run(run())
    assert spread.end is None


def test_time_left_counts_only_what_was_timed() -> None:
    assert describe(3, 9, 3, 180.0) == "3 of at least 9 trials, about 6 min left"
    assert describe(6, 9, 3, 180.0) == "6 of at least 9 trials, about 3 min left"
    assert describe(6, 9, 0, 5.0) == "6 of at least 9 trials"
    assert describe(9, 9, 9, 540.0) == "9 of at least 9 trials"
