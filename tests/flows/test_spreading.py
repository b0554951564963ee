"""Blocks over the crews of a run."""

import asyncio
from pathlib import Path

import pytest
from prefect.logging import disable_run_logger

from flows.blocks import Review, review
from flows.crews import Crew
from flows.progress import Progress
from flows.spreading import _Spread
from tasks.domain.device import Devices
from tests.analysis.example_runs import ENVIRONMENT
from tests.flows.test_blocks import open_example
from tests.reporting.reports import pair

CREW = Crew(pool=None, environment=ENVIRONMENT, devices=Devices(cores=(0, 1)))


class NoProgress(Progress):
    """Shows nothing."""

    def __init__(self) -> None:
        pass

    async def begin_block(self, state: Review) -> None:
        pass


def test_end_that_was_seen_is_taken_back_when_a_crew_gets_trials_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For example those of a block whose machine was lost after another crew had seen the end."""
    over, goes_on = open_example(tmp_path / "over", pair(1), 1), open_example(tmp_path / "on", pair(2), 1)
    reviews = [review(over), review(goes_on, machine=ENVIRONMENT)]
    assert [state.has_ended for state in reviews] == [True, False]
    spread = _Spread(over, [CREW], tmp_path, NoProgress())

    async def look(crew: Crew) -> Review:
        return reviews.pop(0)

    monkeypatch.setattr(spread, "look", look)

    async def run() -> None:
        with disable_run_logger():
            assert not await spread._next(CREW)
            assert spread.end is not None
            assert await spread._next(CREW)

    asyncio.run(run())
    assert spread.end is None
