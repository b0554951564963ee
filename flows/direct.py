"""A sweep without a server, a pool or a worker: the same stages, driven from here."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from flows import locations
from flows.blocks import review
from flows.opening import OpenRun, open_run
from tasks.analysis.analysis import Analysis, analyze
from tasks.analysis.coverage import RunState
from tasks.analysis.statistics import MIN_VERDICT_BLOCKS, Verdict
from tasks.data.preparation import examine, prepare
from tasks.domain.cell import Arm
from tasks.domain.exit_code import ExitCode, worst
from tasks.domain.strategy import Strategy
from tasks.domain.sweep import Sweep
from tasks.reporting.files import REPORT
from tasks.reporting.report import write_report
from tasks.results.environment import find_devices
from tasks.results.record import summarize
from tasks.results.store import RunFolder
from tasks.selfcheck.selfcheck import judge_real
from tasks.training.measurement import measure_trial


class _Console(Console):
    """A console whose reader may leave: the measurement goes on in silence."""

    def on_broken_pipe(self) -> None:
        self.quiet = True


def run_sweep(
    sweep: Sweep, *, run_name: str, command: str, location: Path | str, report: Path, may_continue: bool = False
) -> ExitCode:
    """Measure into `location`, a folder or a URL, and report; prints what happens and, last, the report's path.

    Raises Refusal for refused input.
    """
    console, cache = _Console(), locations.data_cache()
    with open_run(
        sweep,
        run_name=run_name,
        command=command,
        location=location,
        data=examine(sweep.dataset, cache),
        devices=find_devices(),
        may_continue=may_continue,
    ) as opened:
        prepare(sweep.dataset, cache)
        console.print(f"results in {location}", highlight=False, soft_wrap=True)
        try:
            analysis = _measure(opened, console, report)
            code = judge(analysis)
        except KeyboardInterrupt:
            count = len(opened.folder.num_records())
            console.print(f"interrupted: {count} trials are recorded; --resume continues")
            tables = opened.folder.read()
            write_report(analyze(opened.folder.describe(), tables), tables, report)
            code = ExitCode.INTERRUPTED
    console.print(f"report: {report / REPORT}", highlight=False, soft_wrap=True)
    return code


def check_real(num_blocks: int) -> ExitCode:
    """A real A/A: the same points in this environment under two names, interleaved; prints how often they differ."""
    name = f"selfcheck-{datetime.now():%Y%m%d-%H%M%S}"
    location = locations.run(name)
    sweep = replace(REAL, min_blocks=num_blocks, max_blocks=num_blocks, versus=sys.executable)
    report = locations.reports() / name
    code = run_sweep(sweep, run_name=name, command="stratbench selfcheck", location=location, report=report)
    if code not in (ExitCode.OK, ExitCode.REGRESSED, ExitCode.IMPROVED):
        return code
    folder = RunFolder(location)
    pairs = analyze(folder.describe(), folder.read()).pairs
    return judge_real(pair.comparison.differences for pair in pairs)


REAL = Sweep(
    strategies=(Strategy.ONE_DEVICE, Strategy.MIRRORED), global_batch_sizes=(64,), num_epochs=1, max_train_examples=6000
)
"""Seconds a trial: what the A/A trains."""


def judge(analysis: Analysis) -> ExitCode:
    """The worst that the run's records say."""
    coverage, code = analysis.coverage, STATES[analysis.coverage.state]
    if code is ExitCode.NOT_MEASURED and coverage.num_recorded:
        code = ExitCode.FAILED if coverage.failed else ExitCode.INVALID
    return worst([code, *(_judge_versus(analysis) if analysis.run.sweep.versus else ())])


STATES = {
    RunState.COMPLETE: ExitCode.OK,
    RunState.PARTIAL: ExitCode.PARTIAL,
    RunState.DAMAGED: ExitCode.INVALID,
    RunState.INVALID: ExitCode.INVALID,
    RunState.FAILED: ExitCode.FAILED,
    RunState.NOT_MEASURED: ExitCode.NOT_MEASURED,
}


def _judge_versus(analysis: Analysis) -> Iterator[ExitCode]:
    """What the other environment's verdicts say; without any, that there were too few blocks."""
    verdicts = {pair.comparison.verdict for pair in analysis.pairs}
    codes = {Verdict.SLOWER: ExitCode.REGRESSED, Verdict.FASTER: ExitCode.IMPROVED}
    yield from (codes[verdict] for verdict in verdicts if verdict in codes)
    if any(pair.comparison.n < MIN_VERDICT_BLOCKS for pair in analysis.pairs):
        yield ExitCode.INCONCLUSIVE


def _measure(opened: OpenRun, console: Console, report: Path) -> Analysis:
    """Run block after block; the report is there after the first one and renewed after each."""
    while True:
        state = review(opened)
        if state.analysis.coverage.num_recorded:
            write_report(state.analysis, state.tables, report)
        console.print(state.message, highlight=False, soft_wrap=True)
        if state.has_ended:
            return state.analysis
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, TextColumn("left"), TimeRemainingColumn(), console=console) as progress:
            for trial in progress.track(state.trials, description=f"block {state.trials[0].block}"):
                interpreter = opened.run.sweep.versus if trial.arm is Arm.OTHER else None
                record = measure_trial(
                    trial,
                    run_name=opened.run.run_name,
                    folder=opened.folder,
                    data=opened.data,
                    interpreter=interpreter or sys.executable,
                    num_retries=opened.retries.get(trial.key, 0),
                )
                text = f"{trial.label}: {summarize(record)}"
                progress.console.print(text, highlight=False, markup=False, soft_wrap=True)
