"""Notifications: automations that pass on, through a block of the user's, what a nightly run says or leaves unsaid."""

import os
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from prefect.client.orchestration import SyncPrefectClient
from prefect.events.actions import CallWebhook, SendNotification
from prefect.events.schemas.automations import Automation, AutomationCore, EventTrigger
from prefect.exceptions import ObjectNotFound

from flows.events import NOTIFIED, RESOURCE
from flows.names import NIGHTLY, TAG
from flows.stack.pools import MARK
from tasks.domain.refusal import Refusal

SETTING = "STRATBENCH_NOTIFY"
"""Names the block: `<block type>/<block name>`."""
DOCS = "docs/prefect.md, Alerts"
NOBODY = f"nobody is notified of what a night says; {SETTING} names who is ({DOCS})"
OVERDUE = timedelta(hours=4)
"""Twice the budget of benchmark/nightly: a run that has been going on for longer hangs, or waits for another one."""
QUIET = timedelta(hours=1)
"""For so long at least, no other nightly run that ends in the same state is told: many at once help nobody."""
JUDGED = "*; report: *"
"""Message of a run that came to its own end, and has sent its own events."""
BAD = frozenset(f"prefect.flow-run.{state}" for state in ("Late", "Crashed", "Failed", "TimedOut", "Refused"))

_STATE_NAME = "prefect.state-name"
_NAME = "stratbench: notify of "
_RUN = '{{ event.resource["prefect.resource.name"] }}'
_STATE = '{{ event.resource["prefect.state-name"] }}'
_MESSAGE = '{{ event.resource["prefect.state-message"] }}'
_UNLESS_ENDED = "{% if flow_run.end_time %}{{ 1 // 0 }}{% endif %}"
"""Fails the action, for it knows no condition: of runs that ended at once, the server was seen to miss the end."""
_PAGE = '/runs/flow-run/{{ event.resource["prefect.resource.id"].split(".")[2] }}'


def setting() -> str:
    """The block that is to notify, as the environment names it; empty: nobody is notified."""
    return os.environ.get(SETTING, "").strip()


def wanted(client: SyncPrefectClient, ends: set[str], ui_url: str) -> tuple[AutomationCore, ...]:
    """What has to be there, by the setting; nothing without it. Raises Refusal where the setting cannot serve.

    `ends` are the events with which a run ends.
    """
    if not (given := setting()):
        return ()
    slug, block_id = _find(client, given)
    run = {"prefect.resource.id": "prefect.flow-run.*"}
    unannounced = run | {"prefect.state-message": f"!{JUDGED}"}

    def declare(what: str, trigger: dict[str, Any], tags: tuple[str, ...], subject: str, body: str) -> AutomationCore:
        related = [{"prefect.resource.role": "tag", "prefect.resource.id": f"prefect.tag.{tag}"} for tag in tags]
        return AutomationCore(
            name=f"{_NAME}{what}",
            description=f"Through the block {given}. {MARK}",
            enabled=True,
            trigger=EventTrigger.model_validate({"type": "event", "match_related": related, **trigger}),
            actions=[_action(slug, block_id, subject, body)],
        )

    return (
        declare(
            "what changed in a night",
            {"posture": "Reactive", "expect": set(NOTIFIED), "match": {"prefect.resource.id": f"{RESOURCE}.*"}},
            (TAG,),
            "{{ event.payload.subject }}",
            "{{ event.payload.message }}",
        ),
        declare(
            "a nightly run that is late or ended badly",
            {"posture": "Reactive", "expect": BAD, "match": unannounced, "for_each": {_STATE_NAME}, "within": QUIET},
            (TAG, NIGHTLY),
            f"stratbench: {_RUN} is {_STATE}",
            f"{_MESSAGE}\nThis night tells nothing else; `stratbench doctor` says what is wrong.\nRun: {ui_url}{_PAGE}",
        ),
        declare(
            "a nightly run that does not end",
            {"posture": "Proactive", "after": {"prefect.flow-run.Running"}, "expect": ends, "match": run}
            | {"for_each": {"prefect.resource.id"}, "within": OVERDUE},
            (TAG, NIGHTLY),
            f"stratbench: {_RUN} has not ended after {OVERDUE}",
            f"{_UNLESS_ENDED}It hangs, or still waits for another benchmark; `stratbench status` and `stratbench "
            f"doctor` say more.\nRun: {ui_url}{_PAGE}",
        ),
    )


def receiver(client: SyncPrefectClient) -> str | None:
    """The block through which the automations on the server notify, as the setting names it; None without any."""
    for found in ours(client):
        action: Any = found.actions[0]
        try:
            block = client.read_block_document(action.block_document_id, include_secrets=False)
        except ObjectNotFound:
            return "a block that is gone"
        return f"{block.block_type.slug if block.block_type else '?'}/{block.name}"
    return None


def ours(client: SyncPrefectClient) -> Iterator[Automation]:
    """The automations on the server that notify, and that we created."""
    for found in client.read_automations():
        if found.name.startswith(_NAME) and MARK in found.description:
            yield found


def _find(client: SyncPrefectClient, given: str) -> tuple[str, Any]:
    """Type and id of the block; raises Refusal where there is none, or none that can notify."""
    slug, _, name = given.partition("/")
    try:
        block = client.read_block_document_by_name(name, slug, include_secrets=False) if slug and name else None
    except ObjectNotFound:
        block = None
    if block is None:
        raise Refusal(
            f"{SETTING}={given} names no block of this server as <block type>/<block name>; bring the stack up without "
            f"it, create the block ({DOCS}), and then set it"
        )
    if slug != "webhook" and "notify" not in (block.block_schema.capabilities if block.block_schema else ()):
        raise Refusal(
            f"{SETTING}={given} names a block that cannot notify; name a webhook, or a type that can ({DOCS})"
        )
    return slug, block.id


def _action(slug: str, block_id: Any, subject: str, body: str) -> SendNotification | CallWebhook:
    if slug == "webhook":
        payload = (  # `text` is what chats show of it
            f"{{% set subject %}}{subject}{{% endset %}}{{% set body %}}{body}{{% endset %}}"
            '{"event": {{ event.event | tojson }}, "subject": {{ subject | string | tojson }}, '
            '"text": {{ (subject ~ "\\n" ~ body) | tojson }}, "payload": {{ event.payload | tojson }}}'
        )
        return CallWebhook(type="call-webhook", block_document_id=block_id, payload=payload)
    if slug == "sendgrid-email":  # sent as HTML
        body = f'{{% filter escape | replace("\n", "<br>") %}}{body}{{% endfilter %}}'
    return SendNotification(type="send-notification", block_document_id=block_id, subject=subject, body=body)
