"""Signals that end a command."""

import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import FrameType

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def interruptible() -> AbstractContextManager[None]:
    """SIGINT, SIGTERM and SIGHUP raise KeyboardInterrupt in the block.

    A process that is started in the block has default signal handling, also where this one inherited an ignored
    SIGINT from a script's `&`: a Prefect worker with an ignored SIGINT never ends on SIGTERM.
    """
    return _handled_by(_interrupt)


def uninterrupted() -> AbstractContextManager[None]:
    """The same signals have no effect in the block: a second Ctrl-C does not stop the stopping."""
    return _handled_by(_ignore)


def _interrupt(number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt(signal.Signals(number).name)


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """In place of SIG_IGN, which a process that is started meanwhile would inherit."""


@contextmanager
def _handled_by(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in _ENDING}
    for number, previous in before.items():
        if (number, previous) != (signal.SIGHUP, signal.SIG_IGN):  # started under nohup
            signal.signal(number, handler)
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
