import asyncio
import dataclasses
import inspect
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, nullcontext
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prefect.client.schemas.objects import State, StateType
from prefect.events import Event

from flows.benchmark import _checked, _command, _date_of, _final_state, benchmark, name_run
from flows.trial import trial
from tasks.domain.refusal import Refusal
from tasks.domain.strategy import Strategy
from tasks.domain.sweep import Sweep
from tasks.domain.trial import Trial
from tasks.results.error import ResultsError
from tasks.results.store import RunFolder
from tests.analysis.example_runs import Outcome, analyze_example, make_failure, make_run, realistic
from tests.reporting.reports import pair


def test_the_form_offers_every_field_of_the_sweep_with_its_default() -> None:
    parameters = dict(inspect.signature(benchmark.fn).parameters)
    assert parameters.pop("run_name").default is None
    assert parameters.pop("night").default is None
    assert parameters.pop("is_nightly").default is False
    sweep = Sweep()
    assert {name: p.default for name, p in parameters.items()} == {
        field.name: getattr(sweep, field.name) for field in dataclasses.fields(Sweep)
    }


def test_the_form_explains_every_parameter_and_bounds_it() -> None:
    properties = benchmark.parameters.properties
    for name, schema in properties.items():
        assert schema.get("description"), f"{name} is not described"
    assert properties["num_epochs"]["minimum"] == 1
    assert properties["strategies"]["minItems"] == 1
    assert properties["min_blocks"]["minimum"] == properties["short_epochs"]["minimum"] == 1
    assert properties["half_width"]["exclusiveMaximum"] == properties["learning_rate"]["exclusiveMaximum"] == 1


def test_command_of_a_run_states_what_differs_from_the_defaults() -> None:
    sweep = Sweep(min_blocks=8, num_whole_blocks=None, strategies=(Strategy.ONE_DEVICE,))
    assert _command(sweep) == (
        "prefect deployment run benchmark/full --param 'strategies=[\"one_device\"]' --param min_blocks=8 "
        "--param num_whole_blocks=null"
    )
    assert _command(Sweep()) == "prefect deployment run benchmark/full"


@pytest.mark.parametrize(
    ("outcome_of", "changes", "type_and_name"),
    [
        (realistic, {}, (StateType.COMPLETED, "Completed")),
        (lambda t: None if t.block == 2 else realistic(t), {}, (StateType.COMPLETED, "Degraded")),
        (lambda t: make_failure(t) if t.block == 2 else realistic(t), {}, (StateType.COMPLETED, "Degraded")),
        (lambda t: None if t.block == 2 else realistic(t), {"end": None}, (StateType.COMPLETED, "Degraded")),
        (make_failure, {}, (StateType.FAILED, "Failed")),
        (lambda t: None, {}, (StateType.FAILED, "Failed")),
    ],
    ids=["complete", "damaged", "failed", "partial", "all failed", "empty"],
)
def test_run_without_any_value_fails_and_one_with_gaps_is_degraded(
    tmp_path: Path,
    outcome_of: Callable[[Trial], Outcome],
    changes: dict[str, object],
    type_and_name: tuple[StateType, str],
) -> None:
    state = _final_state(analyze_example(tmp_path, pair(2), outcome_of, **changes), Path("reports/x/report.md"))
    assert (state.type, state.name) == type_and_name
    assert str(state.message).endswith(" of 8 trials valid; report: reports/x/report.md")


def test_flows_have_the_names_that_deployments_use() -> None:
    assert (benchmark.name, trial.name) == ("benchmark", "trial")


