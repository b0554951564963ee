"""Global concurrency limits that the flows hold with a lease."""

import platform
from collections.abc import Callable

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound

from flows.names import SWEEP_LIMIT, machine_limit
from flows.stack.error import StackError


def ensure(client: SyncPrefectClient, say: Callable[[str], None]) -> None:
    """Create the limits that do not exist; raise StackError for one that does not admit exactly one holder."""
    for name in (SWEEP_LIMIT, machine_limit(platform.node())):
        try:
            found = client.read_global_concurrency_limit_by_name(name)
        except ObjectNotFound:
            _create(client, name, say)
            continue
        if (found.limit, found.active) != (1, True):
            raise StackError(
                f"The global concurrency limit {name!r} has limit={found.limit}, active={found.active}, "
                f"stratbench needs limit=1, active=True; change it: `prefect gcl update {name} --limit 1 --enable`"
            )


def _create(client: SyncPrefectClient, name: str, say: Callable[[str], None]) -> None:
    try:
        client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=name, limit=1))
    except ObjectAlreadyExists:  # somebody else was quicker
        return
    say(f"Created the concurrency limit {name!r}")
