"""The tables of results: every column once, with its type, unit, meaning and nullability."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

VERSION = 4
"""Version of the tables; every change is listed in CHANGELOG.md."""
READABLE = (3, VERSION)
"""Versions that `upgrade` understands."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table."""

    name: str
    type: pa.DataType
    doc: str
    unit: str | None = None
    is_nullable: bool = False


STRING, INTEGER, FLOAT, BOOLEAN = pa.string(), pa.int64(), pa.float64(), pa.bool_()

TRIALS = (
    Column("trial_key", STRING, "Content of the trial's configuration, 16 hexadecimal digits"),
    Column("run_name", STRING, "Run that the trial belongs to"),
    Column("block", INTEGER, "Pass over the grid, from 1"),
    Column(
        "role", STRING, "`measured`, `baseline`, `reference`, `discarded`, or `again` for the second look of a night"
    ),
    Column("arm", STRING, "`here`, or `other` for the interpreter of `stratbench versus`"),
    Column("strategy", STRING, "Distribution strategy, under TensorFlow's name"),
    Column("global_batch_size", INTEGER, "Examples per optimizer step over all replicas", "examples"),
    Column("per_replica_batch_size", INTEGER, "Examples per optimizer step on each replica", "examples"),
    Column("num_hosts", INTEGER, "Machines over which the workers are spread"),
    Column("num_workers", INTEGER, "TensorFlow processes"),
    Column("replicas_per_worker", INTEGER, "Copies of the model in each process"),
    Column("num_replicas", INTEGER, "Copies of the model over all workers"),
    Column("device", STRING, "What one replica trains on: `cpu_slice` or `gpu`"),
    Column("cores_per_replica", INTEGER, "Width of a CPU slice; null on a GPU", "physical cores", True),
    Column("is_pinned", BOOLEAN, "Processes were bound to their cores; null if not known", None, True),
    Column("loop", STRING, "How the steps are driven"),
    Column("precision", STRING, "Type in which the model computes"),
    Column("is_tf32_enabled", BOOLEAN, "TensorFloat-32 in float32 products; affects GPUs only"),
    Column("is_xla_enabled", BOOLEAN, "XLA compiled each replica's computation"),
    Column("reduction", STRING, "How replicas add up their gradients; null with one device", None, True),
    Column("steps_per_call", INTEGER, "Optimizer steps in one call of the compiled loop", "steps"),
    Column("micro_batch_size", INTEGER, "Rows that a replica works through at a time; null: all", "examples", True),
    Column("dataset", STRING, "Name or path of the data"),
    Column("dataset_digest", STRING, "SHA-256 of the decoded arrays"),
    Column("num_train_examples", INTEGER, "Training examples of one epoch", "examples"),
    Column("model", STRING, "What is trained"),
    Column("num_parameters", INTEGER, "Trainable weights", None, True),
    Column("learning_rate", FLOAT, "Adam's step size"),
    Column("num_epochs", INTEGER, "Epochs that were asked for", "epochs"),
    Column("seed", INTEGER, "Seed of the initial weights and of the order of examples"),
    Column("timeout_seconds", FLOAT, "Deadline of the trial", "s"),
    Column("status", STRING, "`valid`, `invalid` or `failed`"),
    Column("reason", STRING, "Code of the broken check or of the failure; null if valid", None, True),
    Column("message", STRING, "The same in one sentence", None, True),
    Column("failed_phase", STRING, "Phase in which a failed trial died", None, True),
    Column("training_seconds", FLOAT, "All optimizer steps, evaluation excluded", "s", True),
    Column("examples_per_second", FLOAT, "Training examples of all replicas / training_seconds", "examples/s", True),
    Column("device_seconds", FLOAT, "training_seconds x num_replicas", "s", True),
    Column("test_accuracy", FLOAT, "On all test examples after the last epoch", "share", True),
    Column("test_loss", FLOAT, "Mean cross-entropy on the test examples after the last epoch", "nats", True),
    Column("order_checksum", STRING, "Over the example ids of all steps, as trained", None, True),
    Column("weights_digest", STRING, "SHA-256 of the final weights", None, True),
    Column("max_resident_bytes", INTEGER, "Peak resident memory, summed over the workers", "bytes", True),
    Column("peak_device_memory_bytes", INTEGER, "Peak of the fullest GPU; null without one", "bytes", True),
    Column("reduction_seconds", FLOAT, "One reduction of the gradients alone; null with one replica", "s", True),
    Column("slowdown", FLOAT, "Share by which windows were slowed on purpose; null if not", "share", True),
    Column("num_retries", INTEGER, "How often the trial had failed before; null in records of version 3", None, True),
    Column("num_attempts", INTEGER, "2 where the first attempt was tainted and thrown away"),
    Column("first_taint", STRING, "What tainted the first attempt", None, True),
    Column("cpu_utilisation", FLOAT, "Share of its cores that the trial kept busy while training", "share", True),
    Column("foreign_cores", FLOAT, "Cores that other processes kept busy meanwhile", "cores", True),
    Column("contention", FLOAT, "Share of the trial's cores that others took", "share", True),
    Column("steal_share", FLOAT, "Share of the cores' time that a hypervisor gave away", "share", True),
    Column("load_average", FLOAT, "Load of the machine over 1 minute, at the start", None, True),
    Column("max_memory_used_bytes", INTEGER, "Largest memory in use on the machine", "bytes", True),
    Column("gpu_utilisation", FLOAT, "Share of time in which the trial's GPUs were busy", "share", True),
    Column("gpu_memory_used_bytes", INTEGER, "Largest memory in use on the fullest GPU", "bytes", True),
    Column("gpu_power_watts", FLOAT, "Mean power of the trial's GPUs together", "W", True),
    Column("gpu_clock_mhz", FLOAT, "Mean clock of the trial's GPUs", "MHz", True),
    Column("gpu_throttle_reasons", pa.list_(STRING), "Why a GPU slowed its clocks; null without one", None, True),
    Column("foreign_gpu_processes", INTEGER, "Other processes on the trial's GPUs, at most", None, True),
    Column("started_at", pa.timestamp("ms", tz="UTC"), "Launch of the trial"),
    Column("queue_seconds", FLOAT, "From submission to launch; null without a queue", "s", True),
    Column("wall_seconds", FLOAT, "Launch to exit of the last process", "s"),
    Column("process_start_seconds", FLOAT, "Phase: launch to our first line", "s", True),
    Column(
        "import_seconds",
        FLOAT,
        "Phase: what is left of importing TensorFlow and Keras, done while the trial waits",
        "s",
        True,
    ),
    Column("runtime_seconds", FLOAT, "Phase: threads, devices, strategy, meeting of workers", "s", True),
    Column("data_seconds", FLOAT, "Phase: reading examples onto the device", "s", True),
    Column("model_seconds", FLOAT, "Phase: model and initial weights", "s", True),
    Column("compile_seconds", FLOAT, "Phase: tracing and compiling", "s", True),
    Column("warmup_seconds", FLOAT, "Phase: gradients at the initial weights, before training", "s", True),
    Column("training_phase_seconds", FLOAT, "Phase: optimizer steps on the chief's clock", "s", True),
    Column("evaluation_seconds", FLOAT, "Phase: evaluation after every epoch", "s", True),
    Column("teardown_seconds", FLOAT, "Phase: final checks to the end of all processes", "s", True),
    Column("unexplained_seconds", FLOAT, "wall_seconds that no phase covers", "s", True),
    Column("hostname", STRING, "Machine that trained; of several, the one of rank 0, as all that follows"),
    Column("hostnames", pa.list_(STRING), "Machines that trained, in the order of their ranks"),
    Column("machine_fingerprint", STRING, "Digest of the hardware and its driver"),
    Column("cpu_model", STRING, "CPU of the machine"),
    Column("num_physical_cores", INTEGER, "Physical cores that the trial could use", "cores"),
    Column("memory_bytes", INTEGER, "Memory of the machine", "bytes"),
    Column("gpu_model", STRING, "GPUs of the machine; null without", None, True),
    Column("gpu_driver", STRING, "Driver of the GPUs; null without", None, True),
    Column("operating_system", STRING, "Kernel and release"),
    Column("python_version", STRING, "Python that trained"),
    Column("tensorflow_version", STRING, "TensorFlow that trained; null if it never imported", None, True),
    Column("keras_version", STRING, "Keras that trained; null if it never imported", None, True),
    Column("numpy_version", STRING, "NumPy that trained; null if it never imported", None, True),
    Column("stratbench_version", STRING, "Version of this product"),
    Column("commit", STRING, "Commit of the code that trained; null if not known", None, True),
    Column(
        "is_commit_clean", BOOLEAN, "No uncommitted change of flows/ or tasks/; null outside a checkout", None, True
    ),
)

