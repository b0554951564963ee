"""What a trial leaves behind: a result, or a failure that is just as much a record."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from tasks.domain.trial import Trial


class Status(StrEnum):
    """Whether a trial's numbers may be used."""

    VALID = "valid"
    """The training ended and every check held."""
    INVALID = "invalid"
    """The training ended, or was ended, with a check that did not hold; it enters no average."""
    FAILED = "failed"
    """The training did not end."""


class Rule(StrEnum):
    """A rule by its code, with what it means when it is broken; reports show both."""

    doc: str

    def __new__(cls, code: str, doc: str) -> Self:
        """The rule `code`, explained by `doc`."""
        rule = str.__new__(cls, code)
        rule._value_, rule.doc = code, doc
        return rule


class InvalidReason(Rule):
    """The check that a finished training broke."""

    LOSS_NOT_FINITE = "loss_not_finite", "A training loss was NaN or infinite; the trial ended at that window."
    ACCURACY_MISSING = "accuracy_missing", "An epoch has no finite test accuracy."
    ACCURACY_OUTSIDE_BAND = (
        "accuracy_outside_band",
        "The final test accuracy lies outside the reference band of this dataset, model and number of epochs.",
    )
    REPLICAS_NOT_AS_ASKED = "replicas_not_as_asked", "`num_replicas_in_sync` differs from the trial's `num_replicas`."
    EXAMPLES_NOT_CONSERVED = (
        "examples_not_conserved",
        "The replicas together did not see every training example exactly once an epoch.",
    )
    ORDER_NOT_AS_PLANNED = (
        "order_not_as_planned",
        "Some step did not train the examples that the seed plans for it.",
    )
    WEIGHTS_DISAGREE = "weights_disagree", "The replicas' final weights are not equal bit for bit."
    GRADIENTS_DISAGREE = (
        "gradients_disagree",
        "At the initial weights, a gradient or loss differs from that of the block's one-device trial.",
    )
    LEDGER_GAP = "ledger_gap", "Over 1 % of the wall time belongs to no phase."
    FOREIGN_LOAD = "foreign_load", "Twice, other processes took more of the trial's cores than the limit allows."
    STEAL_TIME = "steal_time", "Twice, the hypervisor gave more of the cores' time away than the limit allows."
    GPU_THROTTLED = "gpu_throttled", "Twice, a GPU slowed its clocks for heat or power."
    GPU_SHARED = "gpu_shared", "Twice, other processes computed on the trial's GPUs."


class FailureReason(Rule):
    """Why a training did not end."""

    TIMEOUT = "timeout", "The trial's deadline passed."
    WORKER_KILLED = "worker_killed", "A training process was ended by a signal."
    WORKER_STOPPED = "worker_stopped", "A training process was stopped, by SIGSTOP or a debugger, and did not go on."
    WORKER_ERROR = "worker_error", "A training process ended with an error of its own."
    DEVICES_MISSING = "devices_missing", "The machine does not have the devices that the trial needs."
    DATA_MISMATCH = "data_mismatch", "The data prepared on this machine are not the ones that were planned."
    HOST_LOST = "host_lost", "A machine that the trial needs was lost, or the connection to it."
    CANCELLED = "cancelled", "Somebody stopped the trial."
    RUN_LOST = "run_lost", "The trial's flow run ended without leaving a record."


@dataclass(frozen=True, kw_only=True, slots=True)
class StepWindow:
    """Consecutive optimizer steps between two readings of the clock."""

    epoch: int
    """From 1."""
    first_step: int
    """Number of the window's first step within the epoch, from 1."""
    num_steps: int
    num_examples: int
    """Examples of all replicas."""
    seconds: float
    """On the slowest worker's clock."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GradientProbe:
    """The reduced gradient of one step of epoch 1 at the initial weights, before any update."""

    step: int
    """From 1."""
    num_examples: int
    """Examples of all replicas."""
    loss_sum: float
    """Cross-entropy, summed over the examples of all replicas."""
    gradient_norm: float
    """L2 norm of the gradient of the mean loss."""
    projections: tuple[float, ...]
    """Products of that gradient with random vectors of independent standard normal numbers, the same in every trial."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Epoch:
    """One pass over the training examples and the evaluation after it."""

    epoch: int
    """From 1."""
    training_seconds: float
    """On the slowest worker's clock, evaluation excluded."""
    evaluation_seconds: float
    num_examples: int
    """Training examples that all replicas saw."""
    train_loss: float | None
    """Mean cross-entropy over the epoch's examples, as trained (the weights move meanwhile)."""
    train_accuracy: float | None
    test_loss: float | None
    test_accuracy: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Training:
    """What a training leaves behind: of one worker in its own outcome, of all of them in the trial's result."""

    invalid_reason: InvalidReason | None
    """A check that broke."""
    message: str | None
    """What the broken check found; null where none broke."""
    epochs: tuple[Epoch, ...]
    """Losses and accuracies are over all replicas in a worker's outcome too; seconds and `num_examples` are its own."""
    windows: tuple[StepWindow, ...]
    gradients: tuple[GradientProbe, ...]
    """Reduced over all replicas before training, to be compared with those of the block's one-device trial."""
    phase_seconds: dict[str, float]
    """The ledger: seconds by `Phase`; of the chief in a result, summing to nearly `wall_seconds`."""
    is_pinned: bool
    """Whether the processes were bound to their cores."""
    num_parameters: int
    order_checksum: int
    """Checksum over the example ids of all steps of all epochs, as trained, modulo 2^64."""
    max_resident_bytes: int
    """Peak resident memory, in a result summed over the workers."""
    peak_device_memory_bytes: int | None
    """Peak of the fullest GPU; null without one."""
    reduction_seconds: float | None = None
    """Of one reduction of the gradients alone, timed after the training, in a result on the slowest worker's clock;
    null with one replica."""
    slowdown: float | None = None
    """Share by which every window was slowed on purpose; null in every honest trial."""
    versions: dict[str, str]
    """Versions that the training process imported: stratbench, python, tensorflow, keras, numpy."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialResult(Training):
    """A training that ended, or was ended by a check (`invalid_reason`)."""

    trial: Trial
    wall_seconds: float
    """Launch to exit of the last process, on the parent's clock."""
    weights_digest: str
    """SHA-256 of the final weights."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialFailure:
    """A training that did not end."""

    trial: Trial
    reason: FailureReason
    message: str
    """One sentence; names the rank and how it was lost where a process died."""
    phase: str | None
    """The `Phase` in which it died; null if no process started."""
    wall_seconds: float
    """Launch to exit of the last process; 0 if none started."""


class Phase(StrEnum):
    """Where a trial's wall time goes, in order."""

    PROCESS_START = "process_start"
    """From launch to the first line of our code in the chief, or to the end of the import that began before."""
    IMPORT = "import"
    """Importing TensorFlow and Keras."""
    RUNTIME = "runtime"
    """Threads, devices and the strategy; for several workers, until they have met."""
    DATA = "data"
    """Reading the prepared examples onto the device."""
    MODEL = "model"
    """Building the model and its initial weights."""
    COMPILE = "compile"
    """The first call of the training step, which traces and compiles it."""
    WARMUP = "warmup"
    """Steps at the initial weights: they probe the gradients, and training starts at full speed."""
    TRAINING = "training"
    """Optimizer steps."""
    EVALUATION = "evaluation"
    """Test loss and accuracy after every epoch; the first one traces itself."""
    TEARDOWN = "teardown"
    """Final checks, timing the reduction alone, writing the outcome, and the end of all processes."""
