"""Automations: on the server, a flow run comes to an end although its process was lost with what would report it."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import Automation, AutomationCore, EventTrigger, Posture

from flows.names import TAG
from flows.stack import environment
from flows.stack.pools import MARK
from flows.stack.terminal import say
from tasks.domain.refusal import Refusal

WITHIN = timedelta(seconds=90)
"""Three heartbeats: our workers' runs send one every 30 s."""

_HEARTBEAT = "prefect.flow-run.heartbeat"
_PREFECTS_ENDS = ("Completed", "Failed", "TimedOut", "Crashed", "Cancelled", "Suspended")
_OUR_ENDS = ("Degraded", "Invalid", "NotMeasured", "Refused")
_ENDS = {f"prefect.flow-run.{name}" for name in (*_PREFECTS_ENDS, *_OUR_ENDS)}


def _declare(name: str, purpose: str, *, after: str, expect: set[str], to: StateType, message: str) -> AutomationCore:
    """Where nothing that is expected follows `after` in time, that run goes to the state `to`; only runs with our tag.

    The change is not forced, so that the server refuses it for a run that has ended. Both types are named although they
    are the defaults: an update leaves out what is not.
    """
    change = ChangeFlowRunState(type="change-flow-run-state", name=None, state=to, message=message, force=False)
    return AutomationCore(
        name=name,
        description=f"{purpose} {MARK}",
        enabled=True,
        trigger=EventTrigger(
            type="event",
            posture=Posture.Proactive,
            after={after},
            expect=expect,
            within=WITHIN,
            for_each={"prefect.resource.id"},
            match={"prefect.resource.id": "prefect.flow-run.*"},
            match_related={"prefect.resource.role": "tag", "prefect.resource.id": f"prefect.tag.{TAG}"},
        ),
        actions=[change],
    )


WANTED = (
    _declare(
        "stratbench: crashed when its heartbeat stops",
        "Nothing reports that a run has ended whose machine, or whose process and worker, were lost.",
        after=_HEARTBEAT,
        expect={_HEARTBEAT, *_ENDS},
        to=StateType.CRASHED,
        message=f"no heartbeat for {WITHIN.seconds} s: its process was lost",
    ),
    # Prefect lets a run that is being cancelled end as cancelled only, and its heartbeat may go on until it is killed.
    _declare(
        "stratbench: cancelled when nobody ends it",
        "A run that is being cancelled is ended by its worker, which may have been lost.",
        after="prefect.flow-run.Cancelling",
        expect=_ENDS,
        to=StateType.CANCELLED,
        message=f"still being cancelled after {WITHIN.seconds} s: its worker was lost",
    ),
)


def differing(client: SyncPrefectClient) -> Iterator[tuple[AutomationCore, Automation | None]]:
    """What is not on the server as wanted, with what is there by its name; raises Refusal for one that is not ours."""
    for wanted in WANTED:
        found = next(iter(client.read_automations_by_name(wanted.name)), None)
        if found is not None and MARK not in found.description:
            raise Refusal(
                f"The automation {wanted.name!r} exists and is not ours (its description lacks {MARK!r}), so it is "
                "left alone; rename it, or use another server"
            )
        if any(getattr(found, field, None) != getattr(wanted, field) for field in wanted.model_fields_set):
            yield wanted, found


def ensure(client: SyncPrefectClient) -> None:
    """Create what does not exist, and renew what is ours but differs; raise Refusal for what is not ours."""
    for wanted, found in differing(client):
        if found is None:
            client.create_automation(wanted)
        else:
            client.update_automation(found.id, wanted)
        say(f"{'Renewed' if found else 'Created'} the automation {wanted.name!r}")


def grant_time() -> None:
    """While our own server is away: let what it waits for come later, as if it had not been away.

    Otherwise, when it is back, it takes its own absence for the silence of runs that go on, and marks them as crashed.
    """
    database, later = environment.home() / "prefect.db", datetime.now(UTC) + 2 * WITHIN
    with suppress(sqlite3.Error), closing(sqlite3.connect(f"{database.as_uri()}?mode=rw", uri=True)) as connection:
        connection.execute('UPDATE automation_bucket SET "end" = ?', (f"{later:%Y-%m-%d %H:%M:%S.%f}",))
        connection.commit()
