"""Provenance: the machine, what failed, and how to repeat the run."""

from tasks.analysis.analysis import Analysis
from tasks.analysis.machines import VERSIONS, Machine
from tasks.domain.device import DeviceType
from tasks.domain.strategy import Strategy
from tasks.reporting.document import Block, Bullets, Code, Section, Table, Text
from tasks.reporting.escaping import escape
from tasks.reporting.labels import devices, devices_in_full, max_replicas
from tasks.reporting.numerals import ABSENT, gibibytes, plural, span
from tasks.results.run import Run


def describe_machine(analysis: Analysis) -> Section:
    """What a device was, and the machines with their software."""
    memory = [point.resident_bytes.median for point in analysis.points if point.resident_bytes]
    sweep = analysis.run.sweep
    notes = [*_device(analysis), f"Computation: {sweep.precision}, loop `{sweep.loop}`, {_tf32(analysis.run)}."]
    if memory:
        notes.append(f"Peak resident memory of a trial, over its processes: {span(memory, gibibytes)} (medians).")
    if device_memory := [point.device_bytes.median for point in analysis.points if point.device_bytes]:
        notes.append(f"Peak memory of the fullest GPU of a trial: {span(device_memory, gibibytes)} (medians).")
    notes.append("Utilisation of the hardware was not measured.")
    blocks: list[Block] = [Bullets(tuple(notes))]
    if analysis.machines:
        blocks.append(_machines(analysis.machines))
    return Section("The machine", tuple(blocks))


def describe_failures(analysis: Analysis) -> Section | None:
    """Every planned trial without a number, with its reason; None where there is none."""
    coverage = analysis.coverage
    if not coverage.problems and not coverage.missing:
        return None
    header = ("strategy", "batch", "devices", "block", "role", "what", "reason", "phase", "message")
    rows = tuple(
        (
            str(problem.strategy),
            f"{problem.global_batch_size}",
            devices(analysis.run, analysis.run.sweep.replicas_of(problem.strategy)),
            f"{problem.block}",
            str(problem.role),
            str(problem.shortfall),
            *(ABSENT if text is None else escape(text) for text in (problem.reason, problem.phase, problem.message)),
        )
        for problem in coverage.problems
    )
    text = f"{plural(coverage.planned - coverage.valid, 'planned trial')} of {coverage.planned} gave no number; "
    text += "none of them enters an average."
    blocks = (Text(text), *((Table(header, rows, num_text_columns=len(header)),) if rows else ()))
    return Section("What failed", blocks, is_in_short=True)


def describe_repetition(run: Run) -> Section:
    """The command and what fixes its result."""
    seeds = span((run.sweep.seed, run.sweep.seed + run.sweep.num_blocks - 1), lambda seed: f"{seed:.0f}")
    facts = (
        f"Run: {escape(run.run_name)}, begun {run.created_at:%Y-%m-%d %H:%M %Z}.",
        f"Seed: {seeds} (block 1 trains with the first; it also shuffles the order of trials).",
        f"Data: {escape(run.sweep.dataset)}, {run.num_train_examples:,} training and {run.num_test_examples:,} test "
        f"examples, SHA-256 {escape(run.dataset_digest)}.",
        f"Schema of the tables: version {run.schema_version}.",
        "Every number here comes from `trials.parquet`, `epochs.parquet` and `steps.parquet` beside this report; with "
        "`environment.json` they rebuild it byte for byte.",
    )
    return Section("How to repeat it", (Code(run.command), Bullets(facts)))


def _device(analysis: Analysis) -> list[str]:
    run = analysis.run
    if run.device is DeviceType.GPU:
        return [f"A device: one whole GPU; the largest trial held {devices_in_full(run)}."]
    cores = run.sweep.cores_per_replica
    notes = [
        f"A device: one CPU slice, a fixed set of {plural(cores, 'physical core')}, not a GPU; the largest trial held "
        f"{devices_in_full(run)}. {_pinning(analysis)}"
    ]
    if Strategy.MIRRORED in run.sweep.strategies and max_replicas(run) > 1:
        notes.append(
            "Mirrored replicas are logical devices of one process and share its thread pool: their slices are pinned "
            "as one set, not each to its own cores."
        )
    return notes


def _pinning(analysis: Analysis) -> str:
    answers = {answer for machine in analysis.machines for answer in machine.is_pinned}
    if answers == {True}:
        return "The processes were pinned to their cores."
    if answers == {False}:
        return "The processes were not pinned: this system has no affinity, so that a slice is a number of threads."
    return "Some processes were pinned to their cores, others were not." if answers else "Pinning is not known."


def _tf32(run: Run) -> str:
    if run.device is DeviceType.CPU_SLICE:
        return f"TF32 {'on' if run.sweep.is_tf32_enabled else 'off'} (affects GPUs only)"
    return f"TF32 {'on' if run.sweep.is_tf32_enabled else 'off'}"


def _machines(machines: tuple[Machine, ...]) -> Table:
    names = [f"machine {number}" for number in range(1, len(machines) + 1)] if len(machines) > 1 else ["value"]
    columns = [_facts(machine) for machine in machines]
    rows = tuple((name, *(column[name] for column in columns)) for name in columns[0])
    return Table(("fact", *names), rows, num_text_columns=1 + len(names))


def _facts(machine: Machine) -> dict[str, str]:
    facts = machine.environment
    commit = ABSENT if facts["commit"] is None else escape(str(facts["commit"]))
    if facts["is_commit_clean"] is False:
        commit += " with uncommitted changes"
    found = {
        "host": _text(facts["hostname"]),
        "CPU": _text(facts["cpu_model"]),
        "physical cores usable": _text(facts["num_physical_cores"]),
        "memory": gibibytes(float(facts["memory_bytes"] or 0)),
        "GPU": _text(facts["gpu_model"]),
        "GPU driver": _text(facts["gpu_driver"]),
        "operating system": _text(facts["operating_system"]),
    }
    for name in VERSIONS:
        found[name.removesuffix("_version")] = escape(", ".join(machine.versions[name])) or ABSENT
    return found | {
        "stratbench": _text(facts["stratbench_version"]),
        "commit": commit,
        "fingerprint": _text(facts["machine_fingerprint"]),
        "trials": f"{machine.num_trials}",
    }


def _text(value: object) -> str:
    return ABSENT if value is None else escape(str(value))