EPOCHS = (
    Column("trial_key", STRING, "Trial that the epoch belongs to"),
    Column("epoch", INTEGER, "From 1"),
    Column("training_seconds", FLOAT, "Optimizer steps of the epoch, slowest worker's clock", "s"),
    Column("evaluation_seconds", FLOAT, "Evaluation after the epoch", "s"),
    Column("num_examples", INTEGER, "Training examples that all replicas saw", "examples"),
    Column("train_loss", FLOAT, "Mean cross-entropy as trained", "nats", True),
    Column("train_accuracy", FLOAT, "Accuracy as trained", "share", True),
    Column("test_loss", FLOAT, "Mean cross-entropy on the test examples", "nats", True),
    Column("test_accuracy", FLOAT, "On all test examples", "share", True),
)

STEPS = (
    Column("trial_key", STRING, "Trial that the window belongs to"),
    Column("epoch", INTEGER, "From 1"),
    Column("first_step", INTEGER, "First step of the window within the epoch, from 1", "step"),
    Column("num_steps", INTEGER, "Optimizer steps in the window", "steps"),
    Column("num_examples", INTEGER, "Examples of all replicas", "examples"),
    Column("seconds", FLOAT, "Wall time of the window, slowest worker's clock", "s"),
)

GRADIENTS = (
    Column("trial_key", STRING, "Trial that the gradient belongs to"),
    Column("step", INTEGER, "Step within epoch 1, from 1, at the initial weights", "step"),
    Column("num_examples", INTEGER, "Examples of all replicas", "examples"),
    Column("loss_sum", FLOAT, "Cross-entropy summed over those examples", "nats"),
    Column("gradient_norm", FLOAT, "L2 norm of the reduced gradient of the mean loss"),
    Column("projections", pa.list_(FLOAT), "Products of that gradient with fixed random vectors"),
)

