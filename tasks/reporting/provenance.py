"""Provenance: the machine, what failed, and how to repeat the run."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from tasks.analysis.analysis import Analysis
from tasks.analysis.machines import VERSIONS, Machine
from tasks.analysis.points import medians
from tasks.domain.device import DeviceType
from tasks.domain.outcome import InvalidReason
from tasks.domain.strategy import Strategy
from tasks.reporting.grid import names
from tasks.reporting.labels import devices_in_full, max_replicas, point_name
from tasks.reporting.markdown import LEFT, RIGHT, Column, Edition, bullets, escape, fence, field, folded, grouped, table
from tasks.reporting.numerals import ABSENT, gibibytes, on_off, plural, share, span, whole

FACTS = {
    "host": "hostname",
    "CPU": "cpu_model",
    "physical cores usable": "num_physical_cores",
    "memory": "memory_bytes",
    "GPU": "gpu_model",
    "GPU driver": "gpu_driver",
    "operating system": "operating_system",
    **{name.removesuffix("_version"): name for name in VERSIONS},
    "stratbench": "stratbench_version",
    "commit": "commit",
    "fingerprint": "machine_fingerprint",
    "trials": "num_trials",
    "trained together with": "others",
}
"""What the machine's table says: its first column, and where the fact comes from; the last one only where it holds."""
MOST_LISTED = 12
"""More problems are folded away."""
PINNING = {
    (True,): "The processes were pinned to their cores.",
    (False,): "The processes were not pinned: this system has no affinity, so that a slice is a number of threads.",
    (False, True): "Some processes were pinned to their cores, others were not.",
    (): "Pinning is not known.",
}
"""By the distinct answers of all machines."""


def describe_machine(analysis: Analysis) -> Iterator[str]:
    """What a device was, and the machines with their software."""
    yield bullets(_device(analysis))
    if machines := [_facts(machine) for machine in analysis.machines]:
        headers = ["value"] if len(machines) == 1 else [f"machine {n}" for n in range(1, len(machines) + 1)]
        values = (Column(header, LEFT, facts.__getitem__) for header, facts in zip(headers, machines, strict=True))
        are_together = any(machine.others for machine in analysis.machines)
        yield table([Column[str]("fact", LEFT, str), *values], list(FACTS)[: None if are_together else -1])


def describe_validity(analysis: Analysis) -> Iterator[str]:
    """The rules by which a trial is thrown out, and what was measured again because others disturbed it."""
    broken = Counter(problem.reason for problem in analysis.coverage.problems)
    columns = (
        field("rule", LEFT, "value", lambda code: f"`{code}`"),
        field("broken when", LEFT, "doc"),
        Column[InvalidReason]("trials", RIGHT, lambda rule: whole(broken[rule])),
    )
    yield (
        f"{plural(len(analysis.tainted), 'trial')} measured again because others disturbed it; a trial that breaks one "
        "of the rules enters no number."
    )
    yield folded("The rules", table(columns, InvalidReason))
    if len(analysis.tainted):
        names_of = (
            Column[Any]("trial", LEFT, lambda row: escape(f"{row.cell.label} ({row.role}), block {row.block}")),
            field("then", LEFT, "status"),
            field("what disturbed it first", LEFT, "first_taint", escape),
        )
        yield table(names_of, analysis.tainted.itertuples())


def describe_failures(analysis: Analysis, edition: Edition) -> Iterator[str]:
    """Every trial without a number of the blocks that have begun, with its reason; nothing where there is none."""
    run, coverage = analysis.run, analysis.coverage
    problems = [problem for problem in coverage.problems if coverage.has_ended or problem.block <= coverage.num_begun]
    if not problems:
        return
    text = f"{plural(len(problems), 'planned trial')} of {coverage.planned} gave no number"
    to_come = len(coverage.problems) - len(problems)
    text += f", {to_come} more are of blocks that have not begun" if to_come else ""
    yield f"{text}; none of them enters an average."
    columns = (
        *names(run),
        field("block", LEFT, "block", brief="block"),
        field("role", LEFT, "role"),
        field("what", LEFT, "shortfall", brief="what"),
        field("reason", LEFT, "reason", escape, brief="reason"),
        field("phase", LEFT, "phase", escape),
        field("message", LEFT, "message", escape),
    )
    listed = table(columns, problems, edition.is_brief)
    yield listed if len(problems) <= MOST_LISTED else folded("All of them", listed)


