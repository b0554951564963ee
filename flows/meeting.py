"""The meeting of a gang: the machines of one trial tell each other their addresses by Prefect's variables."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import VariableCreate
from prefect.exceptions import ObjectNotFound

POLL_SECONDS = 1.0
SECONDS = 120.0
"""Patience until all have come: a machine's engine starts within 15 s."""


class MissedError(Exception):
    """Not every machine came."""


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

    @contextmanager
    def attended(
        self, place: int, addresses: tuple[str, ...], is_over: Callable[[], bool] = lambda: False
    ) -> Iterator[tuple[str, ...]]:
        """The addresses of all ranks, machine 0's first, once every machine has told its own; `addresses` are ours.

        They are taken back at the end. Raises MissedError where a machine has not come in time, or once `is_over` says
        that it will not.
        """
        with get_client(sync_client=True) as client:
            client.create_variable(VariableCreate(name=self.name(place), value=list(addresses)))
            try:
                yield self._wait(client, is_over)
            finally:
                self.forget(client, place)

    def forget(self, client: SyncPrefectClient, *places: int) -> None:
        """Take back what those machines have told, if anything is there."""
        for place in places:
            with suppress(ObjectNotFound):
                client.delete_variable_by_name(self.name(place))

    def _wait(self, client: SyncPrefectClient, is_over: Callable[[], bool]) -> tuple[str, ...]:
        deadline = time.monotonic() + SECONDS
        while True:
            found = [client.read_variable_by_name(self.name(place)) for place in range(self.num_places)]
            told = [variable.value for variable in found if variable is not None]
            if len(told) == self.num_places:
                return tuple(str(address) for addresses in told for address in addresses)  # type: ignore[union-attr]
            if is_over() or time.monotonic() > deadline:
                raise MissedError(f"{len(told)} of {self.num_places} machines came to the meeting")
            time.sleep(POLL_SECONDS)
