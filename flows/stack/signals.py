"""Signals that end a command."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_Handler = Callable[[int, FrameType | None], object]
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _interrupt(number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt(signal.Signals(number).name)


def _ignore(_number: int, _frame: FrameType | None) -> None:
    return None


@contextmanager
def interruptible() -> Iterator[None]:
    """SIGINT, SIGTERM and SIGHUP raise KeyboardInterrupt in the block.

    A process that is started in the block has default signal handling, also where this one inherited an ignored
    SIGINT from a script's `&`: a Prefect worker with an ignored SIGINT never ends on SIGTERM.
    """
    with _handled_by(_interrupt):
        yield


@contextmanager
def uninterrupted() -> Iterator[None]:
    """The same signals have no effect in the block: a second Ctrl-C does not stop the stopping."""
    with _handled_by(_ignore):
        yield


@contextmanager
def _handled_by(handler: _Handler) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _ENDING}
    for number in _ENDING:
        if not (number == signal.SIGHUP and before[number] == signal.SIG_IGN):  # started under nohup
            signal.signal(number, handler)
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, signal.SIG_DFL if previous is None else previous)
