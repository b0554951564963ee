"""The detector, night by night: what it takes for an alarm, and what it takes for it to end."""

import math

import numpy as np
import pytest

from tasks.detection.detector import (
    BASELINE_NIGHTS,
    MIN_NIGHTS,
    NIGHTS_UNTIL_GONE,
    REMEASURED,
    Bools,
    CellState,
    Detector,
    Floats,
    locate,
    pairs_needed,
)

K = 12
OK, SUSPECT, REGRESSED, IMPROVED = CellState.OK, CellState.SUSPECT, CellState.REGRESSED, CellState.IMPROVED
SLOWER = math.log(1.10)


class Nights:
    """One cell that is measured night after night, with a little noise that is the same in every test."""

    def __init__(self, num_before: int = BASELINE_NIGHTS) -> None:
        self.detector, self.source = Detector(1), np.random.default_rng(1)
        self.num_again = 0
        for _ in range(num_before):
            self.pass_by()

    def pass_by(self, change: float = 0.0, again: float | None = None) -> CellState:
        """The state after a night with that change, and another one when it is measured again."""

        def measure_again(cells: Bools) -> Floats:
            assert cells.tolist() == [True]
            self.num_again += 1
            return self._pairs(change if again is None else again, REMEASURED * K)

        (state,) = self.detector.judge(self._pairs(change, K), measure_again)
        return CellState(state)

    def _pairs(self, change: float, count: int) -> Floats:
        return change + 0.02 * self.source.standard_normal((1, count))


def test_change_that_was_not_measured_again_is_never_taken_for_the_baseline() -> None:
    nights = Nights()
    for _ in range(2 * BASELINE_NIGHTS):
        nights.pass_by(SLOWER, again=math.nan)
        assert nights.detector.is_undecided.tolist() == [True]
        assert nights.detector.change == pytest.approx(SLOWER, abs=0.04)
    assert [nights.pass_by(SLOWER), nights.pass_by(SLOWER)] == [SUSPECT, REGRESSED]


def test_drift_that_was_not_measured_again_is_not_forgotten() -> None:
    nights, changes = Nights(), iter(np.linspace(0, math.log(1.06), 120))
    while not nights.detector.is_undecided.any():
        nights.pass_by(change := next(changes), again=math.nan)
    nights.pass_by(change, again=0.0)
    assert nights.num_again == 2, "it is looked at again in the next night"
    nights.pass_by(0.0)
    assert nights.num_again == 2, "and not once more, for it was not there"


@pytest.mark.parametrize(
    ("changes", "expected", "num_again"),
    [
        pytest.param([SLOWER] * 2, [SUSPECT, REGRESSED], 1, id="slower: suspected at once, told the next night"),
        pytest.param([-SLOWER] * 2, [SUSPECT, IMPROVED], 1, id="faster: the same"),
        pytest.param([(SLOWER, 0.0)], [OK], 1, id="not there when measured again: no suspicion"),
        pytest.param([(SLOWER, -SLOWER)], [OK], 1, id="to the other side when measured again: no suspicion"),
        pytest.param([SLOWER, 0.0, 0.0], [SUSPECT, OK, OK], 1, id="gone the next night: no alarm"),
        pytest.param([math.log(1.04), 0.0], [OK, OK], 0, id="below the margin: not looked at again"),
        pytest.param(
            [SLOWER] * 60, [SUSPECT] + [REGRESSED] * 59, 1, id="red while nobody accepts, known, not remeasured"
        ),
        pytest.param(
            [SLOWER] * 3 + [0.0] * NIGHTS_UNTIL_GONE + [SLOWER] * 2,
            [SUSPECT] + [REGRESSED] * (1 + NIGHTS_UNTIL_GONE) + [OK, SUSPECT, REGRESSED],
            2,
            id="ends after some nights without it, and the old baseline is there",
        ),
        pytest.param(
            [-SLOWER] + [SLOWER] * 2, [SUSPECT, SUSPECT, REGRESSED], 2, id="the other side, after a suspicion"
        ),
        pytest.param(
            [-SLOWER] * 2 + [SLOWER] * 2, [SUSPECT, IMPROVED, SUSPECT, REGRESSED], 2, id="the other side of what stands"
        ),
    ],
)
def test_change_takes_three_looks(
    changes: list[float | tuple[float, float]], expected: list[CellState], num_again: int
) -> None:
    nights = Nights()
    assert [nights.pass_by(*(each if isinstance(each, tuple) else (each,))) for each in changes] == expected
    assert nights.num_again == num_again


