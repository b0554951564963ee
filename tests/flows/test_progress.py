from flows.progress import describe


def test_time_left_counts_only_what_was_timed() -> None:
    assert describe(3, 9, 3, 180.0) == "3 of at least 9 trials, about 6 min left"
    assert describe(6, 9, 3, 180.0) == "6 of at least 9 trials, about 3 min left"
    assert describe(6, 9, 0, 5.0) == "6 of at least 9 trials"
    assert describe(9, 9, 9, 540.0) == "9 of at least 9 trials"
