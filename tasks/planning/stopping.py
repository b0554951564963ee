"""Stopping: whether another block is worth its time, and whether it trains every epoch."""

from dataclasses import dataclass

from tasks.domain.sweep import Sweep


@dataclass(frozen=True, slots=True)
class Finished:
    """Nothing is left to run."""

    reason: str
    """Why, in a few words for people."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Clock:
    """What a time budget is judged by, in seconds."""

    left: float
    """Of the budget."""
    whole_block: float
    """Expected for a block that trains every epoch."""
    short_block: float
    """Expected for a block that trains `short_epochs`."""


def next_block(
    sweep: Sweep, *, num_blocks: int, num_whole: int, half_width: float | None, clock: Clock | None = None
) -> bool | Finished:
    """Whether the next block is a whole one; or why there is none.

    `num_blocks` are complete, `num_whole` of them trained every epoch. `half_width` is that of the widest declared
    pair as a share (None: not known yet): the rule looks at the width of the intervals and never at a p value, which
    would stop at the luckiest moment. Without a `clock` there is no budget. Within a budget a whole block is run only
    where short ones up to `min_blocks` fit behind it.
    """
    if num_blocks >= sweep.max_blocks:
        return Finished(f"{num_blocks} blocks are recorded, the most that were asked for")
    is_whole = sweep.num_whole_blocks is None or num_whole < sweep.num_whole_blocks
    if clock and num_blocks and sweep.num_whole_blocks is not None:
        behind = max(0, sweep.min_blocks - num_blocks - 1) * clock.short_block
        is_whole = is_whole and clock.whole_block + behind <= clock.left
    is_enough = num_blocks >= sweep.min_blocks and (sweep.num_whole_blocks is None or not is_whole)
    if is_enough and half_width is not None and half_width <= sweep.half_width:
        return Finished(
            f"the widest pair's half-width is {100 * half_width:.3g} %, {100 * sweep.half_width:.3g} % were wanted"
        )
    if clock is None or num_blocks == 0:
        return is_whole
    if (clock.whole_block if is_whole else clock.short_block) > clock.left:
        return Finished(f"the time budget is used up after {num_blocks} blocks")
    return is_whole
