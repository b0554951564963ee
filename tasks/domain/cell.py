"""Cells: the points of the sweep's grid."""

from dataclasses import dataclass
from enum import StrEnum

from tasks.domain.loop import Loop
from tasks.domain.precision import Precision
from tasks.domain.reduction import Reduction
from tasks.domain.strategy import Strategy


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """How steps are executed; strategies are compared where this is the same."""

    loop: Loop = Loop.FUSED
    precision: Precision = Precision.FLOAT32
    is_xla_enabled: bool = False
    """Whether XLA compiles each replica's computation."""
    steps_per_call: int = Loop.FUSED.default_steps_per_call
    """Optimizer steps in one call of the compiled loop."""


class Arm(StrEnum):
    """The environment that trains."""

    HERE = "here"
    """The one that this process runs in."""
    OTHER = "other"
    """That of the interpreter that `Sweep.versus` names."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One point of the grid: what every block trains once."""

    strategy: Strategy
    reduction: Reduction | None
    """Null where there is nothing to reduce."""
    global_batch_size: int
    """Examples per optimizer step over all replicas."""
    setting: Setting = Setting()
    arm: Arm = Arm.HERE

    @property
    def obstacle(self) -> str | None:
        """Why this cannot work on any machine; None where it can."""
        setting = self.setting
        if setting.loop is Loop.KERAS_FIT and self.strategy is Strategy.MULTI_WORKER_MIRRORED:
            return "Keras 3 does not train by fit under MultiWorkerMirroredStrategy"
        if setting.loop is Loop.KERAS_FIT and self.strategy is Strategy.MIRRORED and setting.is_xla_enabled:
            return "Keras does not compile by XLA under MirroredStrategy"
        if setting.loop is Loop.STEP and setting.steps_per_call > 1:
            return "the step loop makes one call a step"
        return None

    @property
    def label(self) -> str:
        """The cell for people, for example `mirrored, batch 128`; what is not the default is stated."""
        setting, default = self.setting, Setting()
        words = [self.strategy if self.reduction in (None, Reduction.AUTO) else f"{self.strategy} ({self.reduction})"]
        words.append(f"batch {self.global_batch_size}")
        words += [setting.loop] if setting.loop is not default.loop else []
        words += [setting.precision] if setting.precision is not default.precision else []
        words += ["XLA"] if setting.is_xla_enabled else []
        if setting.steps_per_call != setting.loop.default_steps_per_call:
            words.append(f"{setting.steps_per_call} steps a call")
        words += [f"{self.arm} environment"] if self.arm is not Arm.HERE else []
        return ", ".join(words)
