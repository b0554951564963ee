"""Plain Keras: arrays, `compile`, `fit`, every default; what a tutorial would have one write."""

import time
from pathlib import Path

import keras

from benchmarks.program import read_request, write_seconds
from tasks.data.reading import Split, read_split
from tasks.training.worker.models import build_network

WARM_UP_BATCHES = 4


def main() -> None:
    """Time one epoch over the request's examples, after a short `fit` that compiles."""
    request = read_request()
    trial = request.trial
    images, labels = read_split(Path(request.data_directory), Split.TRAIN, trial.num_train_examples)
    pixels = images.astype("float32") / 255
    num_classes = int(labels.max()) + 1
    model = build_network(trial.model, images.shape[1:], num_classes, trial.precision, trial.seed).layers
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer="adam", loss=loss, metrics=["accuracy"])
    few = WARM_UP_BATCHES * trial.global_batch_size
    model.fit(pixels[:few], labels[:few], batch_size=trial.global_batch_size, verbose=0)
    began = time.perf_counter()
    model.fit(pixels, labels, batch_size=trial.global_batch_size, verbose=0)
    write_seconds(request, [(len(labels), time.perf_counter() - began)])


if __name__ == "__main__":
    main()
