"""The phase ledger: where a process spends its wall time."""

import time
from collections.abc import Callable

from tasks.domain.outcome import Phase


class PhaseLedger:
    """Adds up seconds by phase; what passes between `leave` and the next `enter` belongs to none."""

    def __init__(
        self,
        started_at: float,
        clock: Callable[[], float] = time.monotonic,
        on_phase: Callable[[Phase], None] = lambda phase: None,
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
