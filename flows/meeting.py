"""The meeting of a gang: the machines of one trial tell each other their addresses by Prefect's variables."""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import VariableCreate
from prefect.exceptions import ObjectNotFound

from flows.patience import OUTAGES

POLL_SECONDS = 1.0
SECONDS = 300.0
"""Patience until all have come: an engine starts within 15 s, and a machine may have to fetch the data before."""


class MissedError(Exception):
    """Some machines, those of `places`, did not come: in time (`is_late`), or before the trial was over."""

    def __init__(self, places: Sequence[int], *, is_late: bool) -> None:
        super().__init__(places)
        self.places = places
        self.is_late = is_late


@dataclass(frozen=True, kw_only=True, slots=True)
class Meeting:
    """One attempt at a trial on `num_places` machines; another attempt is another meeting."""

    chief: UUID
    """The trial's flow run."""
    run_count: int
    """How often that flow run was started."""
    attempt: int
    """Which of the attempts since then, from 1."""
    num_places: int

    def name(self, place: int) -> str:
        """Of the variable by which machine `place` (from 0) tells its address."""
        return f"stratbench_gang_{self.chief.hex}_{self.run_count}_{self.attempt}_{place}"

    def attend(
        self,
        client: SyncPrefectClient,
        place: int,
        addresses: tuple[str, ...],
        is_over: Callable[[], bool] = lambda: False,
    ) -> tuple[str, ...]:
        """The addresses of all ranks, machine 0's first, once every machine has told its own; `addresses` are ours.

        They stand until they are taken back by `forget`. Raises MissedError where a machine has not come in time, or
        once `is_over` says that it will not.
        """
        client.create_variable(VariableCreate(name=self.name(place), value=list(addresses)))
        deadline = time.monotonic() + SECONDS
        missing = list(range(self.num_places))
        while True:
            with suppress(*OUTAGES):
                found = [client.read_variable_by_name(self.name(place)) for place in range(self.num_places)]
                missing = [place for place, variable in enumerate(found) if variable is None]
                if not missing:
                    told = [variable.value for variable in found if variable is not None]
                    return tuple(str(address) for each in told for address in each)  # type: ignore[union-attr]
            if is_over() or time.monotonic() > deadline:
                raise MissedError(missing, is_late=not is_over())
            time.sleep(POLL_SECONDS)

    def stands(self, client: SyncPrefectClient, place: int) -> bool:
        """Whether what that machine has told is still there: the chief takes everything back at the end."""
        return client.read_variable_by_name(self.name(place)) is not None

    def forget(self, client: SyncPrefectClient, *places: int) -> None:
        """Take back what those machines have told, if anything is there."""
        for place in places:
            with suppress(ObjectNotFound):
                client.delete_variable_by_name(self.name(place))
