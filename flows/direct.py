"""A sweep without a server, a pool or a worker: the same stages, driven from here."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from flows.opening import OpenRun, open_run
from tasks.data.preparation import prepare
from tasks.domain.exit_code import ExitCode, worst
from tasks.domain.outcome import Status
from tasks.domain.sweep import Sweep
from tasks.planning.planner import Finished, next_trials
from tasks.reporting.report import write_report
from tasks.results.record import summarize
from tasks.training.measurement import measure_trial

EXIT_CODES = {Status.VALID: ExitCode.OK, Status.INVALID: ExitCode.INVALID, Status.FAILED: ExitCode.FAILED}


@dataclass(frozen=True, slots=True)
class Places:
    """Folders of a run."""

    run: Path
    report: Path
    cache: Path


def run_sweep(sweep: Sweep, *, run_name: str, command: str, places: Places, may_continue: bool) -> ExitCode:
    """Measure and report; prints what happens and, last, the report's path. Raises Refusal for refused input."""
    console = Console()
    opened = open_run(
        sweep,
        run_name=run_name,
        command=command,
        path=places.run,
        cache=places.cache,
        may_continue=may_continue,
    )
    prepare(sweep.dataset, places.cache)
    console.print(f"{opened.run.num_planned_trials} trials; results in {places.run}", highlight=False)
    try:
        with _progress(console) as progress:
            bar = progress.add_task("trials", total=opened.run.num_planned_trials)
            _measure(opened, progress.console.print, lambda: progress.update(bar, completed=_count(opened)))
    except KeyboardInterrupt:
        console.print(f"interrupted: {_count(opened)} of {opened.run.num_planned_trials} trials are recorded")
        _report(opened, places, console)
        return ExitCode.INTERRUPTED
    _report(opened, places, console)
    statuses = opened.folder.read().trials.column("status").to_pylist()
    return worst(EXIT_CODES[Status(status)] for status in statuses)


def _measure(opened: OpenRun, say: Callable[..., None], advance: Callable[[], None]) -> None:
    advance()
    while not isinstance(
        step := next_trials(opened.run.sweep, opened.device, opened.data, opened.folder.finished_keys()), Finished
    ):
        for trial in step:
            record = measure_trial(trial, run_name=opened.run.run_name, folder=opened.folder, data=opened.data)
            say(f"{trial.label}: {summarize(record)}", highlight=False, markup=False, soft_wrap=True)
            advance()


def _report(opened: OpenRun, places: Places, console: Console) -> None:
    path = write_report(opened.run, opened.folder.read(), places.report)
    console.print(f"report: {path}", highlight=False, soft_wrap=True)


def _count(opened: OpenRun) -> int:
    return len(opened.folder.finished_keys())


def _progress(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, TextColumn("left"), TimeRemainingColumn(), console=console)
