"""Small runs on disk, made through the product's own records: no training, no clock, no chance."""

import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.analysis.analysis import Analysis, analyze
from tasks.domain.cell import Arm, Cell, Setting
from tasks.domain.device import DeviceType
from tasks.domain.loop import Loop
from tasks.domain.outcome import (
    Epoch,
    FailureReason,
    GradientProbe,
    InvalidReason,
    Phase,
    StepWindow,
    TrialFailure,
    TrialResult,
)
from tasks.domain.reduction import Reduction
from tasks.domain.strategy import Strategy
from tasks.domain.sweep import Sweep
from tasks.domain.trial import Role, Trial
from tasks.planning.planner import plan_block
from tasks.results import schema
from tasks.results.environment import Environment
from tasks.results.record import Record, build_record
from tasks.results.run import End, Run
from tasks.results.store import RunFolder, Tables
from tests.examples import DATA

Outcome = TrialResult | TrialFailure | None
"""What a trial left behind; None for no record at all."""

ONE, MIRRORED, WORKERS = Strategy.ONE_DEVICE, Strategy.MIRRORED, Strategy.MULTI_WORKER_MIRRORED

SECONDS = {(ONE, 32): 64.0, (ONE, 64): 61.0, (ONE, 128): 59.0, (ONE, 256): 58.0}
SECONDS |= {(MIRRORED, 64): 33.0, (MIRRORED, 128): 32.0, (MIRRORED, 256): 31.0}
SECONDS |= {(WORKERS, 64): 44.0, (WORKERS, 128): 38.0, (WORKERS, 256): 34.0}
"""Seconds that 5 epochs of the example's points take."""
REFERENCE_FACTOR = 0.75
"""How many times as long a training takes on one device of two cores."""

LOOP_FACTORS = {Loop.FUSED: 1.0, Loop.STEP: 1.25, Loop.KERAS_FIT: 2.0}
"""How many times as long a training takes under a loop."""
WINDOW_STEPS = 256
"""Steps of a window, however many the setting asks for: few rows, quick tests."""

FIRST_ACCURACY = {32: 0.9795, 64: 0.978, 128: 0.9735, 256: 0.965}
"""Test accuracy after epoch 1, by batch size."""

ENVIRONMENT = Environment(
    hostname="bench-1",
    machine_fingerprint="0123456789abcdef",
    cpu_model="Example CPU @ 2.60GHz",
    num_physical_cores=2,
    memory_bytes=8 * 2**30,
    gpu_model=None,
    gpu_driver=None,
    operating_system="Linux 6.1",
    stratbench_version="0.1.0",
    commit="0123456789abcdef0123456789abcdef01234567",
    is_commit_clean=True,
)
VERSIONS = {"stratbench": "0.1.0", "python": "3.11.9", "tensorflow": "2.21.0", "keras": "3.15.0", "numpy": "2.4.6"}
STARTED = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)


def grid(num_blocks: int = 1, **fields: Any) -> Sweep:
    """A sweep of exactly so many blocks, all of them whole ones unless `fields` say otherwise."""
    return Sweep(**({"min_blocks": num_blocks, "max_blocks": num_blocks, "num_whole_blocks": None} | fields))


def make_run(sweep: Sweep | None = None, **changes: object) -> Run:
    """A run that came to its end after all its blocks; `changes` replace its fields, `end=None` lets it go on."""
    sweep = sweep or grid()
    most = sweep.max_blocks
    fields: dict[str, object] = {
        "run_name": "full-2026-11-22",
        "command": "stratbench run --seed 1",
        "created_at": STARTED,
        "sweep": sweep,
        "device": DeviceType.CPU_SLICE,
        "dataset_digest": "d" * 64,
        "num_train_examples": min(sweep.max_train_examples or 60_000, 60_000),
        "num_test_examples": 10_000,
        "num_classes": 10,
        "end": End(reason=f"{most} blocks are recorded, the most that were asked for", num_blocks=most),
    }
    return Run(**(fields | changes))  # type: ignore[arg-type]


def cell_of(strategy: Strategy, batch: int, setting: Setting | None = None) -> Cell:
    """A cell with the strategy's own reduction."""
    reduction = None if strategy is ONE else Reduction.AUTO
    return Cell(strategy=strategy, reduction=reduction, global_batch_size=batch, setting=setting or Setting())


def plan_trial(run: Run, cell: Cell, block: int = 1, role: Role = Role.MEASURED) -> Trial:
    """One trial of a block, as the product plans it."""
    return next(trial for trial in _block(run, block) if (trial.cell, trial.role) == (cell, role))


def plan(run: Run) -> list[Trial]:
    """Everything that the run's blocks train, but the discarded trials; of one that goes on, its first `min_blocks`."""
    num_blocks = run.end.num_blocks if run.end else run.sweep.min_blocks
    return [trial for block in range(1, num_blocks + 1) for trial in _block(run, block)[1:]]


