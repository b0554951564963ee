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
from flows.stack import notifications, server
from flows.stack.pools import MARK
from flows.stack.terminal import say
from tasks.domain.refusal import Refusal

WITHIN = timedelta(seconds=90)
"""Three heartbeats: our workers' runs send one every 30 s."""

_HEARTBEAT = "prefect.flow-run.heartbeat"
_NIGHTLY_ENDS = ("Regressed", "Improved", "Suspect", "Inconclusive", "NoBaseline")
_PREFECTS_ENDS = ("Completed", "Failed", "TimedOut", "Crashed", "Cancelled", "Suspended")
_OUR_ENDS = ("Degraded", "Invalid", "NotMeasured", "Refused", *_NIGHTLY_ENDS)
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


def differing(client: SyncPrefectClient, ui_url: str) -> Iterator[tuple[AutomationCore, Automation | None]]:
    """What is not on the server as wanted, with what is there by its name; raises Refusal for one that is not ours."""
    for wanted in (*WANTED, *notifications.wanted(client, _ENDS, ui_url)):
        found = next(iter(client.read_automations_by_name(wanted.name)), None)
        if found is not None and MARK not in found.description:
            raise Refusal(
                f"The automation {wanted.name!r} exists and is not ours (its description lacks {MARK!r}), so it is "
                "left alone; rename it, or use another server"
            )
        if any(getattr(found, field, None) != getattr(wanted, field) for field in wanted.model_fields_set):
            yield wanted, found


def superfluous(client: SyncPrefectClient) -> list[Automation]:
    """What is ours on the server and is not wanted any more: nobody is to be notified."""
    return [] if notifications.setting() else list(notifications.ours(client))


def ensure(client: SyncPrefectClient, ui_url: str) -> None:
    """Create what does not exist, renew what is ours but differs, delete what is not wanted any more.

    Raises Refusal for what is not ours, and for a setting that cannot serve. `ui_url` is where the server's pages are.
    """
    for wanted, found in differing(client, ui_url):
        if found is None:
            client.create_automation(wanted)
        else:
            client.update_automation(found.id, wanted)
        say(f"{'Renewed' if found else 'Created'} the automation {wanted.name!r}")
    for found in superfluous(client):
        client.delete_automation(found.id)
        say(f"Deleted the automation {found.name!r}: {notifications.SETTING} is not set")


def grant_time() -> None:
    """While our own server is away: let what it waits for come later, as if it had not been away.

    Otherwise, when it is back, it takes its own absence for the silence of runs that go on, and marks them as crashed.
    What it waits for longer stays as it is.
    """
    database, later = server.home() / "prefect.db", datetime.now(UTC) + 2 * WITHIN
    with suppress(sqlite3.Error), closing(sqlite3.connect(f"{database.as_uri()}?mode=rw", uri=True)) as connection:
        text = f"{later:%Y-%m-%d %H:%M:%S.%f}"
        connection.execute('UPDATE automation_bucket SET "end" = ?1 WHERE "end" < ?1', (text,))
        connection.commit()
