"""Real trainings in processes of their own: what must not differ between strategies and loops."""

import json
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from tasks.data.preparation import prepare
from tasks.domain.loop import Loop
from tasks.domain.outcome import FailureReason, GradientProbe, InvalidReason, Phase, TrialFailure, TrialResult
from tasks.domain.precision import Precision
from tasks.domain.reduction import Reduction
from tasks.domain.strategy import Strategy
from tasks.results.environment import find_devices
from tasks.training import processes
from tasks.training.launcher import run_trial
from tests.examples import make_trial, needs_two_cores

pytestmark = [
    pytest.mark.tensorflow,
    needs_two_cores,
]
ONE, MIRRORED, WORKERS = Strategy
SHAPES = {
    ONE: {"num_workers": 1, "replicas_per_worker": 1, "reduction": None},
    MIRRORED: {"num_workers": 1, "replicas_per_worker": 2},
    WORKERS: {"num_workers": 2, "replicas_per_worker": 1},
}
STEP = {"loop": Loop.STEP, "steps_per_call": 1, "micro_batch_size": None}
KERAS_FIT = {"loop": Loop.KERAS_FIT, "steps_per_call": 1, "micro_batch_size": None}
CASES = [(strategy, loop) for loop in Loop for strategy in Strategy if (strategy, loop) != (WORKERS, Loop.KERAS_FIT)]
EXACT = 1e-9
"""Share of the update by which two free trainings in float64 may differ; honest ones do by 1e-14, faults by 1e-3."""
LEARNING_RATE = 2.0**-10
"""Exact in float32, in which Keras keeps it."""

Train = Callable[..., TrialResult | TrialFailure]


def largest_differences(own: Sequence[GradientProbe], reference: Sequence[GradientProbe]) -> tuple[float, float]:
    """Relative differences of gradients (L2, by their projections) and of losses, the largest over the steps."""
    pairs = list(zip(own, reference, strict=True))
    gradients = [np.sqrt(np.mean(np.subtract(a.projections, b.projections) ** 2)) / b.gradient_norm for a, b in pairs]
    return max(gradients), max(abs(a.loss_sum / b.loss_sum - 1) for a, b in pairs)


def read_facts(folder: Path) -> dict[str, Any]:
    """How the training that was kept in `folder` was executed (see altered_worker)."""
    facts: dict[str, Any] = json.loads((folder / "facts.json").read_text())
    return facts


@pytest.fixture(scope="module")
def data_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(prepare("mnist", tmp_path_factory.mktemp("data")).directory)


@pytest.fixture(scope="module")
def train(data_directory: Path) -> Train:
    """Trains 1,000 examples, which end in a partial batch of 40 that two replicas share; `fault` is put in first."""

    def run(strategy: Strategy, fault: str = "none", keep: Path | None = None, **changes: object):  # type: ignore
        trial = make_trial(strategy=strategy, **(SHAPES[strategy] | changes))
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("FAULT", fault)
            patch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
            if keep:
                keep.mkdir(exist_ok=True)
                patch.setenv("KEEP", str(keep))
            return run_trial(
                trial,
                devices=find_devices(),
                data_directory=data_directory,
                module="tests.training.altered_worker",
            )

    return run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kept")


@pytest.fixture(scope="module")
def results(train: Train, folder: Path) -> dict[tuple[Strategy, Loop], TrialResult]:
    """Two free epochs of every strategy under every loop, in float64."""
    found = {}
    for strategy, loop in CASES:
        steps = 4 if loop is Loop.FUSED else 1
        outcome = train(
            strategy,
            keep=folder / f"{strategy}-{loop}",
            loop=loop,
            steps_per_call=steps,
            micro_batch_size=32 if loop is Loop.FUSED else None,
            precision=Precision.FLOAT64,
            learning_rate=LEARNING_RATE,
        )
        assert isinstance(outcome, TrialResult), outcome
        found[strategy, loop] = outcome
    return found


