"""Notifications through a real server: what a receiver of webhooks gets of a night, and what it does not get."""

import asyncio
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from queue import Empty, Queue
from typing import Any
from uuid import UUID, uuid4

import pytest
import yaml
from prefect.blocks.core import Block
from prefect.blocks.notifications import CustomWebhookNotificationBlock, SendgridEmail, SlackWebhook
from prefect.blocks.system import Secret
from prefect.blocks.webhook import Webhook
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import StateType
from prefect.events.actions import SendNotification
from prefect.server.utilities.user_templates import TemplateRenderError, render_user_template_sync
from prefect.settings import PREFECT_API_URL
from prefect.settings.context import temporary_settings
from prefect.states import Completed, Crashed, Failed, Running, Scheduled, State

from benchmarks import nights
from flows.alerts import announce
from flows.events import Links
from flows.names import NIGHTLY, TAG
from flows.stack import automations, notifications, runs
from flows.stack.deployments import FILE
from tasks.detection.nights import Tonight
from tasks.domain.refusal import Refusal
from tests.detection.example_nights import replay, slower

pytestmark = pytest.mark.stack
UI = "http://ui/v2"
COMMAND = "prefect deployment run benchmark/nightly --param night='\"2026-01-21\"'"
PATIENCE, SILENCE = 60.0, 3.0
"""Seconds for what has to come, and for what must not."""
Posts = Queue[dict[str, Any]]


@pytest.fixture(scope="module")
def receiver() -> Iterator[tuple[str, Posts]]:
    """A receiver of webhooks: its address, and the bodies that it got."""
    posts: Posts = Queue()
    with nights.receiver(posts.put) as url:
        yield url, posts


@pytest.fixture(autouse=True)
def of_this_server(bare: SyncPrefectClient, receiver: tuple[str, Posts]) -> Iterator[None]:
    """Blocks are saved on it, and nothing of the last test is left."""
    with temporary_settings({PREFECT_API_URL: str(bare.api_url).rstrip("/")}):
        yield
    for found in notifications.ours(bare):
        bare.delete_automation(found.id)
    time.sleep(0.5)
    while not receiver[1].empty():
        receiver[1].get()


@pytest.fixture
def nightly(bare: SyncPrefectClient) -> UUID:
    """A deployment as that of the nightly run."""
    flow = bare.create_flow_from_name("benchmark")
    return bare.create_deployment(flow, "nightly", tags=[TAG, NIGHTLY])


def use(monkeypatch: pytest.MonkeyPatch, bare: SyncPrefectClient, block: Block) -> None:
    """Notify through that block."""
    block.save("oncall", overwrite=True)
    monkeypatch.setenv(notifications.SETTING, f"{block.get_block_type_slug()}/oncall")
    automations.ensure(bare, UI)
    time.sleep(2)  # the server reads new automations once a second


def tell(tonight: Tonight) -> tuple[str, ...]:
    """As if nothing had been told before."""
    links = Links(run_id="7", report="reports/x/report.html", command=COMMAND, ui_url=UI)
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(announce(tonight, links, folder))


def nothing_comes(posts: Posts) -> bool:
    try:
        posts.get(timeout=SILENCE)
    except Empty:
        return True
    return False