@cache
def _block(run: Run, block: int) -> tuple[Trial, ...]:
    """A block as the product plans it, the discarded trial first; the sweep's first blocks are whole."""
    data = replace(DATA, digest=run.dataset_digest, num_train_examples=run.num_train_examples)
    num_whole = run.sweep.num_whole_blocks
    return plan_block(run.sweep, run.device, data, block, num_whole is None or block <= num_whole)


def make_result(
    trial: Trial,
    seconds: float,
    accuracies: tuple[float, ...] | None = None,
    invalid_reason: InvalidReason | None = None,
    window_noise: float = 0.0,
    gradient_error: float = 0.0,
) -> TrialResult:
    """A training whose epochs take equal shares of `seconds`; its windows too, but for `window_noise`.

    One of fewer epochs than there are `accuracies` takes its share of them. Its gradients are those of its seed and
    batch size, but for the relative error `gradient_error`.
    """
    accuracies = accuracies or (0.97,) * trial.num_epochs
    epoch_seconds = seconds / len(accuracies)
    accuracies = accuracies[: trial.num_epochs]
    seconds = epoch_seconds * len(accuracies)
    phases = {Phase.PROCESS_START: 0.1, Phase.IMPORT: 2.5, Phase.RUNTIME: 0.4, Phase.DATA: 0.3, Phase.MODEL: 0.1}
    phases |= {Phase.COMPILE: 1.5, Phase.WARMUP: 0.9, Phase.TRAINING: seconds, Phase.EVALUATION: 3.0}
    phases |= {Phase.TEARDOWN: 0.6}
    return TrialResult(
        trial=trial,
        invalid_reason=invalid_reason,
        message="the check found a difference" if invalid_reason else None,
        epochs=tuple(
            Epoch(
                epoch=number,
                training_seconds=epoch_seconds,
                evaluation_seconds=0.6,
                num_examples=trial.num_train_examples,
                train_loss=0.2 / number,
                train_accuracy=accuracy - 0.01,
                test_loss=0.1 / number,
                test_accuracy=accuracy,
            )
            for number, accuracy in enumerate(accuracies, start=1)
        ),
        windows=tuple(_windows(trial, epoch_seconds, window_noise)),
        gradients=make_probes(trial, gradient_error),
        phase_seconds={str(phase): value for phase, value in phases.items()},
        wall_seconds=sum(phases.values()) + 0.05,
        is_pinned=True,
        num_parameters=121_930,
        order_checksum=trial.seed,
        weights_digest="e" * 64,
        max_resident_bytes=800 * 2**20 * trial.num_workers,
        peak_device_memory_bytes=None,
        reduction_seconds=None if trial.num_replicas == 1 else 0.0009,
        versions=VERSIONS,
    )


def make_probes(trial: Trial, error: float = 0.0) -> tuple[GradientProbe, ...]:
    """Gradients, the same for every trial of a seed and batch size but for a relative L2 difference `error`."""
    chance, probes = random.Random(f"{trial.seed}:{trial.global_batch_size}"), []
    for step in (1, 2):
        norm, projections = 1.5 / step, [chance.gauss() for _ in range(8)]
        scale = (1 + error) * norm / math.sqrt(fmean(value**2 for value in projections))  # the estimate is exact
        probe = GradientProbe(
            step=step,
            num_examples=trial.global_batch_size,
            loss_sum=2.3 * trial.global_batch_size,
            gradient_norm=norm,
            projections=tuple(scale * value for value in projections),
        )
        probes.append(probe)
    return tuple(probes)


def make_failure(trial: Trial, message: str = "rank 1 was ended by SIGKILL") -> TrialFailure:
    """A training whose process was killed."""
    return TrialFailure(
        trial=trial, reason=FailureReason.WORKER_KILLED, message=message, phase=Phase.TRAINING, wall_seconds=12.5
    )


def realistic(trial: Trial) -> TrialResult:
    """A training as on two cores: `SECONDS` by epoch with some noise, accuracy by seed and, a little, by strategy."""
    is_plain = trial.role is Role.MEASURED and trial.arm is Arm.HERE
    name = trial.strategy if is_plain else f"{trial.strategy} {trial.role} {trial.arm}"
    chance = random.Random(f"{name}:{trial.global_batch_size}:{trial.block}")
    seed = random.Random(f"{trial.global_batch_size}:{trial.block}")
    seconds = SECONDS[trial.strategy, trial.global_batch_size] * trial.num_train_examples / 60_000
    seconds *= trial.num_epochs / 5 * (REFERENCE_FACTOR if trial.role is Role.REFERENCE else 1)
    first = FIRST_ACCURACY[trial.global_batch_size] + seed.uniform(-0.001, 0.001) + chance.uniform(-0.0005, 0.0005)
    final = 0.9895 + seed.uniform(-0.0012, 0.0012) + chance.uniform(-0.0004, 0.0004)
    accuracies = [round(final - (final - first) * 0.5**epoch, 4) for epoch in range(trial.num_epochs)]
    if trial.num_epochs > 1:
        accuracies[-1] = round(final, 4)
    seconds *= LOOP_FACTORS[trial.loop] * chance.uniform(0.97, 1.03)
    return make_result(trial, seconds, tuple(accuracies), window_noise=0.04)