def describe_repetition(analysis: Analysis) -> tuple[str, ...]:
    """The command and what fixes its result."""
    run = analysis.run
    seeds = span((run.sweep.seed, run.sweep.seed + analysis.coverage.num_blocks - 1), whole)
    facts = (
        f"Run: {escape(run.run_name)}, begun {run.created_at:%Y-%m-%d %H:%M %Z}.",
        f"Seed: {seeds} (block 1 trains with the first; it also shuffles the order of trials).",
        f"Data: {escape(run.sweep.dataset)}, {run.num_train_examples:,} training and {run.num_test_examples:,} test "
        f"examples, SHA-256 {escape(run.dataset_digest)}.",
        f"Schema of the tables: version {run.schema_version}.",
        "Every number here comes from `trials.parquet`, `epochs.parquet`, `steps.parquet` and `gradients.parquet` "
        "beside this report; with `environment.json` they rebuild it byte for byte.",
    )
    return fence(run.command), bullets(facts)


def _device(analysis: Analysis) -> Iterator[str]:
    run, sweep = analysis.run, analysis.run.sweep
    tf32 = f"TF32 {'on' if sweep.is_tf32_enabled else 'off'}"
    if run.device is DeviceType.GPU:
        yield f"A device: one whole GPU; the largest trial held {devices_in_full(run)}."
    else:
        tf32 += " (affects GPUs only)"
        answers = tuple(sorted({answer for machine in analysis.machines for answer in machine.is_pinned}))
        yield (
            f"A device: one CPU slice, a fixed set of {plural(sweep.cores_per_replica, 'physical core')}, not a GPU; "
            f"the largest trial held {devices_in_full(run)}. {PINNING[answers]}"
        )
        if Strategy.MIRRORED in sweep.strategies and max_replicas(run) > 1:
            yield (
                "Mirrored replicas are logical devices of one process and share its thread pool: their slices are "
                "pinned as one set, not each to its own cores."
            )
    loops, xla = (" and ".join(words) for words in ((f"`{loop}`" for loop in sweep.loops), map(on_off, sweep.xla)))
    reductions = " and ".join(f"`{reduction}`" for reduction in sweep.reductions)
    yield (
        f"Computation: {' and '.join(sweep.precisions)}, loop {loops}, XLA {xla}, reduction {reductions} (where there "
        f"is one), {tf32}."
    )
    yield from _utilisation(analysis)
    for column, what in (
        ("max_resident_bytes", "Peak resident memory of a trial, over its processes"),
        ("peak_device_memory_bytes", "Peak memory of the fullest GPU of a trial"),
    ):
        if memory := medians(analysis.points, column):
            yield f"{what}: {span(memory, gibibytes)} (medians)."


def _utilisation(analysis: Analysis) -> Iterator[str]:
    """How busy each strategy kept what it held, and what others took of it."""
    points = (*analysis.points, *analysis.references)
    for column, what in (("cpu_utilisation", "cores"), ("gpu_utilisation", "GPUs")):
        known = [point for point in points if point.median(column) is not None]
        groups = grouped(known, lambda point: point_name(analysis.run, point))
        if groups:
            parts = "; ".join(f"{name} {span(medians(own, column), share)}" for name, own in groups.items())
            yield f"Busy share of the {what} that a trial held, while it trained (medians): {parts}."
    if taken := medians(points, "contention"):
        yield f"Taken of a trial's cores by other processes meanwhile: {span(taken, share)} (medians)."


def _facts(machine: Machine) -> dict[str, str]:
    versions = {name: ", ".join(found) or None for name, found in machine.versions.items()}
    others = ", ".join(machine.others) or None
    known = {**machine.environment, **versions, "num_trials": machine.num_trials, "others": others}
    known["memory_bytes"] = gibibytes(float(known["memory_bytes"] or 0))
    if known["is_commit_clean"] is False:
        known["commit"] = f"{known['commit']} with uncommitted changes"
    return {fact: ABSENT if known[name] is None else escape(str(known[name])) for fact, name in FACTS.items()}