def test_every_strategy_passes_its_checks_under_every_loop(results: dict[tuple[Strategy, Loop], TrialResult]) -> None:
    for (_, loop), result in results.items():
        assert (result.invalid_reason, result.message) == (None, None)
        assert [epoch.num_examples for epoch in result.epochs] == [1000, 1000]
        assert sum(window.num_examples for window in result.windows) == 2000
        assert sum(window.num_steps for window in result.windows) == 2 * 16
        assert len(result.windows) == 2 * {Loop.FUSED: 4, Loop.STEP: 16, Loop.KERAS_FIT: 1}[loop]
        assert result.num_parameters == 121_930
        assert result.is_pinned is hasattr(os, "sched_setaffinity")
        assert set(result.phase_seconds) == set(Phase)


def test_two_free_epochs_in_float64_end_in_the_same_weights(
    results: dict[tuple[Strategy, Loop], TrialResult], folder: Path
) -> None:
    """Strategies under one loop; Keras's Adam rounds its constants to float32, so that loops drift apart by more."""
    start, _ = np.load(folder / f"{ONE}-{Loop.FUSED}" / "weights.npy")
    for strategy, loop in CASES:
        _, end = np.load(folder / f"{ONE}-{loop}" / "weights.npy")
        first, last = np.load(folder / f"{strategy}-{loop}" / "weights.npy")
        assert np.array_equal(first, start), (strategy, loop)
        assert np.linalg.norm(last - end) < EXACT * np.linalg.norm(end - start), (strategy, loop)


def test_nothing_is_executed_otherwise_than_asked(
    results: dict[tuple[Strategy, Loop], TrialResult], folder: Path
) -> None:
    facts = {case: read_facts(folder / "-".join(case)) for case in results}
    for case, found in facts.items():
        assert (found["is_xla_compiled"], found["not_needed"]) == (False, []), case
    assert facts[MIRRORED, Loop.STEP]["reducers"] == ["CollectiveAllReduce"]
    assert facts[WORKERS, Loop.FUSED]["communication"] == ["auto"]
    assert facts[ONE, Loop.KERAS_FIT]["steps_per_execution"] == 1


def test_gradients_before_training_agree(results: dict[tuple[Strategy, Loop], TrialResult]) -> None:
    reference = results[ONE, Loop.FUSED].gradients
    assert [(probe.step, probe.num_examples) for probe in reference] == [*((s, 64) for s in range(1, 16)), (16, 40)]
    for result in results.values():
        assert max(largest_differences(result.gradients, reference)) < EXACT


@pytest.mark.parametrize(
    ("fault", "reason", "loop"),
    [
        ("partial_batch_dropped", InvalidReason.EXAMPLES_NOT_CONSERVED, {}),
        ("same_shard", InvalidReason.ORDER_NOT_AS_PLANNED, {}),
        ("weights_not_synchronised", InvalidReason.WEIGHTS_DISAGREE, {}),
        ("pause", InvalidReason.LEDGER_GAP, {}),
        ("another_order", InvalidReason.ORDER_NOT_AS_PLANNED, {}),
        ("pipeline_not_sharded", InvalidReason.EXAMPLES_NOT_CONSERVED, STEP),
    ],
)
def test_a_fault_is_invalid_under_its_own_name(
    train: Train, fault: str, reason: InvalidReason, loop: dict[str, object]
) -> None:
    outcome = train(WORKERS, fault, num_epochs=1, **loop)
    assert isinstance(outcome, TrialResult), outcome
    assert outcome.invalid_reason is reason


@pytest.mark.parametrize("fault", ["mean_of_each_replica", "partial_batch_scaled_as_full", "another_seed"])
def test_a_fault_that_counts_cannot_see_is_seen_in_the_gradients(
    train: Train, results: dict[tuple[Strategy, Loop], TrialResult], fault: str
) -> None:
    """The honest trial differs by rounding, the smallest of these faults by a third of the last step's gradient."""
    outcome = train(MIRRORED, fault, num_epochs=1, precision=Precision.FLOAT64)
    assert isinstance(outcome, TrialResult), outcome
    assert outcome.invalid_reason is None
    gradient, _ = largest_differences(outcome.gradients, results[ONE, Loop.FUSED].gradients)
    assert gradient > 0.1


