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
from prefect.client.schemas.objects import StateType
from prefect.events import Event

from flows.benchmark import _checked, _command, _date_of, _final_state, benchmark, name_run
from tasks.domain.refusal import Refusal
from tasks.domain.strategy import Strategy
from tasks.domain.sweep import Sweep
from tasks.domain.trial import Trial
from tasks.results.error import ResultsError
from tasks.results.store import RunFolder
from tests.analysis.example_runs import Outcome, analyze_example, make_failure, make_run, realistic
from tests.reporting.reports import pair

START = datetime(2026, 11, 23, 2, 0, 5, tzinfo=UTC)


@pytest.fixture
def patch(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Puts something else in the place of what the flow calls."""

    def put(**changes: object) -> None:
        for name, change in changes.items():
            monkeypatch.setattr(f"flows.benchmark.{name}", change)

    put(deployment=SimpleNamespace(name="nightly"), get_run_logger=lambda: logging.getLogger("test"))
    return put


def make_flow_run(**changes: object) -> SimpleNamespace:
    """The first start of a nightly run that a schedule created."""
    fields = {"id": "1", "name": "wise-owl", "parameters": {"is_nightly": True}, "tags": ["auto-scheduled"]}
    return SimpleNamespace(**(fields | {"scheduled_start_time": START, "run_count": 1} | changes))


async def nothing(*_: object) -> None:
    """Stands for what a benchmark asks of the server."""


def test_the_form_offers_every_field_of_the_sweep_with_its_default_and_explains_and_bounds_it() -> None:
    defaults = {name: parameter.default for name, parameter in inspect.signature(benchmark.fn).parameters.items()}
    assert defaults == {field.name: getattr(Sweep(), field.name) for field in dataclasses.fields(Sweep)} | {
        "run_name": None,
        "night": None,
        "is_nightly": False,
    }
    properties = benchmark.parameters.properties
    assert [name for name, schema in properties.items() if not schema.get("description")] == []
    assert properties["strategies"]["minItems"] == 1
    assert {properties[name]["minimum"] for name in ("num_epochs", "min_blocks", "short_epochs")} == {1}
    assert {properties[name]["exclusiveMaximum"] for name in ("half_width", "learning_rate")} == {1}


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
    parameters: dict[str, Any], tags: list[str], name: str, expected: str, patch: Callable[..., None]
) -> None:
    patch(flow_run=make_flow_run(parameters=parameters, tags=tags, name=name))
    assert name_run() == expected
    day = {"nightly-2026-11-20": 20, "nightly-2026-11-22": 22, "nightly-2026-11-22-235959": 22}.get(expected, 23)
    assert _date_of(expected) == date(2026, 11, day)


def test_second_night_that_a_schedule_starts_on_a_day_measures_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patch: Callable[..., None]
) -> None:
    monkeypatch.setenv("STRATBENCH_ROOT", str(tmp_path))
    patch(flow_run=make_flow_run())
    assert name_run() == "nightly-2026-11-23"
    begun = make_run(pair(2), run_name="nightly-2026-11-23", night=START.date())
    RunFolder(tmp_path / "runs" / begun.run_name).create(begun)
    assert name_run() == "nightly-2026-11-23-020005"
    patch(flow_run=make_flow_run(name="nightly-2026-11-23"))
    assert name_run() == "nightly-2026-11-23", "a retry goes on with what it began"


@pytest.mark.parametrize("error", [ResultsError("the disk is full"), RuntimeError("a fault of ours")])
def test_run_that_ends_by_an_error_is_reported_and_judged_as_crashed(
    error: Exception, monkeypatch: pytest.MonkeyPatch, patch: Callable[..., None], tmp_path: Path
) -> None:
    monkeypatch.setenv("STRATBENCH_ROOT", str(tmp_path))
    ended: list[tuple[str, str]] = []

    async def one_crew(*_: object) -> list[Any]:
        return [SimpleNamespace(devices=None)]

    async def fail(*_: object) -> None:
        raise error

    async def end_as(name: str, flow_run_id: str, how: str) -> None:
        ended.append((name, how))

    patch(
        flow_run=make_flow_run(name="nightly-2026-01-01", tags=()),
        plan_night=lambda sweep, *_: sweep,
        say_who_is_running=nothing,
        cancel_waiting=nothing,
        muster=one_crew,
        measure=fail,
        concurrency=lambda *_, **__: nullcontext(),
        open_run=lambda *_, **__: nullcontext(),
        examine=lambda *_: None,
        prepare_dataset=lambda *_: None,
        end_as=end_as,
    )
    if isinstance(error, ResultsError):
        state = asyncio.run(benchmark.fn(is_nightly=True))
        assert (state.name, state.message) == ("Failed", "the disk is full"), "Refused means that nothing was started"
    else:
        with pytest.raises(RuntimeError):
            asyncio.run(benchmark.fn(is_nightly=True))
    assert ended == [("nightly-2026-01-01", "crashed")]


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
    patch: Callable[..., None], how: dict[str, Any], name: str
) -> None:
    """By its own start, or after it has waited for another benchmark."""
    fields = {key: value for key, value in how.items() if key in ("tags", "run_count")}
    start, told = datetime.now(UTC) - timedelta(hours=how["hours"]), list[str]()
    run = make_flow_run(name="nightly-2026-01-01", scheduled_start_time=start, **fields)

    async def send(events: Sequence[Event], logger: object) -> None:
        told.extend(event.event for event in events)

    @asynccontextmanager
    async def concurrency(*names: object, **lease: object) -> AsyncIterator[None]:
        run.scheduled_start_time -= timedelta(hours=how.get("waits", 0.0))
        yield

    def plan(*_: object) -> None:
        raise Refusal("it has begun")

    patch(flow_run=run, send=send, concurrency=concurrency, say_who_is_running=nothing, plan_night=plan)
    assert asyncio.run(benchmark.fn(is_nightly=True)).name == name
    assert told == (["benchmark.incomplete"] if name == "NotMeasured" else [])


def test_night_is_a_day_that_has_come() -> None:
    today = datetime.now(UTC).date()
    assert _checked(today) == today
    with pytest.raises(Refusal, match=rf"is still to come; name {today} \(today, in UTC\) or an earlier one"):
        _checked(today + timedelta(days=1))
    with pytest.raises(Refusal, match="run_name=2026-02-30 is no day; write it as 2026-11-23"):
        _date_of("nightly-2026-02-30")
