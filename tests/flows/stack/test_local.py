"""The real server and real workers, once up and down for all that is asked of them."""

import os
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import State, StateType
from prefect.states import Crashed, Scheduled

from flows.stack import deployments, pools, processes, runs, state, watching
from flows.stack.local import Stack, down, up
from flows.stack.pools import Pools
from flows.stack.status import status
from tasks.domain.refusal import Refusal
from tasks.results.environment import hostname
from tests.flows.stack.conftest import PORTS, SAMPLE, wait_until

pytestmark = pytest.mark.stack


def test_second_up_starts_nothing(stack: Stack) -> None:
    before = state.read()
    assert (stack.was_running, stack.started) == (False, ("server", "worker of benchmark", "worker of trial"))
    assert up(ports=PORTS) == Stack(server=stack.server, was_running=True, started=())
    assert state.read() == before


def test_status_says_what_runs_and_what_comes_next(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    assert status()
    text = capsys.readouterr().out
    assert stack.server.api_url in text
    assert text.count(": online") == 3  # both workers, and this host
    assert "benchmark/nightly: 20" in text


def test_cron_deployment_yields_scheduled_runs(stack: Stack) -> None:
    """With SQLAlchemy 2.1 it yields none, in silence."""
    with stack.server.connected() as client:
        nightly = client.read_deployment_by_name("benchmark/nightly")
        run = runs.next_scheduled(client, nightly.id)
        assert run is not None
        assert run.next_scheduled_start_time is not None
        assert run.next_scheduled_start_time.astimezone(UTC).strftime("%H:%M") == "02:00"
        assert nightly.path is None
        assert not nightly.pull_steps


def test_plain_command_in_the_root_is_run_by_this_interpreter(stack: Stack) -> None:
    root = state.path().parents[1]
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "STRATBENCH_ROOT")}
    command = (sys.executable, "-m", "prefect", "deployment", "run", "benchmark/full", "--watch")
    subprocess.run([*command, "--param", "run_name=plain"], cwd=root, env=environment, check=True)
    interpreter = (root / "reports" / "plain" / "report.md").read_text()
    assert Path(interpreter).parent == Path(sys.executable).parent


def test_benchmark_ends_with_its_page_and_its_report(stack: Stack, capfd: pytest.CaptureFixture[str]) -> None:
    assert watching.run_benchmark("full", ["run_name=named"]) == 0
    *said, hint, page, report = capfd.readouterr().out.rstrip().splitlines()
    assert any("Created flow run 'named'" in line for line in said)
    assert any(line.startswith("▪") for line in said), "its log"
    assert not any("heartbeat" in line or line.startswith("●") for line in said), "and no events"
    assert "stratbench down" in hint
    assert page.startswith(f"{stack.server.ui_url()}/runs/flow-run/")
    assert stack.server.ui_url().endswith("/v2")
    assert Path(report) == state.path().parents[1] / "reports" / "named" / "report.md"
    assert Path(report).exists()


def test_failed_benchmark_leaves_a_stack_that_was_up_before(stack: Stack) -> None:
    assert watching.run_benchmark("full", ["is_failing=true"]) == 1
    assert status()


def test_pool_that_is_not_ours_is_refused_and_left_alone(stack: Stack) -> None:
    with stack.server.connected() as client:
        client.create_work_pool(WorkPoolCreate(name="theirs", type="docker", concurrency_limit=3))
        before = client.read_work_pool("theirs")
        with pytest.raises(Refusal, match="'theirs' exists and is not ours"):
            pools.ensure(client, pools.specs(Pools(trial="theirs"), "h1"))
        assert client.read_work_pool("theirs") == before


