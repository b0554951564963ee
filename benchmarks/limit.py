"""The limit: a training step's convolutions and matrix products and nothing else, all replicas busy."""

import time

import tensorflow as tf

from benchmarks.limit_shapes import AS_COMPUTED, AS_WRITTEN, Shapes
from benchmarks.program import meet, read_request, write_seconds

SECONDS = 1.5
"""Duration of one measurement."""


def products(shapes: Shapes, rows: int) -> tf.types.experimental.GenericFunction:
    """One micro-batch of `rows`: 5 convolutions and 6 matrix products on operands that are there already."""
    normal = tf.random.normal
    images, hidden = normal([rows, shapes.pixels, shapes.pixels, 1]), normal([rows, *[shapes.pooled[0]] * 2, 32])
    outputs = [normal([rows, *[n - 2] * 2, c]) for n, c in ((shapes.pixels, 32), (shapes.pooled[0], 64))]
    kernels = normal([3, 3, 1, 32]), normal([3, 3, 32, 64])
    flat, dense = normal([rows, shapes.pooled[1] ** 2 * 64]), normal([rows, 64])
    weights, logits, head = normal([flat.shape[1], 64]), normal([rows, 10]), normal([64, 10])

    def convolve(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        return tf.nn.conv2d(x, kernel, 1, "VALID")

    def run() -> tf.Tensor:
        results = [convolve(images, kernels[0]), convolve(hidden, kernels[1])]
        for x, kernel, output in ((images, kernels[0], outputs[0]), (hidden, kernels[1], outputs[1])):
            results.append(tf.raw_ops.Conv2DBackpropFilter(
                input=x, filter_sizes=kernel.shape, out_backprop=output, strides=[1] * 4, padding="VALID"
            ))  # fmt: skip
        results.append(tf.raw_ops.Conv2DBackpropInput(
            input_sizes=hidden.shape, filter=kernels[1], out_backprop=outputs[1], strides=[1] * 4, padding="VALID"
        ))  # fmt: skip
        results += [flat @ weights, dense @ head]
        results += [tf.matmul(flat, dense, transpose_a=True), tf.matmul(dense, logits, transpose_a=True)]
        results += [tf.matmul(dense, weights, transpose_b=True), tf.matmul(logits, head, transpose_b=True)]
        return tf.add_n([tf.reshape(result, [-1])[0] for result in results])

    return run


def rate(shapes: Shapes, rows: int) -> tuple[int, float]:
    """Examples and seconds of about `SECONDS` of nothing but products."""
    step = products(shapes, rows)

    @tf.function(autograph=False)
    def many(count: tf.Tensor) -> tf.Tensor:
        def body(i: tf.Tensor, total: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            return i + 1, total + step()

        return tf.while_loop(lambda i, _: i < count, body, (0, tf.constant(0.0)), parallel_iterations=1)[1]

    count = 4
    while True:
        began = time.perf_counter()
        many(tf.constant(count)).numpy()
        if (seconds := time.perf_counter() - began) > SECONDS / 2:
            return count * rows, seconds
        count = max(count * 2, int(count * SECONDS / max(seconds, 1e-3)))


def main() -> None:
    """Measure both shapes with the rows that the fused loop works through at a time."""
    request = read_request()
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.set_visible_devices([], "GPU")
    rows = min(request.trial.micro_batch_size or 64, request.trial.per_replica_batch_size)
    rate(AS_COMPUTED, rows)
    measured = []
    for shapes in (AS_COMPUTED, AS_WRITTEN):
        meet(request)
        measured.append(rate(shapes, rows))
    write_seconds(request, measured)


if __name__ == "__main__":
    main()
