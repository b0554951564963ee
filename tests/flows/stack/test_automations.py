"""The automations on a real server, and what they do to runs whose processes are really lost."""

import sqlite3
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import StateType
from prefect.events.schemas.automations import AutomationCore
from prefect.server.events.schemas.automations import EventTrigger
from prefect.server.events.schemas.events import ReceivedEvent
from prefect.states import Cancelling, Completed

from flows.stack import automations, processes, server
from flows.stack.local import up
from tasks.domain.refusal import Refusal
from tests.flows.stack.conftest import PORTS, standing, wait_until

pytestmark = pytest.mark.stack
UI = "http://ui/v2"
CRASHED, CANCELLED = automations.WANTED
FLOW_RUN = "PREFECT__FLOW_RUN_ID"


def test_each_is_created_once_and_renewed_where_it_differs(bare: SyncPrefectClient) -> None:
    automations.ensure(bare, UI)
    before = bare.read_automations()
    assert {each.name for each in before} == {CRASHED.name, CANCELLED.name}
    assert list(automations.differing(bare, UI)) == []
    automations.ensure(bare, UI)
    assert bare.read_automations() == before
    bare.pause_automation(before[0].id)
    assert [found and found.id for _, found in automations.differing(bare, UI)] == [before[0].id]
    automations.ensure(bare, UI)
    assert list(automations.differing(bare, UI)) == []
    assert {each.id for each in bare.read_automations()} == {each.id for each in before}


def test_one_of_that_name_that_is_not_ours_is_refused_and_left_alone(bare: SyncPrefectClient) -> None:
    for each in bare.read_automations_by_name(CRASHED.name):
        bare.delete_automation(each.id)
    theirs = bare.create_automation(AutomationCore(**{**CRASHED.model_dump(), "description": "ours", "id": uuid4()}))
    before = bare.read_automation(theirs)
    with pytest.raises(Refusal, match="'stratbench: crashed .* exists and is not ours .*rename it"):
        automations.ensure(bare, UI)
    assert bare.read_automation(theirs) == before
    bare.delete_automation(theirs)


@pytest.mark.parametrize("tags", [[], ["theirs"], ["stratbench-not"]])
def test_only_runs_with_our_tag_are_covered(bare: SyncPrefectClient, tags: list[str]) -> None:
    automations.ensure(bare, UI)
    for wanted in automations.WANTED:
        (found,) = bare.read_automations_by_name(wanted.name)
        trigger = EventTrigger.model_validate(found.trigger.model_dump())
        (after,) = trigger.after
        assert trigger.covers(event(after, [*tags, "stratbench"]))
        assert not trigger.covers(event(after, tags))
        assert not trigger.covers(event(after, ["stratbench"], kind="task-run"))
        assert trigger.expects("prefect.flow-run.Degraded")
        assert not trigger.expects("prefect.flow-run.Running")


def test_time_is_granted_while_the_server_is_away(root: Path) -> None:
    automations.grant_time()
    assert not list(root.iterdir())
    server.home().mkdir(parents=True)
    with closing(sqlite3.connect(server.home() / "prefect.db")) as connection:
        connection.execute('CREATE TABLE automation_bucket (start, "end")')
        connection.execute(
            "INSERT INTO automation_bucket VALUES (datetime('now', '-200 seconds'), datetime('now', '-110 seconds')), "
            "(datetime('now', '-1 hours'), datetime('now', '+2 hours'))"
        )
        connection.commit()
        automations.grant_time()
        minutes = connection.execute("SELECT 1440 * (julianday(\"end\") - julianday('now')) FROM automation_bucket")
        assert [each for (each,) in minutes] == pytest.approx([3, 120], abs=0.1)


@pytest.mark.drill
def test_lost_runs_end_in_time_and_no_other_does(client: SyncPrefectClient) -> None:
    """Killed are all workers and all engines but one, which goes on without a worker."""
    ours = client.read_deployment_by_name("benchmark/full")
    theirs = client.create_deployment(
        ours.flow_id,
        "theirs",
        entrypoint=ours.entrypoint,
        work_pool_name=ours.work_pool_name,
        job_variables=ours.job_variables,
    )
    lost, cancelled, ended, living = (begin(client, ours.id) for _ in range(4))
    untagged = begin(client, theirs)
    everyone = {lost, cancelled, ended, living, untagged}
    wait_until(lambda: everyone <= heard_of(client), 60)
    for process, each in processes.marked().items():
        if each[processes.PART] != "server" and each.get(FLOW_RUN) != str(living):
            process.kill()
    killed_at = time.monotonic()
    client.set_flow_run_state(cancelled, Cancelling())
    client.set_flow_run_state(ended, Completed(name="Unforeseen"), force=True)
    types = {
        lost: StateType.CRASHED,
        cancelled: StateType.CANCELLED,
        ended: StateType.COMPLETED,
        living: StateType.RUNNING,
        untagged: StateType.RUNNING,
    }
    wait_until(lambda: client.read_flow_run(lost).state_type == StateType.CRASHED, 130)
    assert time.monotonic() - killed_at > 55
    wait_until(lambda: client.read_flow_run(cancelled).state_type == StateType.CANCELLED, 30)
    time.sleep(max(0.0, 130 - (time.monotonic() - killed_at)))
    assert {run: client.read_flow_run(run).state_type for run in everyone} == types


@pytest.mark.drill
def test_absence_of_the_server_is_not_taken_for_the_silence_of_runs(tmp_path: Path) -> None:
    """One run goes on meanwhile, another is lost."""
    with standing(tmp_path) as stack:
        with stack.server.connected() as client:
            deployment = client.read_deployment_by_name("benchmark/full").id
            living, lost = (begin(client, deployment) for _ in range(2))
            wait_until(lambda: {living, lost} <= heard_of(client), 60)
        parts = processes.parts()
        doomed = [process for process, each in processes.marked().items() if each.get(FLOW_RUN) == str(lost)]
        for process in (parts["server"], parts["worker of benchmark"], *doomed):
            process.kill()
        time.sleep(100)
        with up(ports=PORTS).server.connected() as client:
            wait_until(lambda: client.read_flow_run(lost).state_type == StateType.CRASHED, 240)
            time.sleep(20)
            history = [each.type for each in client.read_flow_run_states(living)]
            assert history[-1] == StateType.RUNNING
            assert StateType.CRASHED not in history


def event(name: str, tags: list[str], kind: str = "flow-run") -> ReceivedEvent:
    return ReceivedEvent.model_validate(
        {
            "id": uuid4(),
            "occurred": datetime.now(UTC),
            "event": name,
            "resource": {"prefect.resource.id": f"prefect.{kind}.{uuid4()}"},
            "related": [{"prefect.resource.id": f"prefect.tag.{tag}", "prefect.resource.role": "tag"} for tag in tags],
        }
    )


def begin(client: SyncPrefectClient, deployment: UUID) -> UUID:
    return client.create_flow_run_from_deployment(deployment, parameters={"seconds": 600}).id


def heard_of(client: SyncPrefectClient) -> set[UUID]:
    """The runs of which the server got a heartbeat."""
    where = {"filter": {"event": {"name": ["prefect.flow-run.heartbeat"]}}, "limit": 50}
    page = client._client.post("/events/filter", json=where).raise_for_status().json()
    return {UUID(each["resource"]["prefect.resource.id"].rpartition(".")[2]) for each in page["events"]}
