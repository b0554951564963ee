"""Patience: what a benchmark asks others for may be out of reach for a while, and is asked for again."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import httpx
from prefect.exceptions import PrefectHTTPStatusError

Log = logging.Logger | logging.LoggerAdapter[logging.Logger]
Answer = TypeVar("Answer")

OUTAGES = (httpx.TransportError, PrefectHTTPStatusError)
"""How Prefect's API fails for a while."""
PATIENCE_SECONDS = 600.0
"""How long the API may be out of reach before waiting is given up."""
PAUSE_SECONDS = 5.0


async def patiently(
    ask: Callable[[], Awaitable[Answer]], logger: Log, outages: tuple[type[Exception], ...] = OUTAGES
) -> Answer:
    """The answer, asked for again until there is one; an outage that lasts PATIENCE_SECONDS is raised.

    So is an error that is an answer, such as that somebody has no access.

    `ask` must bear being repeated from any point at which it failed.
    """
    began = time.monotonic()
    while True:
        try:
            return await ask()
        except outages as error:
            is_answer = isinstance(error, PrefectHTTPStatusError) and error.response.status_code < 500
            if is_answer or time.monotonic() - began > PATIENCE_SECONDS:
                raise
            what = "Prefect's API does not answer" if isinstance(error, OUTAGES) else str(error)
            logger.warning(f"{what} ({type(error).__name__}); waiting on")
        await asyncio.sleep(PAUSE_SECONDS)
