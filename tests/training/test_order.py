import numpy as np

from tasks.training.order import example_order, id_hashes, order_checksum


def test_order_is_a_permutation_the_one_of_earlier_releases_and_another_for_each_seed_and_epoch() -> None:
    assert example_order(1, 1, 8).tolist() == [6, 1, 4, 0, 3, 2, 5, 7]
    order = example_order(3, 1, 1000)
    assert sorted(order) == list(range(1000))
    assert not np.array_equal(order, example_order(3, 2, 1000))
    assert not np.array_equal(order, example_order(4, 1, 1000))


def test_checksum_ignores_how_a_step_is_shared_but_not_which_ids_it_trains() -> None:
    order = example_order(1, 1, 100)
    within, across = order.copy(), order.copy()
    within[[0, 1]] = within[[1, 0]]
    across[[0, 99]] = across[[99, 0]]
    assert order_checksum(within, 10) == order_checksum(order, 10)
    assert order_checksum(across, 10) != order_checksum(order, 10)
    assert order_checksum(order, 20) != order_checksum(order, 10)


def test_checksum_by_hand() -> None:
    hashes = id_hashes(4)
    assert hashes.tolist() == [2654435761, 1013904226, 3668339987, 2027808452]
    expected = 1 * (hashes[2] + hashes[0]) + 2 * (hashes[3] + hashes[1])
    assert order_checksum(np.array([2, 0, 3, 1], np.int32), 2) == expected