TABLES = {"trials": TRIALS, "epochs": EPOCHS, "steps": STEPS, "gradients": GRADIENTS}
"""Every table by its name; a record holds the rows of all but the first as lists."""


def arrow_schema(columns: tuple[Column, ...]) -> pa.Schema:
    """The columns as an Arrow schema; units and meanings travel in the fields' metadata."""
    return pa.schema([_field(column) for column in columns], metadata={"stratbench_schema": str(VERSION)})


def record_schema() -> pa.Schema:
    """Schema of one trial's file: the trial's columns, then the rows of the other tables as lists of structs."""
    schema = arrow_schema(TRIALS)
    for name, columns in list(TABLES.items())[1:]:
        struct = pa.struct([_field(column) for column in columns if column.name != "trial_key"])
        schema = schema.append(pa.field(name, pa.list_(struct), nullable=False))
    return schema


def with_columns(table: pa.Table, columns: Mapping[str, object]) -> pa.Table:
    """The same with other values in those columns, in the order of its rows; None or NaN is null."""
    for name, values in columns.items():
        field = table.schema.field(name)
        column = pa.array(values, field.type, from_pandas=True)
        table = table.set_column(table.schema.get_field_index(name), field, column)
    return table


def repeat(rows: Sequence[Mapping[str, object]], places: Sequence[int], columns: Mapping[str, object]) -> pa.Table:
    """The table `trials` with the row at each of those places, but for whole `columns` of values."""
    declared = arrow_schema(TRIALS)
    table = pa.Table.from_pylist(list(rows), schema=declared).take(pa.array(places))
    return with_columns(table, columns).cast(declared)


def upgrade(table: pa.Table, declared: pa.Schema) -> pa.Table:
    """The table with exactly the `declared` columns, from this version or an earlier one of READABLE.

    Raises ValueError for any other columns.
    """
    if table.schema.equals(declared):
        return table
    earlier = pa.schema([field for field in declared if field.name not in ADDED])
    if not table.schema.equals(earlier):
        raise ValueError("its columns are not those of the schema")
    return pa.table([table[n] if n in earlier.names else ADDED[n](table) for n in declared.names], schema=declared)


ADDED: dict[str, Callable[[pa.Table], pa.Array]] = {
    "num_hosts": lambda table: pa.array([1] * len(table), INTEGER),
    "num_retries": lambda table: pa.nulls(len(table), INTEGER),
    "hostnames": lambda table: pa.array([[name] for name in table["hostname"].to_pylist()], pa.list_(STRING)),
}
"""Columns of `trials` that version 3 did not have, with what they are there."""


def _field(column: Column) -> pa.Field:
    metadata = {"doc": column.doc} | ({"unit": column.unit} if column.unit else {})
    return pa.field(column.name, column.type, nullable=column.is_nullable, metadata=metadata)