def test_limits_admit_one_holder(stack: Stack) -> None:
    with stack.server.connected() as client:
        pools.ensure_limits(client, hostname())
        assert client.read_global_concurrency_limit_by_name("stratbench-sweep").limit == 1
        client.upsert_global_concurrency_limit_by_name("stratbench-sweep", 2)
        with pytest.raises(Refusal, match="limit=2"):
            pools.ensure_limits(client, hostname())
        client.upsert_global_concurrency_limit_by_name("stratbench-sweep", 1)


def test_waiting_trials_of_a_benchmark_that_has_ended_are_cancelled(stack: Stack) -> None:
    with stack.server.connected() as client:
        deployment = client.read_deployment_by_name("benchmark/full").id
        later: State[None] = Scheduled(scheduled_time=datetime.now(UTC) + timedelta(days=1))
        parents = [client.create_flow_run_from_deployment(deployment, state=later) for _ in range(2)]
        children = []
        for parent in parents:
            task = {"flow_run_id": str(parent.id), "task_key": "trial", "dynamic_key": "0"}
            of = UUID(client._client.post("/task_runs/", json=task).raise_for_status().json()["id"])
            children.append(client.create_flow_run_from_deployment(deployment, parent_task_run_id=of, state=later))
        client.set_flow_run_state(parents[0].id, Crashed(message="no heartbeat"), force=True)
        assert runs.cancel_orphans(client, [deployment]) == 1
        assert [client.read_flow_run(c.id).state_type for c in children] == [StateType.CANCELLED, StateType.SCHEDULED]
        for run in (parents[1], children[1]):
            client.delete_flow_run(run.id)


def test_lost_worker_is_replaced_and_late_runs_are_not_caught_up(stack: Stack) -> None:
    processes.parts()["worker of benchmark"].kill()
    with stack.server.connected() as client:
        deployment = client.read_deployment_by_name("benchmark/full").id
        late: State[None] = Scheduled(scheduled_time=datetime.now(UTC) - timedelta(hours=2))
        run = client.create_flow_run_from_deployment(deployment, state=late)
        nightly = client.read_deployment_by_name("benchmark/nightly").id
        missed = client.create_flow_run_from_deployment(nightly, state=late, tags=["auto-scheduled"])
        assert not status()
        assert up(ports=PORTS).started == ("worker of benchmark",)
        for each in (run, missed):
            assert client.read_flow_run(each.id).state_type == StateType.CANCELLED
        where = {"filter": {"event": {"name": ["benchmark.incomplete"]}}}
        while not (told := client._client.post("/events/filter", json=where).json()["events"]):
            time.sleep(0.5)
        (event,) = told
        assert {"prefect.resource.id": f"prefect.flow-run.{missed.id}", "prefect.resource.role": "flow-run"} in event[
            "related"
        ]
    with pytest.raises(Refusal, match="stratbench down"):
        up(ports=PORTS, pools=Pools(trial="a100"))


def test_failed_up_undoes_what_it_started_and_nothing_else(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    before = processes.marked().keys()
    broken = state.path().parent / "broken.yaml"
    broken.write_text(SAMPLE.read_text().replace("stack_sample.trial", "stack_sample.nothing"))
    monkeypatch.setattr(deployments, "FILE", broken)
    with pytest.raises(Refusal, match="`prefect deploy` ended"):
        up(ports=PORTS)
    assert processes.marked().keys() == before
    assert status()


def test_down_ends_a_running_benchmark_and_leaves_no_process(stack: Stack) -> None:
    """The last test of this module: what follows has no stack."""
    with stack.server.connected() as client:
        deployment = client.read_deployment_by_name("benchmark/full").id
        run = client.create_flow_run_from_deployment(deployment, parameters={"seconds": 600})
        wait_until(lambda: client.read_flow_run(run.id).state_type == StateType.RUNNING)
    family = processes.marked()
    assert processes.flow_runs() == {run.id}
    assert down()
    assert processes.marked() == {}
    assert not any(processes.is_alive(process) for process in family)
    assert state.read() is None
    assert not (state.path().parents[1] / "prefect.toml").exists()
    assert not down()
