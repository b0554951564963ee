"""The order of training examples: the same for every strategy, known before training."""

import numpy as np
from numpy.typing import NDArray

MULTIPLIER = 2654435761
"""Knuth's multiplicative hash (The Art of Computer Programming, volume 3, section 6.4)."""


def example_order(seed: int, epoch: int, num_examples: int) -> NDArray[np.int32]:
    """Example ids [num_examples] in the order of epoch `epoch` (from 1): a permutation, pure in its arguments."""
    return np.random.Generator(np.random.PCG64([seed, epoch])).permutation(num_examples).astype(np.int32)


def id_hashes(num_examples: int) -> NDArray[np.int64]:
    """A 32-bit number for each example id [num_examples]; sums of them tell sets of ids apart."""
    return ((np.arange(1, num_examples + 1, dtype=np.uint64) * MULTIPLIER) % 2**32).astype(np.int64)


def order_checksum(order: NDArray[np.int32], global_batch_size: int) -> int:
    """Sum over steps s (from 1) of s x the sum of the step's id hashes, modulo 2^64.

    It does not depend on how the replicas share a step, but on which ids each step trained.
    """
    steps = np.arange(len(order), dtype=np.uint64) // global_batch_size + 1
    with np.errstate(over="ignore"):
        return int((steps * id_hashes(len(order))[order].astype(np.uint64)).sum(dtype=np.uint64))
