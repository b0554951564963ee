import pytest

from tasks.domain import metrics


def test_throughput_is_a_ratio_of_sums() -> None:
    assert metrics.throughput(300_000, 60.0) == 5000.0


def test_half_the_time_is_twice_as_fast() -> None:
    assert metrics.speedup(60.0, 30.0) == 2.0


@pytest.mark.parametrize(
    ("epochs", "seconds"),
    [
        ([(10.0, 0.97), (11.0, 0.985), (12.0, 0.99)], 21.0),
        ([(10.0, 0.99)], 10.0),
        ([(10.0, 0.97), (11.0, None), (12.0, 0.99)], 33.0),
        ([(10.0, 0.97), (11.0, 0.98)], None),
        ([], None),
    ],
)
def test_time_to_accuracy_ends_with_the_first_epoch_that_reaches_it(
    epochs: list[tuple[float, float | None]], seconds: float | None
) -> None:
    assert metrics.time_to_accuracy(epochs, 0.985) == seconds


def test_cost_counts_every_device_that_is_held() -> None:
    assert metrics.device_seconds(30.0, 2) == 60.0
