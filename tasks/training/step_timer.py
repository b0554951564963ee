"""The training clock: seconds of windows of consecutive steps."""

import time
from collections.abc import Callable

from tasks.domain.outcome import StepWindow


class StepTimer:
    """Times windows that follow each other without gaps, so that an epoch is the sum of its windows.

    Read the clock only after a value of the window's last step has been read back from the device: until then the
    steps may still be running.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self.windows: list[StepWindow] = []
        self._clock = clock
        self._epoch = 0
        self._epoch_began = self._since = 0.0

    def begin_epoch(self, epoch: int) -> None:
        """Start the clock of epoch `epoch` (from 1)."""
        self._epoch = epoch
        self._epoch_began = self._since = self._clock()

    def record(self, *, first_step: int, num_steps: int, num_examples: int) -> None:
        """End a window whose last value has been read back."""
        now = self._clock()
        self.windows.append(
            StepWindow(
                epoch=self._epoch,
                first_step=first_step,
                num_steps=num_steps,
                num_examples=num_examples,
                seconds=now - self._since,
            )
        )
        self._since = now

    @property
    def window_seconds(self) -> float:
        """Seconds since the last window ended."""
        return self._clock() - self._since

    @property
    def epoch_seconds(self) -> float:
        """Seconds from the epoch's begin to the end of its latest window."""
        return self._since - self._epoch_began
