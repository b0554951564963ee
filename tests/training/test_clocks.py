from collections.abc import Callable

from tasks.domain.outcome import Phase
from tasks.training.clocks import PhaseLedger, StepTimer


def readings(*values: float) -> Callable[[], float]:
    left = iter(values)
    return lambda: next(left)


def test_phases_follow_each_other_without_gaps() -> None:
    entered: list[Phase] = []
    ledger = PhaseLedger(10.0, readings(10.5, 13.5, 14.0, 20.0, 21.0), entered.append)
    for phase in (Phase.IMPORT, Phase.TRAINING, Phase.EVALUATION, Phase.TRAINING, Phase.TEARDOWN):
        ledger.enter(phase)
    assert ledger.seconds == {"process_start": 0.5, "import": 3.0, "training": 0.5 + 1.0, "evaluation": 6.0}
    assert sum(ledger.seconds.values()) == 21.0 - 10.0
    assert entered[0] is Phase.IMPORT


def test_time_between_leaving_a_phase_and_entering_the_next_belongs_to_none() -> None:
    ledger = PhaseLedger(10.0, readings(11.0, 13.0, 13.5, 14.0))
    assert ledger.leave() == 11.0
    assert ledger.enter(Phase.DATA) == 13.0
    assert (ledger.leave(), ledger.leave()) == (13.5, 14.0)
    assert ledger.seconds == {"process_start": 1.0, "data": 0.5}


def test_an_epoch_is_the_sum_of_its_windows() -> None:
    timer = StepTimer(readings(100.0, 100.5, 102.0, 105.0, 110.0, 111.0))
    timer.begin_epoch(1)
    timer.record(first_step=1, num_steps=4, num_examples=256)
    timer.record(first_step=5, num_steps=2, num_examples=100)
    assert timer.epoch_seconds == 2.0
    assert timer.window_seconds == 3.0
    timer.begin_epoch(2)
    timer.record(first_step=1, num_steps=4, num_examples=256)
    assert timer.epoch_seconds == 1.0
    assert [(w.epoch, w.first_step, w.seconds) for w in timer.windows] == [(1, 1, 0.5), (1, 5, 1.5), (2, 1, 1.0)]
