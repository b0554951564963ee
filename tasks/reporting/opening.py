"""The first screen: what was measured on what, the answer with its condition, and the table of points."""

from tasks.analysis.analysis import Analysis
from tasks.reporting.answer import answer, take_notes
from tasks.reporting.document import Block, Bullets, Text
from tasks.reporting.escaping import escape
from tasks.reporting.grid import caption, tabulate
from tasks.reporting.labels import (
    devices_in_full,
    tags,
    workload,
)
from tasks.reporting.numerals import (
    plural,
)
from tasks.reporting.verdicts import standing


def title(analysis: Analysis) -> str:
    """What was measured on what, and when; a degraded, partial or smoke run says so first."""
    run = analysis.run
    what = f"{escape(workload(run))}, {devices_in_full(run)}, {run.created_at:%Y-%m-%d}"
    return ". ".join([*tags(analysis), f"Which strategy, at which batch size? {what}"])


def open_report(analysis: Analysis) -> tuple[Block, ...]:
    """The blocks of the first screen."""
    notes = take_notes(analysis)
    return (
        Text(_coverage(analysis)),
        Text(" ".join(f"**{sentence}**" for sentence in answer(analysis))),
        *((Bullets(notes),) if notes else ()),
        tabulate(analysis),
        Text(caption(analysis)),
    )


def _coverage(analysis: Analysis) -> str:
    sweep, coverage = analysis.run.sweep, analysis.coverage
    grid = (
        f"{len(sweep.strategies)} {'strategy' if len(sweep.strategies) == 1 else 'strategies'} x "
        f"{plural(len(sweep.global_batch_sizes), 'batch size')} x {plural(sweep.num_blocks, 'block')}"
    )
    baselines = coverage.planned - len(sweep.strategies) * len(sweep.global_batch_sizes) * sweep.num_blocks
    if baselines > 0:
        grid += f" + {plural(baselines, 'baseline trial')}"
    return (
        f"COVERAGE: {coverage.valid} of {plural(coverage.planned, 'trial')} valid ({grid}); "
        f"{coverage.invalid} invalid, {coverage.failed} failed, {coverage.missing} missing. {standing(analysis)}"
    )
