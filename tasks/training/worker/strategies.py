"""TensorFlow's runtime and the `tf.distribute` strategy of a trial."""

import signal
from typing import Any, assert_never

import tensorflow as tf

from tasks.domain.device import DeviceType
from tasks.domain.reduction import Reduction
from tasks.domain.strategy import Strategy
from tasks.domain.trial import Trial


def configure_runtime(trial: Trial) -> None:
    """Set threads, devices and TF32 before the runtime starts, which fixes them."""
    tf.config.experimental.enable_tensor_float_32_execution(trial.is_tf32_enabled)
    if trial.device is DeviceType.GPU:
        for gpu in tf.config.list_physical_devices("GPU"):
            tf.config.experimental.set_memory_growth(gpu, True)
        return
    tf.config.set_visible_devices([], "GPU")
    num_replicas = trial.replicas_per_worker
    width = trial.cores_per_replica or 1
    # One core a replica: each replica's operations run on their own inter-op thread and need no pool beside it.
    tf.config.threading.set_intra_op_parallelism_threads(1 if width == 1 else width * num_replicas)
    tf.config.threading.set_inter_op_parallelism_threads(num_replicas)
    if num_replicas > 1:
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * num_replicas)


def make_strategy(trial: Trial) -> tf.distribute.Strategy:
    """The strategy over this process's devices; with several workers it returns when they have met."""
    kind = "GPU" if trial.device is DeviceType.GPU else "CPU"
    devices = [f"{kind}:{i}" for i in range(trial.replicas_per_worker)]
    match trial.strategy:
        case Strategy.ONE_DEVICE:
            return tf.distribute.OneDeviceStrategy(devices[0])
        case Strategy.MIRRORED:
            return tf.distribute.MirroredStrategy(devices, cross_device_ops=_cross_device_ops(trial.reduction))
        case Strategy.MULTI_WORKER_MIRRORED:
            options = tf.distribute.experimental.CommunicationOptions(implementation=_implementation(trial.reduction))
            strategy = tf.distribute.MultiWorkerMirroredStrategy(communication_options=options)
            # The strategy installs a handler that swallows SIGTERM.
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            return strategy
        case _:
            assert_never(trial.strategy)


def _cross_device_ops(reduction: Reduction | None) -> tf.distribute.CrossDeviceOps | None:
    """How MirroredStrategy adds up; None: what it chooses by itself."""
    match reduction:
        case Reduction.ONE_DEVICE:
            return tf.distribute.ReductionToOneDevice()
        case Reduction.HIERARCHICAL_COPY:
            return tf.distribute.HierarchicalCopyAllReduce()
        case Reduction.NCCL:
            return tf.distribute.NcclAllReduce()
        case _:
            return None


def _implementation(reduction: Reduction | None) -> Any:
    """How MultiWorkerMirroredStrategy adds up, a `CommunicationImplementation`."""
    return tf.distribute.experimental.CommunicationImplementation((reduction or Reduction.AUTO).upper())


def peak_device_memory_bytes(trial: Trial) -> int | None:
    """Peak bytes in use on the fullest GPU of this process; None without one."""
    if trial.device is not DeviceType.GPU:
        return None
    gpus = tf.config.list_logical_devices("GPU")
    return max(int(tf.config.experimental.get_memory_info(gpu.name.removeprefix("/device:"))["peak"]) for gpu in gpus)