@pytest.mark.parametrize(
    ("strategy", "changes", "fact"),
    [
        (MIRRORED, {"is_xla_enabled": True}, ("is_xla_compiled", True)),
        (MIRRORED, STEP | {"reduction": Reduction.HIERARCHICAL_COPY}, ("reducers", ["HierarchicalCopyAllReduce"])),
        (MIRRORED, STEP | {"reduction": Reduction.ONE_DEVICE}, ("reducers", ["ReductionToOneDevice"])),
        (WORKERS, {"reduction": Reduction.RING}, ("communication", ["ring"])),
        (ONE, KERAS_FIT | {"steps_per_call": 8}, ("steps_per_execution", 8)),
    ],
)
def test_other_ways_to_execute_compute_the_same_gradients(
    train: Train,
    results: dict[tuple[Strategy, Loop], TrialResult],
    tmp_path: Path,
    strategy: Strategy,
    changes: dict[str, object],
    fact: tuple[str, object],
) -> None:
    """Reductions under the step loop: on CPUs TensorFlow adds up the fused loop's vector on one device, always."""
    outcome = train(strategy, keep=tmp_path, num_epochs=1, precision=Precision.FLOAT64, **changes)
    assert isinstance(outcome, TrialResult), outcome
    assert (outcome.invalid_reason, outcome.message) == (None, None)
    assert max(largest_differences(outcome.gradients, results[ONE, Loop.FUSED].gradients)) < EXACT
    assert fact in read_facts(tmp_path).items()


@pytest.mark.parametrize("loop", [STEP, KERAS_FIT])
def test_xla_compiles_keras_too(train: Train, tmp_path: Path, loop: dict[str, object]) -> None:
    outcome = train(ONE, keep=tmp_path, num_epochs=1, num_train_examples=128, is_xla_enabled=True, **loop)
    assert isinstance(outcome, TrialResult), outcome
    assert read_facts(tmp_path)["is_xla_compiled"]


@pytest.mark.parametrize("loop", [{}, STEP])
def test_bfloat16_rounds_the_gradients_visibly_and_not_wildly(train: Train, loop: dict[str, object]) -> None:
    """Gradients in bfloat16 differ from those in float32 by .07, those of two loops in float32 by 1e-6."""
    exact, rounded = (
        train(ONE, num_epochs=1, precision=precision, **loop)
        for precision in (Precision.FLOAT32, Precision.MIXED_BFLOAT16)
    )
    assert isinstance(exact, TrialResult), exact
    assert isinstance(rounded, TrialResult), rounded
    gradient, _ = largest_differences(rounded.gradients, exact.gradients)
    assert 1e-3 < gradient < 0.25


def test_a_loss_that_explodes_ends_the_trial_at_its_window(train: Train) -> None:
    outcome = train(ONE, learning_rate=1e38, num_epochs=3)
    assert isinstance(outcome, TrialResult), outcome
    assert outcome.invalid_reason is InvalidReason.LOSS_NOT_FINITE
    # infinite or not a number: that depends on the instructions that the CPU offers
    assert re.fullmatch(r"the training loss is (inf|nan) in epoch 1, steps 1 to 4", outcome.message)


def test_a_prepared_process_trains_one_trial_at_its_place(data_directory: Path) -> None:
    processes.prepare(2)
    prepared = [process.pid for process in processes._waiting]
    outcome = run_trial(make_trial(num_epochs=1), devices=find_devices(), data_directory=data_directory)
    assert isinstance(outcome, TrialResult), outcome
    assert (outcome.invalid_reason, outcome.is_pinned) == (None, True)
    assert outcome.phase_seconds["import"] < outcome.phase_seconds["process_start"]
    assert [process.pid for process in processes._waiting] == prepared[:1]
    processes.discard()
    assert processes._waiting == []
    assert not any(psutil.pid_exists(pid) for pid in prepared)


def test_missing_data_are_a_failure_that_names_the_phase(tmp_path: Path) -> None:
    trial = make_trial(strategy=ONE, **SHAPES[ONE])
    outcome = run_trial(trial, devices=find_devices(), data_directory=tmp_path)
    assert isinstance(outcome, TrialFailure)
    assert (outcome.reason, outcome.phase) == (FailureReason.WORKER_ERROR, "data")
    assert "train.parquet" in outcome.message
