"""Preparation as a Prefect task."""

from pathlib import Path

from prefect import task
from prefect.logging import get_run_logger

from tasks.data.preparation import prepare
from tasks.domain.dataset import PreparedDataset


@task(name="prepare dataset", task_run_name="prepare {source}", persist_result=False)
def prepare_dataset(source: str, cache: str) -> PreparedDataset:
    """The dataset `source`, verified and ready to read under the folder `cache`; see `preparation.prepare`."""
    prepared = prepare(source, Path(cache))
    get_run_logger().info(describe(prepared))
    return prepared


def describe(prepared: PreparedDataset) -> str:
    """One line for the log: what was found, its digest, its counts, where it lies."""
    return (
        f"{prepared.source}: {prepared.num_train_examples:,} training and {prepared.num_test_examples:,} test "
        f"images of {' x '.join(str(size) for size in prepared.image_shape)} in {prepared.num_classes} classes, "
        f"SHA-256 {prepared.digest}, ready in {prepared.directory}"
    )
