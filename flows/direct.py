"""A sweep without a server, a pool or a worker: the same stages, driven from here."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from flows.opening import OpenRun, open_run
from tasks.analysis.analysis import analyze
from tasks.data.preparation import prepare
from tasks.domain.exit_code import ExitCode, worst
from tasks.domain.sweep import Sweep
from tasks.planning.planner import Finished, next_trials
from tasks.reporting.report import write_report
from tasks.results.record import summarize
from tasks.results.run import Run
from tasks.results.store import Tables
from tasks.training.measurement import measure_trial


class _Console(Console):
    """A console whose reader may leave: the measurement goes on in silence."""

    def on_broken_pipe(self) -> None:
        self.quiet = True


@dataclass(frozen=True, slots=True)
class Places:
    """Folders of a run."""

    run: Path
    report: Path
    cache: Path


def run_sweep(sweep: Sweep, *, run_name: str, command: str, places: Places, may_continue: bool) -> ExitCode:
    """Measure and report; prints what happens and, last, the report's path. Raises Refusal for refused input."""
    console = _Console()
    opened = open_run(
        sweep,
        run_name=run_name,
        command=command,
        path=places.run,
        cache=places.cache,
        may_continue=may_continue,
    )
    prepare(sweep.dataset, places.cache)
    with opened.folder.locked():
        num_planned = opened.run.num_planned_trials
        console.print(f"trials: {num_planned}; results in {places.run}", highlight=False, soft_wrap=True)
        try:
            with _progress(console) as progress:
                bar = progress.add_task("trials", total=num_planned)
                _measure(opened, progress.console.print, lambda: progress.update(bar, completed=_count(opened)))
            code = judge(opened.run, opened.folder.read())
        except KeyboardInterrupt:
            console.print(f"interrupted: {_count(opened)} of {num_planned} trials are recorded; --resume continues")
            code = ExitCode.INTERRUPTED
        path = write_report(opened.run, opened.folder.read(), places.report)
    console.print(f"report: {path}", highlight=False, soft_wrap=True)
    return code


def judge(run: Run, tables: Tables) -> ExitCode:
    """The worst that the run's records say; a planned trial without a record is not measured."""
    coverage = analyze(run, tables).coverage
    shortfalls = {
        ExitCode.INVALID: coverage.invalid,
        ExitCode.FAILED: coverage.failed,
        ExitCode.NOT_MEASURED: coverage.missing,
    }
    return worst([ExitCode.OK, *(code for code, count in shortfalls.items() if count)])


def _measure(opened: OpenRun, say: Callable[..., None], advance: Callable[[], None]) -> None:
    advance()
    while not isinstance(
        step := next_trials(opened.run.sweep, opened.device, opened.data, opened.folder.finished_keys()), Finished
    ):
        for trial in step:
            record = measure_trial(trial, run_name=opened.run.run_name, folder=opened.folder, data=opened.data)
            say(f"{trial.label}: {summarize(record)}", highlight=False, markup=False, soft_wrap=True)
            advance()


def _count(opened: OpenRun) -> int:
    return len(opened.folder.finished_keys())


def _progress(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, TextColumn("left"), TimeRemainingColumn(), console=console)
