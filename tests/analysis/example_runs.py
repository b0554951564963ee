"""Small runs on disk, made through the product's own records: no training, no clock, no chance."""

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.analysis.analysis import Analysis, analyze
from tasks.domain.cell import Cell, Setting
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
from tasks.results import schema
from tasks.results.environment import Environment
from tasks.results.record import Record, build_record
from tasks.results.run import Run
from tasks.results.store import RunFolder, Tables

Outcome = TrialResult | TrialFailure | None
"""What a trial left behind; None for no record at all."""

ONE, MIRRORED, WORKERS = Strategy.ONE_DEVICE, Strategy.MIRRORED, Strategy.MULTI_WORKER_MIRRORED

SECONDS = {
    (ONE, 64): 61.0,
    (ONE, 128): 59.0,
    (ONE, 256): 58.0,
    (MIRRORED, 64): 33.0,
    (MIRRORED, 128): 32.0,
    (MIRRORED, 256): 31.0,
    (WORKERS, 64): 44.0,
    (WORKERS, 128): 38.0,
    (WORKERS, 256): 34.0,
}
"""Training seconds of the example's points."""

LOOP_FACTORS = {Loop.FUSED: 1.0, Loop.STEP: 1.25, Loop.KERAS_FIT: 2.0}
"""How many times as long a training takes under a loop."""
WINDOW_STEPS = 256
"""Steps of a window, however many the setting asks for: few rows, quick tests."""

FIRST_ACCURACY = {64: 0.978, 128: 0.9735, 256: 0.965}
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
STARTED = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)


def make_run(sweep: Sweep | None = None, **changes: object) -> Run:
    """A run's description; `changes` replace its fields."""
    sweep = sweep or Sweep()
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
        "num_planned_trials": len(sweep.cells) * sweep.num_blocks,
    }
    return Run(**(fields | changes))  # type: ignore[arg-type]


def cell_of(strategy: Strategy, batch: int, setting: Setting | None = None) -> Cell:
    """A cell with the strategy's own reduction."""
    reduction = None if strategy is ONE else Reduction.AUTO
    return Cell(strategy=strategy, reduction=reduction, global_batch_size=batch, setting=setting or Setting())


def plan_trial(run: Run, cell: Cell, block: int = 1, role: Role = Role.MEASURED) -> Trial:
    """One trial of the run's grid."""
    replicas, setting = run.sweep.replicas_of(cell.strategy), cell.setting
    num_workers = replicas if cell.strategy is WORKERS else 1
    return Trial(
        strategy=cell.strategy,
        reduction=cell.reduction,
        global_batch_size=cell.global_batch_size,
        num_workers=num_workers,
        replicas_per_worker=replicas // num_workers,
        device=run.device,
        cores_per_replica=run.sweep.cores_per_replica if run.device is DeviceType.CPU_SLICE else None,
        dataset=run.sweep.dataset,
        dataset_digest=run.dataset_digest,
        num_train_examples=run.num_train_examples,
        num_epochs=run.sweep.num_epochs,
        learning_rate=run.sweep.learning_rate,
        seed=run.sweep.seed + block - 1,
        block=block,
        role=role,
        loop=setting.loop,
        precision=setting.precision,
        is_xla_enabled=setting.is_xla_enabled,
        steps_per_call=setting.steps_per_call,
        micro_batch_size=32,
        timeout_seconds=run.sweep.trial_timeout_seconds,
    )


def make_result(
    trial: Trial,
    seconds: float,
    accuracies: tuple[float, ...] | None = None,
    invalid_reason: InvalidReason | None = None,
    window_noise: float = 0.0,
    gradient_error: float = 0.0,
) -> TrialResult:
    """A training whose epochs take equal shares of `seconds`; its windows too, but for `window_noise`.

    Its gradients are those of its seed and batch size, but for the relative error `gradient_error`.
    """
    accuracies = accuracies or (0.97,) * trial.num_epochs
    chance = random.Random(trial.key)
    epoch_seconds = seconds / len(accuracies)
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
        windows=tuple(
            window
            for epoch in range(1, len(accuracies) + 1)
            for window in _windows(trial, epoch, epoch_seconds, window_noise, chance)
        ),
        gradients=make_probes(trial, gradient_error),
        phase_seconds={str(phase): value for phase, value in phases.items()},
        wall_seconds=sum(phases.values()) + 0.05,
        is_pinned=True,
        num_parameters=121_930,
        order_checksum=trial.seed,
        weights_digest="e" * 64,
        max_resident_bytes=800 * 2**20 * trial.num_workers,
        peak_device_memory_bytes=None,
        versions={"python": "3.11.9", "tensorflow": "2.21.0", "keras": "3.15.0", "numpy": "2.4.6"},
    )