@pytest.mark.parametrize(
    ("parameters", "tags", "name", "expected"),
    [
        ({}, [], "wise-owl", "nightly-20261123-020005"),
        ({"is_nightly": True}, ["auto-scheduled"], "wise-owl", "nightly-2026-11-23"),
        ({"is_nightly": True}, [], "wise-owl", "nightly-2026-11-23-020005"),
        ({"is_nightly": True, "night": "2026-11-20"}, [], "wise-owl", "nightly-2026-11-20"),
        ({"is_nightly": True}, ["auto-scheduled"], "nightly-2026-11-22", "nightly-2026-11-22"),
        ({"is_nightly": True}, [], "nightly-2026-11-22-235959", "nightly-2026-11-22-235959"),
        ({"is_nightly": True, "run_name": "mine"}, [], "wise-owl", "mine"),
    ],
)
def test_night_is_named_by_its_date_and_one_beside_the_schedule_by_its_time(
    parameters: dict[str, Any], tags: list[str], name: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = datetime(2026, 11, 23, 2, 0, 5, tzinfo=UTC)
    run = SimpleNamespace(parameters=parameters, tags=tags, name=name, scheduled_start_time=start)
    monkeypatch.setattr("flows.benchmark.flow_run", run)
    monkeypatch.setattr("flows.benchmark.deployment", SimpleNamespace(name="nightly"))
    assert name_run() == expected
    day = {"nightly-2026-11-20": 20, "nightly-2026-11-22": 22, "nightly-2026-11-22-235959": 22}.get(expected, 23)
    assert _date_of(expected) == date(2026, 11, day)


def test_second_night_that_a_schedule_starts_on_a_day_measures_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STRATBENCH_ROOT", str(tmp_path))
    start = datetime(2026, 11, 23, 14, tzinfo=UTC)
    run = SimpleNamespace(
        parameters={"is_nightly": True}, tags=["auto-scheduled"], name="wise-owl", scheduled_start_time=start
    )
    monkeypatch.setattr("flows.benchmark.flow_run", run)
    monkeypatch.setattr("flows.benchmark.deployment", SimpleNamespace(name="nightly"))
    assert name_run() == "nightly-2026-11-23"
    begun = make_run(pair(2), run_name="nightly-2026-11-23", night=start.date())
    RunFolder(tmp_path / "runs" / begun.run_name).create(begun)
    assert name_run() == "nightly-2026-11-23-140000"
    run.name = "nightly-2026-11-23"
    assert name_run() == "nightly-2026-11-23", "a retry goes on with what it began"


@pytest.mark.parametrize("error", [ResultsError("the disk is full"), RuntimeError("a fault of ours")])
def test_run_that_ends_by_an_error_is_reported_and_judged_as_crashed(
    error: Exception, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("STRATBENCH_ROOT", str(tmp_path))
    ended: list[tuple[str, str]] = []

    async def nothing(*_: object) -> list[Any]:
        return [SimpleNamespace(devices=None)]

    async def fail(*_: object) -> None:
        raise error

    async def end_as(name: str, flow_run_id: str, how: str) -> None:
        ended.append((name, how))

    run = SimpleNamespace(
        id="1", name="nightly-2026-01-01", scheduled_start_time=datetime.now(UTC), tags=(), run_count=1
    )
    changes: dict[str, object] = {
        **{"flow_run": run, "get_run_logger": lambda: logging.getLogger("test"), "plan_night": lambda sweep, *_: sweep},
        **{"say_who_is_running": nothing, "cancel_waiting": nothing, "muster": nothing, "measure": fail},
        **{"concurrency": lambda *_, **__: nullcontext(), "open_run": lambda *_, **__: nullcontext()},
        **{"examine": lambda *_: None, "prepare_dataset": lambda *_: None, "end_as": end_as},
    }
    for what, change in changes.items():
        monkeypatch.setattr(f"flows.benchmark.{what}", change)
    if isinstance(error, ResultsError):
        state = asyncio.run(benchmark.fn(is_nightly=True))
        assert (state.name, state.message) == ("Failed", "the disk is full"), "Refused means that nothing was started"
    else:
        with pytest.raises(RuntimeError):
            asyncio.run(benchmark.fn(is_nightly=True))
    assert ended == [(run.name, "crashed")]


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[State | None, list[str]]]:
    """The state of a nightly run that begins so late, before or while another benchmark goes on, and what is told."""

    def begin(hours: float, waits: float = 0.0, tags: Sequence[str] = ("auto-scheduled",), run_count: int = 1) -> Any:
        start, told = datetime.now(UTC) - timedelta(hours=hours), list[str]()
        run = SimpleNamespace(
            id="1", name="nightly-2026-01-01", scheduled_start_time=start, tags=tags, run_count=run_count
        )

        async def send(events: Sequence[Event], logger: object) -> None:
            told.extend(event.event for event in events)

        @asynccontextmanager
        async def concurrency(*names: object, **lease: object) -> AsyncIterator[None]:
            run.scheduled_start_time -= timedelta(hours=waits)
            yield

        async def nothing(logger: object) -> None: ...

        def plan(*_: object) -> None:
            raise Refusal("it has begun")

        changes = {"flow_run": run, "send": send, "concurrency": concurrency, "say_who_is_running": nothing}
        changes |= {"get_run_logger": lambda: logging.getLogger("test"), "plan_night": plan}
        for name, change in changes.items():
            monkeypatch.setattr(f"flows.benchmark.{name}", change)
        return asyncio.run(benchmark.fn(is_nightly=True)), told

    return begin


@pytest.mark.parametrize(
    ("how", "name"),
    [
        ({"hours": 0.9}, "Refused"),
        ({"hours": 1.1}, "NotMeasured"),
        ({"hours": 0.1, "waits": 0.5}, "Refused"),
        ({"hours": 0.1, "waits": 1.0}, "NotMeasured"),
        ({"hours": 9.0, "tags": ()}, "Refused"),
        ({"hours": 9.0, "run_count": 2}, "Refused"),
    ],
)
def test_scheduled_run_that_would_begin_an_hour_late_is_not_measured_and_told(
    late: Callable[..., tuple[State, list[str]]], how: dict[str, Any], name: str
) -> None:
    state, told = late(**how)
    assert state.name == name
    assert told == (["benchmark.incomplete"] if name == "NotMeasured" else [])


def test_night_is_a_day_that_has_come() -> None:
    today = datetime.now(UTC).date()
    assert _checked(today) == today
    with pytest.raises(Refusal, match=rf"is still to come; name {today} \(today, in UTC\) or an earlier one"):
        _checked(today + timedelta(days=1))
    with pytest.raises(Refusal, match="run_name=2026-02-30 is no day; write it as 2026-11-23"):
        _date_of("nightly-2026-02-30")
