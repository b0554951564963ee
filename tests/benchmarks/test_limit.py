"""The limit's arithmetic: derived by hand, and counted by TensorFlow."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.__main__ import table
from benchmarks.arms import ARMS
from benchmarks.limit_shapes import AS_COMPUTED, AS_WRITTEN

COUNT = """
import tensorflow as tf
from benchmarks.limit import products
from benchmarks.limit_shapes import AS_COMPUTED, AS_WRITTEN
for shapes in (AS_WRITTEN, AS_COMPUTED):
    with tf.Graph().as_default() as graph:
        products(shapes, 10)()
        options = tf.compat.v1.profiler.ProfileOptionBuilder.float_operation() | {"output": "none"}
        nodes = tf.compat.v1.profiler.profile(graph, options=options).children
    kinds = ("Conv2D", "MatMul")
    print(sum(n.total_float_ops for n in nodes if graph.get_operation_by_name(n.name).type in kinds) / 10)
"""


def test_operations_as_written_are_those_of_the_layers() -> None:
    forward = 2 * (26 * 26 * 9 * 32 + 11 * 11 * 9 * 32 * 64 + 1600 * 64 + 64 * 10)
    first = 2 * 26 * 26 * 9 * 32
    assert AS_WRITTEN.flops() == 3 * forward - first
    assert AS_COMPUTED.flops() / AS_WRITTEN.flops() == pytest.approx(0.835, abs=0.001)


@pytest.mark.tensorflow
def test_tensorflow_counts_the_same() -> None:
    """Forward convolutions and all products; of a gradient TensorFlow counts the margin of the input as well."""
    command = [sys.executable, "-c", COUNT]
    found = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True).stdout
    gradients = [2 * (a * a * 9 * 32 + 2 * b * b * 9 * 32 * 64) for a, b in ((26, 11), (24, 10))]
    derived = [shapes.flops() - more for shapes, more in zip((AS_WRITTEN, AS_COMPUTED), gradients, strict=True)]
    assert [float(line) for line in found.split()] == pytest.approx(derived, rel=1e-3)


def test_table_has_a_row_an_arm_with_medians_of_ratios_inside_a_round() -> None:
    rates = {(arm.name, batch): [[100.0, 50.0], [300.0, 150.0]] for arm in ARMS for batch in (64, 128, 256)}
    rates[ARMS[2].name, 64] = [[50.0], [300.0]]
    rows = [line for line in table(rates, {arm.name: 2**20 for arm in ARMS}).splitlines() if line.startswith("| ")]
    assert len(rows) == 2 + len(ARMS)
    cells = [cell.strip() for cell in rows[4].strip("|").split("|")]
    assert cells[:2] == [ARMS[2].name, "0.75 x (0.50 to 1.00)"]
    assert cells[-3:] == ["75% / 100% / 100%", "150% / 200% / 200%", "1 MiB"]