def measured_only(outcome_of: Callable[[Trial], Outcome]) -> Callable[[Trial], Outcome]:
    """`outcome_of` for the measured trials, realistic ones for those that others are set against."""
    return lambda trial: outcome_of(trial) if trial.role is Role.MEASURED else realistic(trial)


@measured_only
def degraded(trial: Trial) -> Outcome:
    """In every block one failed, one invalid and one missing trial."""
    if (trial.strategy, trial.global_batch_size) == (MIRRORED, 128):
        return make_failure(trial)
    if (trial.strategy, trial.global_batch_size) == (WORKERS, 256):
        return make_result(trial, 30.0, invalid_reason=InvalidReason.WEIGHTS_DISAGREE)
    if (trial.strategy, trial.global_batch_size) == (WORKERS, 64):
        return None
    return realistic(trial)


def usage_of(trial: Trial) -> dict[str, object]:
    """What was sampled while the trial ran: a machine of its own, the less busy the more replicas wait."""
    busy = {ONE: 0.98, MIRRORED: 0.95, WORKERS: 0.9}[trial.strategy]
    return {
        "cpu_utilisation": busy - 0.001 * (trial.block % 3),
        "foreign_cores": 0.03,
        "contention": 0.01,
        "steal_share": 0.0,
        "load_average": 1.2,
        "max_memory_used_bytes": 3 * 2**30,
    }


def record_of(run: Run, outcome: TrialResult | TrialFailure, number: int = 0, **changes: Any) -> Record:
    """One trial's record, as of the example's machine; `number` minutes after the run's begin."""
    fields: dict[str, Any] = {
        "run_name": run.run_name,
        "environment": ENVIRONMENT,
        "python_version": "3.11.9",
        "started_at": STARTED + timedelta(minutes=number),
        "queue_seconds": None,
        "usage": usage_of(outcome.trial),
    }
    return build_record(outcome, **(fields | changes))


def fill(folder: Path, run: Run, outcome_of: Callable[[Trial], Outcome] = realistic) -> RunFolder:
    """The run on disk with one record for every trial of its blocks that has an outcome."""
    results = RunFolder(folder)
    results.create(run)
    for number, trial in enumerate(plan(run)):
        if outcome := outcome_of(trial):
            assert results.put(record_of(run, outcome, number))
    return results


def read_records(folder: Path, records: Sequence[Record]) -> Tables:
    """The tables of records that were written to `folder` all at once: nothing waits for the disk."""
    (folder / "trials").mkdir(parents=True)
    table = pa.Table.from_pylist(list(records), schema=schema.record_schema())
    pq.write_table(table, folder / "trials" / "all.parquet")
    return RunFolder(folder).read()


def analyze_example(
    folder: Path,
    sweep: Sweep | None = None,
    outcome_of: Callable[[Trial], Outcome] = realistic,
    sampled: Callable[[Trial], Mapping[str, object]] = usage_of,
    **changes: object,
) -> Analysis:
    """The analysis of a run, written to `folder`, whose trials left what `outcome_of` and `sampled` say."""
    run = make_run(sweep, **changes)
    outcomes = [outcome_of(trial) for trial in plan(run)]
    records = [record_of(run, o, number, usage=sampled(o.trial)) for number, o in enumerate(outcomes) if o]
    return analyze(run, read_records(folder, records))


def session(folder: Path, differences: tuple[float, ...], one_seconds: float = 60.0, **fields: Any) -> Analysis:
    """One device, and mirrored that is faster by what `differences` (ln) say, block by block."""

    def outcome(trial: Trial) -> Outcome:
        faster = differences[trial.block - 1] if trial.strategy is MIRRORED else 0.0
        return make_result(trial, one_seconds * math.exp(-faster))

    axes: dict[str, Any] = {"strategies": (ONE, MIRRORED), "global_batch_sizes": (64,), "num_epochs": 2} | fields
    return analyze_example(folder / "run", grid(len(differences), **axes), outcome, run_name=folder.name)


def _windows(trial: Trial, epoch_seconds: float, noise: float) -> Iterator[StepWindow]:
    chance = random.Random(trial.key)
    starts = range(0, trial.steps_per_epoch, WINDOW_STEPS)
    for epoch, start in product(range(1, trial.num_epochs + 1), starts):
        steps = range(start + 1, min(start + WINDOW_STEPS, trial.steps_per_epoch) + 1)
        yield StepWindow(
            epoch=epoch,
            first_step=steps[0],
            num_steps=len(steps),
            num_examples=sum(map(trial.examples_of, steps)),
            seconds=epoch_seconds * len(steps) / trial.steps_per_epoch * (1 + noise * abs(chance.gauss())),
        )
