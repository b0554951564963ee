"""Blocks: what a run does next, and what it may expect of that."""

import time
from collections.abc import Collection
from dataclasses import dataclass, replace

from flows.night import FIRST_LOOK_SHARE, second_look
from flows.opening import OpenRun
from tasks.analysis.analysis import Analysis, analyze
from tasks.domain.cell import Arm
from tasks.domain.outcome import Status
from tasks.domain.refusal import Refusal
from tasks.domain.trial import Role, Trial
from tasks.planning.planner import Recorded, forecast, next_trials
from tasks.planning.stopping import Finished
from tasks.reporting.numerals import level, plural, share
from tasks.results.environment import Environment, describe_environment
from tasks.results.run import End, Run
from tasks.results.store import Tables


@dataclass(frozen=True, slots=True)
class Review:
    """A run between two blocks."""

    analysis: Analysis
    tables: Tables
    trials: tuple[Trial, ...]
    """What to run now; empty where the run has come to its end."""
    message: str
    """What was decided, and the precision that was bought or is expected, for people."""

    @property
    def has_ended(self) -> bool:
        """Whether nothing is left to run."""
        return not self.trials


def review(
    opened: OpenRun, *, machine: Environment | None = None, taken: Collection[str] = (), elsewhere: Collection[str] = ()
) -> Review:
    """Look at the records and decide what is next; a run that has come to its end is marked so on disk.

    What is next is for `machine` (None: this one). `taken` are the keys of trials that are going on meanwhile,
    `elsewhere` the names of machines that go on with the blocks that they have begun. Raises Refusal for a block that
    only another machine could go on with.
    """
    machine = machine or describe_environment()
    found, tables = opened.folder.describe(), opened.folder.read()
    left = None if opened.deadline is None else opened.deadline - time.monotonic()
    run = replace(found, end=None)  # what more is asked for may be more than what it had ended with
    analysis = analyze(run, tables)
    recorded = Recorded(
        keys={*opened.finished_keys(), *taken},
        half_width=analysis.half_width,
        seconds_left=None if left is None else left - _seconds_kept(run),
        examples_per_second=analysis.rates,
        overhead_seconds=analysis.overhead_seconds,
    )
    step = next_trials(run.sweep, opened.device, opened.data, recorded)
    while not isinstance(step, Finished) and _is_left_to(elsewhere, tables, step[0].block, machine):
        recorded = replace(recorded, keys={*recorded.keys, *(trial.key for trial in step)})
        step = next_trials(run.sweep, opened.device, opened.data, recorded)
    if isinstance(step, Finished) and run.night is not None and not taken:
        again = second_look(run, tables, analysis.coverage.num_begun, left)
        step = next_trials(run.sweep, opened.device, opened.data, replace(recorded, again=again))
    if isinstance(step, Finished):
        if not taken:
            run = replace(run, end=End(reason=step.reason, num_blocks=analysis.coverage.num_begun))
            opened.folder.update(run)
        return Review(analyze(run, tables), tables, (), f"finished: {step.reason}. {_bought(analysis)}")
    if found.end:
        opened.folder.update(run)
    block = f"block {step[0].block}: {len(step)} trials"
    if step[-1].role is Role.AGAIN:
        cells = dict.fromkeys(replace(trial.cell, arm=Arm.HERE).label for trial in step[1:])
        return Review(analysis, tables, step, f"{block}, to measure again what is far out: {'; '.join(cells)}")
    return Review(analysis, tables, step, f"{block}. {_expected(opened, recorded)}")


def _seconds_kept(run: Run) -> float:
    """Of the time budget, what the first look of a night leaves for the second."""
    return 0.0 if run.night is None else (1 - FIRST_LOOK_SHARE) * 60 * (run.sweep.budget_minutes or 0.0)


def _is_left_to(elsewhere: Collection[str], tables: Tables, block: int, machine: Environment) -> bool:
    """Whether the block was begun on another machine, which goes on with it: its pairs would compare machines.

    Raises Refusal where that machine is not there, or is `machine` itself in another state of its hardware.
    """
    rows = tables.trials.select(["block", "status", "machine_fingerprint", "hostname"]).to_pylist()
    begun = {
        row["hostname"]
        for row in rows
        if row["block"] == block
        and row["status"] != Status.FAILED
        and row["machine_fingerprint"] != machine.machine_fingerprint
    }
    if begun and not begun <= set(elsewhere):
        raise Refusal(
            f"block {block} was begun on {' and '.join(sorted(begun))}, in another state of its hardware than "
            f"{machine.hostname} now: continue the run there, or give another run name"
        )
    return bool(begun)


def _bought(analysis: Analysis) -> str:
    width = analysis.half_width
    blocks = f"Bought: {plural(analysis.num_blocks, 'block')}, {analysis.num_whole_blocks} of them whole"
    if width is None:
        return f"{blocks}, too few to know how precise they are"
    return f"{blocks}: the widest pair's half-width is {level(width)} (95 %, that pair alone)"


def _expected(opened: OpenRun, recorded: Recorded) -> str:
    """The forecast, once any throughput of this machine is known."""
    if not recorded.examples_per_second:
        return "What they cost is known after the first trial"
    sweep = opened.run.sweep
    if sweep.budget_minutes is not None:
        sweep = replace(sweep, budget_minutes=sweep.budget_minutes - _seconds_kept(opened.run) / 60)
    found = forecast(sweep, opened.device, opened.data, recorded)
    whole, short = (seconds / 60 for seconds in found.seconds)
    text = f"Expected: {plural(found.num_whole, 'whole block')} of about {whole:.1f} min"
    text += f" and {plural(found.num_short, 'short one')} of about {short:.1f} min" if found.num_short else ""
    text += f", {found.num_whole * whole + found.num_short * short:.0f} min in all"
    if found.half_width is not None:
        text += f"; the widest pair then known to about {share(found.half_width)} if runs differ by 5 %"
    return text