def test_change_that_stands_outlasts_a_night_on_the_other_side_that_is_not_there_when_it_is_measured_again() -> None:
    nights = Nights()
    states = [nights.pass_by(*looks) for looks in ((SLOWER,), (SLOWER,), (-SLOWER, 0.0), (SLOWER,))]
    assert states == [SUSPECT, REGRESSED, REGRESSED, REGRESSED]
    assert nights.detector.num_comparable.tolist() == [BASELINE_NIGHTS], "and none of its nights is learned"


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        ([0.047] * 3, [REGRESSED] * 3),
        ([0.0] * 3, [REGRESSED, OK, OK]),
        ([-SLOWER, -SLOWER], [IMPROVED, IMPROVED]),
    ],
    ids=["is still there", "is gone after three nights", "is the opposite now"],
)
def test_change_stands_while_one_to_the_other_side_is_suspected(after: list[float], expected: list[CellState]) -> None:
    nights = Nights()
    assert [nights.pass_by(change) for change in (SLOWER, SLOWER, -SLOWER)] == [SUSPECT, REGRESSED, SUSPECT]
    assert nights.detector.standing.tolist() == [1]
    assert [nights.pass_by(change) for change in after] == expected
    assert nights.detector.standing.tolist() == [{REGRESSED: 1, OK: 0, IMPROVED: -1}[expected[-1]]]


def test_suspicion_that_gave_way_to_an_undecided_night_is_none() -> None:
    nights = Nights()
    states = [nights.pass_by(-SLOWER), nights.pass_by(SLOWER, again=math.nan)]
    assert states == [SUSPECT, OK]
    assert nights.detector.is_undecided.tolist() == [True], "INCONCLUSIVE, and not learned"


def test_accepted_change_begins_a_new_baseline() -> None:
    nights = Nights()
    nights.pass_by(SLOWER)
    nights.pass_by(SLOWER)
    nights.detector.accept(np.array([True]))
    states = [nights.pass_by(SLOWER) for _ in range(MIN_NIGHTS + 1)]
    assert states == [CellState.NO_BASELINE] * MIN_NIGHTS + [OK]
    assert [nights.pass_by(2 * SLOWER), nights.pass_by(2 * SLOWER)] == [SUSPECT, REGRESSED]


def test_few_nights_are_no_baseline_and_never_green() -> None:
    nights = Nights(num_before=0)
    states = [nights.pass_by(change) for change in np.linspace(0, 1, MIN_NIGHTS)]
    assert set(states) == {CellState.NO_BASELINE}


def test_slow_drift_is_found_although_every_night_is_like_the_one_before() -> None:
    nights = Nights()
    states = [nights.pass_by(change) for change in np.linspace(0, math.log(1.06), 120)]
    assert REGRESSED in states
    assert nights.pass_by(math.log(1.06)) is REGRESSED


def test_night_that_was_not_measured_changes_nothing() -> None:
    nights, nothing = Nights(), np.full((1, K), np.nan)
    nights.pass_by(SLOWER)
    nothing[0, :3] = 0.0  # too few
    assert nights.detector.judge(nothing, lambda cells: nothing).tolist() == [SUSPECT]
    assert nights.pass_by(SLOWER) is REGRESSED


def test_cells_do_not_know_of_each_other() -> None:
    both, alone = Detector(2), Detector(1)
    source = np.random.default_rng(2)
    for night in range(40):
        pairs = 0.02 * source.standard_normal((2, K))
        pairs[0] += SLOWER * (night >= 35)
        again = np.vstack([SLOWER + 0.001 * np.arange(2 * K), np.full(2 * K, np.nan)])
        states = both.judge(pairs, lambda cells, again=again: again)  # type: ignore[misc]
        assert alone.judge(pairs[1:], lambda cells: pytest.fail("the other cell is still")) == states[1]
    assert states.tolist() == [REGRESSED, OK]


def test_missing_pairs_leave_a_night_that_counts() -> None:
    whole, broken, source = Detector(1), Detector(1), np.random.default_rng(3)
    for night in range(40):
        pairs = 0.02 * source.standard_normal((1, K)) + SLOWER * (night >= 38)
        padded = np.hstack([pairs, np.full((1, 5), np.nan)])
        states = [each.judge(x, lambda cells: SLOWER + pairs) for each, x in ((whole, pairs), (broken, padded))]  # noqa: B023
        assert states[0] == states[1]
    assert states[0] == [REGRESSED]


def test_location_is_the_median_of_the_walsh_averages() -> None:
    assert locate(np.array([[1.0, 2.0, 6.0], [np.nan] * 3])).tolist() == pytest.approx([2.75, np.nan], nan_ok=True)


@pytest.mark.parametrize(("noise", "num_pairs"), [(0.01, 6), (0.03, 6), (0.05, 14), (0.10, 56)])
def test_number_of_pairs_follows_from_the_noise(noise: float, num_pairs: int) -> None:
    assert pairs_needed(noise) == num_pairs
