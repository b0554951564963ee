"""Loops: the same cell under the sweep's first loop and under each other one, compared inside the same blocks."""

from dataclasses import dataclass, replace

from tasks.analysis.frames import Frames, values_at
from tasks.analysis.summary import Summary, summarize
from tasks.domain.cell import Cell
from tasks.domain.loop import Loop
from tasks.domain.sweep import Sweep


@dataclass(frozen=True, kw_only=True, slots=True)
class LoopEffect:
    """What another loop does to one cell of the first setting; each summary has one value a block."""

    cell: Cell
    other: Cell
    """The same under the other loop."""
    ratios: Summary | None
    """How many times as fast `cell` trained as `other`, by seconds an epoch; null without a common block."""
    speedups: Summary | None
    """Of `cell` against one device under its loop, in the blocks in which `other` has one too; null without any."""
    other_speedups: Summary | None
    """Of `other` against one device under its own loop, in the same blocks."""
    quotients: Summary | None
    """The first speed-up / the second: what of a verdict on the strategy is the loop's doing."""

    @property
    def is_turned(self) -> bool:
        """Whether the medians lie on different sides of one device's speed; described, not decided."""
        if self.speedups is None or self.other_speedups is None:
            return False
        return (self.speedups.median - 1) * (self.other_speedups.median - 1) < 0


def build_loop_effects(sweep: Sweep, frames: Frames) -> tuple[LoopEffect, ...]:
    """By other loop, then as the cells; a cell that the other loop cannot train has none."""
    first = [cell for cell in sweep.cells if cell.setting == sweep.setting]
    return tuple(
        _effect(frames, cell, other)
        for loop in sweep.loops
        if loop is not first[0].setting.loop
        for cell in first
        if (other := _counterpart(sweep, cell, loop))
    )


def _counterpart(sweep: Sweep, cell: Cell, loop: Loop) -> Cell | None:
    """The first cell that differs in the loop alone, and in the steps of a call that go with it."""

    def differs_in_loop(other: Cell) -> bool:
        setting = replace(cell.setting, loop=loop, steps_per_call=other.setting.steps_per_call)
        return other == replace(cell, setting=setting)

    return next(filter(differs_in_loop, sweep.cells), None)


def _effect(frames: Frames, cell: Cell, other: Cell) -> LoopEffect:
    own, others = (values_at(frames.valid, c, "seconds_per_epoch") for c in (cell, other))
    speedups, other_speedups = (values_at(frames.valid, c, "speedup").dropna() for c in (cell, other))
    speedups, other_speedups = speedups.align(other_speedups, join="inner")
    return LoopEffect(
        cell=cell,
        other=other,
        ratios=summarize(others / own),
        speedups=summarize(speedups),
        other_speedups=summarize(other_speedups),
        quotients=summarize(speedups / other_speedups),
    )
