"""The clocks of a training process: where its wall time goes by phase, and how long windows of steps take."""

import time
from collections.abc import Callable

from tasks.domain.outcome import Phase, StepWindow


class PhaseLedger:
    """Adds up seconds by phase; what passes between `leave` and the next `enter` belongs to none."""

    def __init__(
        self,
        started_at: float,
        clock: Callable[[], float] = time.monotonic,
        on_phase: Callable[[Phase], object] = lambda phase: None,
    ) -> None:
        """Begin in `Phase.PROCESS_START`, which lasts since `started_at` on `clock`."""
        self.seconds: dict[str, float] = {}
        self._clock = clock
        self._on_phase = on_phase
        self._phase: Phase | None = Phase.PROCESS_START
        self._since = started_at

    def enter(self, phase: Phase) -> float:
        """End the present phase and begin `phase`; returns the clock's reading."""
        now = self.leave()
        self._phase = phase
        self._on_phase(phase)
        return now

    def leave(self) -> float:
        """End the present phase; returns the clock's reading."""
        now = self._clock()
        if self._phase:
            self.seconds[self._phase] = self.seconds.get(self._phase, 0.0) + now - self._since
        self._phase, self._since = None, now
        return now


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
