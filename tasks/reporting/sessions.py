"""Two sessions side by side: what differs, and every point of both, without a verdict."""

from collections.abc import Iterable, Iterator
from operator import attrgetter

from tasks.analysis.analysis import Analysis
from tasks.analysis.sessions import SessionPoint, Sessions, Side
from tasks.analysis.statistics import LEVEL, MIN_INTERVAL_BLOCKS
from tasks.domain.cell import Cell
from tasks.domain.strategy import Strategy
from tasks.reporting.grid import TOLD_APART
from tasks.reporting.labels import devices_in_full, one_device, tag_lines, workload
from tasks.reporting.markdown import LEFT, RIGHT, Column, bullets, escape, field, table
from tasks.reporting.numerals import ABSENT, digits, level, plural, ratio_with_interval
from tasks.reporting.provenance import FACTS

SOFTWARE = ("stratbench", "tensorflow", "keras", "numpy", "python", "operating system")
"""What the table of differences may say beside the commit."""


def describe_sessions(sessions: Sessions, a_name: str, b_name: str) -> str:
    """GitHub-flavoured Markdown; the names are those of the two folders, as the reader gave them."""
    return "\n\n".join(_parts(sessions, a_name, b_name)) + "\n"


def _parts(sessions: Sessions, a_name: str, b_name: str) -> Iterator[str]:
    a, b = sessions.a, sessions.b
    yield "# Two sessions side by side"
    yield bullets((_side("A", a, a_name), _side("B", b, b_name)))
    yield (
        "**Nothing is judged here.** Two sessions are two samples of the machine, whose speed drifts between them: "
        "what differs below may be the software or the day. For a verdict on two environments of this machine, measure "
        "both in one session, block by block: `stratbench versus INTERPRETER`."
    )
    yield "## What differs in software"
    yield f"Both commits, and what else differs of {', '.join(SOFTWARE)}."
    yield _software(a, b)
    yield "## Point by point"
    yield _legend(a)
    yield table(_columns(sessions), sessions.points)
    only = (("A", sessions.only_a), ("B", sessions.only_b))
    if any(cells for _, cells in only):
        yield bullets(f"Only {side} has: {'; '.join(cell.label for cell in cells)}." for side, cells in only if cells)


def _side(side: str, analysis: Analysis, name: str) -> str:
    run = analysis.run
    text = f"{side}: {escape(name)} (run {escape(run.run_name)}, begun {run.created_at:%Y-%m-%d}): "
    text += f"{escape(workload(run))}, {devices_in_full(run)}, {plural(analysis.coverage.num_begun, 'block')}"
    return ". ".join([text, *map(escape, tag_lines(analysis))]) + "."


def _software(a: Analysis, b: Analysis) -> str:
    facts = {"commit": (_commits(a), _commits(b))}
    facts |= {fact: (_versions(a, FACTS[fact]), _versions(b, FACTS[fact])) for fact in SOFTWARE}
    columns = (
        Column[str]("software", LEFT, str),
        Column[str]("A", LEFT, lambda fact: facts[fact][0]),
        Column[str]("B", LEFT, lambda fact: facts[fact][1]),
    )
    return table(columns, [fact for fact, (ours, theirs) in facts.items() if fact == "commit" or ours != theirs])


def _commits(analysis: Analysis) -> str:
    known = [machine.environment for machine in analysis.machines if machine.environment["commit"]]
    return _listed(
        f"{found['commit']}{' with uncommitted changes' if found['is_commit_clean'] is False else ''}"
        for found in known
    )


def _versions(analysis: Analysis, column: str) -> str:
    return _listed(
        str(version)
        for machine in analysis.machines
        for version in machine.versions.get(column, (machine.environment.get(column),))
        if version
    )


def _listed(texts: Iterable[str]) -> str:
    """What a run's trials had, escaped; several where the software changed inside the run."""
    return ", ".join(map(escape, dict.fromkeys(sorted(texts)))) or ABSENT


def _legend(a: Analysis) -> str:
    return (
        f"Times as fast: against {one_device(a.run)} of the same run, in the same blocks, at the same setting and "
        f"batch size; geometric mean over the n blocks. B / A is the ratio of the two. In parentheses: {level(LEVEL)} "
        f"t intervals of each number alone, from {MIN_INTERVAL_BLOCKS} blocks on; that of B / A is Welch's, for two "
        "independent samples, and knows the spread inside the sessions only, not the drift between them. Seconds an "
        "epoch are medians of n trials: absolute, so that the machine's drift is in them."
    )


def _columns(sessions: Sessions) -> tuple[Column[SessionPoint], ...]:
    cells = [*(point.cell for point in sessions.points), *sessions.only_a, *sessions.only_b]
    several = [name for name in TOLD_APART if len({*map(attrgetter(name), cells)} - {None}) > 1]
    return (
        field("strategy", LEFT, "cell.strategy"),
        field("batch", RIGHT, "cell.global_batch_size"),
        *(TOLD_APART[name] for name in several),
        Column("A: times as fast as one device", RIGHT, lambda point: _speedup(point.cell, point.a)),
        Column("B: the same", RIGHT, lambda point: _speedup(point.cell, point.b)),
        field("B / A", RIGHT, "quotient", ratio_with_interval),
        field("A: s/epoch", RIGHT, "a", _seconds),
        field("B: s/epoch", RIGHT, "b", _seconds),
    )


def _speedup(cell: Cell, side: Side) -> str:
    if cell.strategy is Strategy.ONE_DEVICE:
        return "baseline"
    return f"{ratio_with_interval(side.speedup)}, n = {side.num_blocks}" if side.num_blocks else ABSENT


def _seconds(side: Side) -> str:
    return ABSENT if side.seconds_per_epoch is None else f"{digits(side.seconds_per_epoch)}, n = {side.num_trials}"