def make_probes(trial: Trial, error: float = 0.0, num_steps: int = 2) -> tuple[GradientProbe, ...]:
    """Gradients, the same for every trial of a seed and batch size but for a relative L2 difference `error`."""
    chance = random.Random(f"{trial.seed}:{trial.global_batch_size}")
    probes = []
    for step in range(1, num_steps + 1):
        norm, projections = 1.5 / step, [chance.gauss() for _ in range(8)]
        scale = norm / (sum(value**2 for value in projections) / len(projections)) ** 0.5  # the estimate is exact
        probes.append(
            GradientProbe(
                step=step,
                num_examples=trial.global_batch_size,
                loss_sum=2.3 * trial.global_batch_size,
                gradient_norm=norm,
                projections=tuple((1 + error) * scale * value for value in projections),
            )
        )
    return tuple(probes)


def make_failure(trial: Trial, message: str = "rank 1 was ended by SIGKILL") -> TrialFailure:
    """A training whose process was killed."""
    return TrialFailure(
        trial=trial, reason=FailureReason.WORKER_KILLED, message=message, phase=Phase.TRAINING, wall_seconds=12.5
    )


def realistic(trial: Trial) -> TrialResult:
    """A training as on two cores: `SECONDS` with some noise, accuracy by seed and, a little, by strategy."""
    chance = random.Random(f"{trial.strategy}:{trial.global_batch_size}:{trial.block}")
    seed = random.Random(f"{trial.global_batch_size}:{trial.block}")
    seconds = SECONDS[trial.strategy, trial.global_batch_size] * trial.num_train_examples / 60_000
    first = FIRST_ACCURACY[trial.global_batch_size] + seed.uniform(-0.001, 0.001) + chance.uniform(-0.0005, 0.0005)
    final = 0.9895 + seed.uniform(-0.0012, 0.0012) + chance.uniform(-0.0004, 0.0004)
    accuracies = tuple(round(final - (final - first) * 0.5**epoch, 4) for epoch in range(trial.num_epochs - 1))
    seconds *= LOOP_FACTORS[trial.loop] * chance.uniform(0.97, 1.03)
    return make_result(trial, seconds, (*accuracies, round(final, 4)), window_noise=0.04)


def plan(run: Run) -> list[Trial]:
    """The run's grid, block by block."""
    grid = product(range(1, run.sweep.num_blocks + 1), run.sweep.cells)
    return [plan_trial(run, cell, block) for block, cell in grid]


def record_of(run: Run, outcome: TrialResult | TrialFailure, number: int = 0) -> Record:
    """One trial's record, as of the example's machine; `number` minutes after the run's begin."""
    return build_record(
        outcome,
        run_name=run.run_name,
        environment=ENVIRONMENT,
        python_version="3.11.9",
        started_at=STARTED + timedelta(minutes=number),
        queue_seconds=None,
    )


def fill(folder: Path, run: Run, outcome_of: Callable[[Trial], Outcome] = realistic) -> RunFolder:
    """The run on disk with one record for every trial of its grid that has an outcome."""
    results = RunFolder(folder)
    results.create(run)
    for number, trial in enumerate(plan(run)):
        if outcome := outcome_of(trial):
            assert results.put(record_of(run, outcome, number))
    return results


def read_example(folder: Path, run: Run, outcome_of: Callable[[Trial], Outcome] = realistic) -> Tables:
    """The tables of a run whose records were written to `folder` all at once: nothing waits for the disk."""
    outcomes = [outcome_of(trial) for trial in plan(run)]
    records = [record_of(run, outcome, number) for number, outcome in enumerate(outcomes) if outcome]
    (folder / "trials").mkdir(parents=True)
    table = pa.Table.from_pylist(records, schema=schema.record_schema())
    pq.write_table(table, folder / "trials" / "all.parquet")
    return RunFolder(folder).read()


def analyze_example(
    folder: Path, sweep: Sweep | None = None, outcome_of: Callable[[Trial], Outcome] = realistic, **changes: object
) -> Analysis:
    """The analysis of a run that was written to `folder`."""
    run = make_run(sweep, **changes)
    return analyze(run, read_example(folder, run, outcome_of))


def _windows(trial: Trial, epoch: int, epoch_seconds: float, noise: float, chance: random.Random) -> list[StepWindow]:
    windows = []
    for start in range(0, trial.steps_per_epoch, WINDOW_STEPS):
        steps = min(WINDOW_STEPS, trial.steps_per_epoch - start)
        examples = min(steps * trial.global_batch_size, trial.num_train_examples - start * trial.global_batch_size)
        factor = 1 + noise * abs(chance.gauss()) if noise else 1.0
        seconds = epoch_seconds * steps / trial.steps_per_epoch * factor
        windows.append(
            StepWindow(epoch=epoch, first_step=start + 1, num_steps=steps, num_examples=examples, seconds=seconds)
        )
    return windows