def test_regression_reaches_a_webhook_once_and_what_stands_does_not(
    bare: SyncPrefectClient, receiver: tuple[str, Posts], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, posts = receiver
    use(monkeypatch, bare, Webhook(url=address, headers={"Content-Type": "application/json"}))
    assert tell(replay(slower(19), 20, again=[19])) == ("benchmark.suspect",)
    assert tell(replay(slower(19), 21, again=[19])) == ("benchmark.regression",)
    assert tell(replay(slower(19), 22, again=[19])) == ()
    got = posts.get(timeout=PATIENCE)
    assert got["event"] == "benchmark.regression"
    (cell,) = got["payload"]["cells"]
    assert (cell["cell"], cell["state"], cell["since"]) == ("mirrored, batch 128", "REGRESSED", "2026-01-20")
    assert cell["low"] < cell["ratio"] < cell["high"]
    said = (
        *("REGRESSED: mirrored, batch 128", f"x {cell['ratio']:.3f}", f"{cell['low']:.3f} to {cell['high']:.3f}"),
        *("first seen in the night of 2026-01-20", f"{UI}/runs/flow-run/7", "reports/x/report.html", COMMAND),
    )
    assert [words for words in said if words not in got["text"]] == []
    assert nothing_comes(posts)


def test_any_notification_block_says_the_same_in_words(
    bare: SyncPrefectClient, receiver: tuple[str, Posts], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, posts = receiver
    template = {"subject": "{{subject}}", "body": "{{body}}"}
    use(
        monkeypatch,
        bare,
        CustomWebhookNotificationBlock(name="x", url=address, json_data=template, headers=None, cookies=None),
    )
    assert notifications.receiver(bare) == "custom-webhook/oncall"
    tell(replay(slower(19), 21, again=[19]))
    got = posts.get(timeout=PATIENCE)
    assert got["subject"].startswith("stratbench, night of 2026-01-21: REGRESSED: mirrored, batch 128, x 1.1")
    assert got["body"].endswith(f"Measure again: {COMMAND}")
    assert nothing_comes(posts)


@pytest.mark.drill
def test_nightly_run_that_ended_badly_is_told_once_and_one_that_spoke_itself_is_not(
    bare: SyncPrefectClient, receiver: tuple[str, Posts], monkeypatch: pytest.MonkeyPatch, nightly: UUID
) -> None:
    address, posts = receiver
    monkeypatch.setattr(notifications, "OVERDUE", timedelta(seconds=10))
    use(monkeypatch, bare, Webhook(url=address))
    theirs = bare.create_deployment(bare.create_flow_from_name("benchmark"), "theirs", tags=[TAG])
    ends: tuple[tuple[UUID, State[None]], ...] = (
        (nightly, Failed(name="Failed", message="0 of 9 trials valid; report: reports/x")),
        (nightly, Failed(name="Invalid", message="8 of 9 trials valid; report: reports/x")),
        (nightly, Completed(name="Regressed", message="9 of 9 trials valid; report: reports/x")),
        (theirs, Crashed(message="lost")),
        (nightly, Crashed(message='no heartbeat: "its" process was lost')),
        (nightly, Crashed(message="another one")),
        (nightly, Failed(message="Flow run encountered an exception: OSError: /reports is full")),
    )
    created = []
    for deployment, end in ends:
        run = bare.create_flow_run_from_deployment(deployment).id
        created.append(run)
        bare.set_flow_run_state(run, Running())
        time.sleep(0.5)  # the server was seen to lose events of a burst
        bare.set_flow_run_state(run, end)
    found = [posts.get(timeout=PATIENCE) for _ in range(2)]
    assert sorted(each["event"] for each in found) == ["prefect.flow-run.Crashed", "prefect.flow-run.Failed"]
    (crashed,) = (each for each in found if each["event"].endswith("Crashed"))
    assert crashed["subject"].endswith(" is Crashed")
    assert 'no heartbeat: "its" process was lost' in crashed["text"]
    assert f"{UI}/runs/flow-run/{created[4]}" in crashed["text"]
    time.sleep(10)
    assert nothing_comes(posts)
    bare.set_flow_run_state(bare.create_flow_run_from_deployment(theirs).id, Running())
    hangs = bare.create_flow_run_from_deployment(nightly)
    bare.set_flow_run_state(hangs.id, Running())
    got = posts.get(timeout=PATIENCE)
    assert got["subject"] == f"stratbench: {hangs.name} has not ended after 0:00:10"
    assert f"{UI}/runs/flow-run/{hangs.id}" in got["text"]
    assert nothing_comes(posts)


def test_nights_that_were_missed_are_told_once_and_not_caught_up(
    bare: SyncPrefectClient, receiver: tuple[str, Posts], monkeypatch: pytest.MonkeyPatch, nightly: UUID
) -> None:
    """As after three days in which nothing ran; that the server finds them late is told once, too."""
    address, posts = receiver
    use(monkeypatch, bare, Webhook(url=address))
    now = datetime.now(UTC)
    for days in (3, 2, 1):
        start: State[None] = Scheduled(scheduled_time=now - timedelta(days=days))
        bare.create_flow_run_from_deployment(nightly, state=start, tags=["auto-scheduled"])
    assert posts.get(timeout=PATIENCE)["event"] == "prefect.flow-run.Late"
    late = runs.cancel_late(bare, [nightly])
    assert [run.state_type for run in late] == [StateType.SCHEDULED] * 3
    assert runs.cancel_late(bare, [nightly]) == []
    runs.announce_missed(bare, late, UI)
    got = posts.get(timeout=PATIENCE)
    nights = [f"{now - timedelta(days=days):%Y-%m-%d}" for days in (3, 2, 1)]
    assert got["event"] == "benchmark.incomplete"
    assert got["payload"]["subject"] == f"stratbench, night of {nights[-1]}: not measured, nor are 2 before it"
    assert f"the nights of {', '.join(nights)}; not started within an hour" in got["text"]
    assert nothing_comes(posts)


def test_mail_is_html() -> None:
    action = notifications._action("sendgrid-email", uuid4(), "s", "{{ event.payload.message }}\nRun: x")
    assert isinstance(action, SendNotification)
    found = render_user_template_sync(action.body, {"event": {"payload": {"message": "x < 1\n  y"}}})
    assert found == "x &lt; 1<br>  y<br>Run: x"


def test_block_that_cannot_serve_is_refused_and_without_a_setting_nobody_is_notified(
    bare: SyncPrefectClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    for given in ("slack-webhook/nobody", "slack-webhook", "no-such-type/oncall"):
        monkeypatch.setenv(notifications.SETTING, given)
        with pytest.raises(Refusal, match=f"STRATBENCH_NOTIFY={given} names no block .* create the block"):
            automations.ensure(bare, UI)
    Secret(value="x").save("oncall", overwrite=True)
    monkeypatch.setenv(notifications.SETTING, "secret/oncall")
    with pytest.raises(Refusal, match="cannot notify"):
        automations.ensure(bare, UI)
    assert notifications.receiver(bare) is None
    for block in (
        SlackWebhook(url="https://hooks.slack.com/services/T/B/x"),
        SendgridEmail(api_key="x", sender_email="a@example.com", to_emails=["b@example.com"]),
    ):
        use(monkeypatch, bare, block)
        assert list(automations.differing(bare, UI)) == []
        assert len(list(notifications.ours(bare))) == 3
    assert notifications.receiver(bare) == "sendgrid-email/oncall"
    monkeypatch.delenv(notifications.SETTING)
    assert len(automations.superfluous(bare)) == 3
    automations.ensure(bare, UI)
    assert notifications.receiver(bare) is None
    assert {each.name for each in bare.read_automations()} == {each.name for each in automations.WANTED}


def test_run_that_has_ended_is_not_overdue() -> None:
    going_on, ended = ({"flow_run": {"end_time": time}} for time in (None, "2026-01-21"))
    assert render_user_template_sync(notifications._UNLESS_ENDED, going_on) == ""
    with pytest.raises(TemplateRenderError):
        render_user_template_sync(notifications._UNLESS_ENDED, ended)


def test_a_run_is_overdue_after_twice_its_budget() -> None:
    (nightly,) = (each for each in yaml.safe_load(FILE.read_text())["deployments"] if NIGHTLY in each["tags"])
    assert nightly["name"] == "nightly"
    assert timedelta(minutes=2 * nightly["parameters"]["budget_minutes"]) == notifications.OVERDUE
