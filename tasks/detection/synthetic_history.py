"""A synthetic history: nights as rows, as if they had been measured, with incidents whose date and size are known."""

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from itertools import product
from typing import Any

import numpy as np

from tasks.detection.detector import REMEASURED, Bools, Detector, Floats, Ints
from tasks.detection.synthetic import Looks, Noise, check_number, paired, simulate_runs
from tasks.domain.cell import Arm, Cell
from tasks.domain.device import DeviceType
from tasks.domain.outcome import Phase, TrialResult
from tasks.domain.refusal import Refusal
from tasks.domain.strategy import Strategy
from tasks.domain.sweep import Sweep
from tasks.domain.trial import Role, Trial
from tasks.results.environment import Environment
from tasks.results.history import Ending, History, Night
from tasks.results.record import Record, build_record
from tasks.results.run import SYNTHETIC
from tasks.results.schema import repeat

BEGAN = date(2025, 1, 1)
"""The first night."""
MOST_NIGHTS = 3660
DRIFT_NIGHTS = 120
"""A drift takes so long unless it is told otherwise."""
DEFAULT_SHARE = 0.15
SECONDS = 80.0
"""Of an epoch at batch 1; it falls as the root of the batch."""
OVERHEAD_SECONDS = 6.0
"""Of a trial beside its training."""
BLOCK_EFFECT = 0.02
"""Standard deviation of what a block does to both arms, in ln seconds: pairs do not see it."""
NAME = "synthetic"
"""Of the machine, and of what it is made of."""
NUM_EXAMPLES = 60_000
MACHINE = Environment(
    hostname=NAME,
    machine_fingerprint=NAME,
    cpu_model=NAME,
    num_physical_cores=1,
    memory_bytes=0,
    gpu_model=NAME,
    gpu_driver=NAME,
    operating_system=NAME,
    stratbench_version=NAME,
    commit=None,
    is_commit_clean=None,
)
SHAPE = re.compile(r"([a-z]+):(\d+)(?:-(\d+))?(?::(-?\d*\.?\d+)(?::(.+))?)?")


class Kind(StrEnum):
    """What happens."""

    STEP = "step"
    """Tonight's arm is slower, to the end unless it is told otherwise."""
    SPIKE = "spike"
    """The same for one night."""
    DRIFT = "drift"
    """It grows slower from the first to the last night, and stays so."""
    UPGRADE = "upgrade"
    """A step that comes with another TensorFlow."""
    DRIVER = "driver"
    """Another driver, under which both arms are slower: a cut."""
    CONTROL = "control"
    """Another control, slower than the one before: a cut."""
    OUTAGE = "outage"
    """No run."""
    CRASH = "crash"
    """A run that crashes half-way."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Incident:
    """Something that happens to the nights."""

    kind: Kind
    first: int
    """Night, from 1."""
    last: int
    share: float = DEFAULT_SHARE
    """How much slower; below 0: faster."""
    cells: str = ""
    """Only cells whose labels have this in them."""


def parse_incident(text: str, num_nights: int) -> Incident:
    """The incident that KIND:NIGHT[-NIGHT][:SHARE[:CELLS]] names; raises Refusal."""
    found = SHAPE.fullmatch(text)
    if found is None or found[1] not in set(Kind):
        raise Refusal(
            f"incident={text} must be KIND:NIGHT[-NIGHT][:SHARE[:CELLS]], for example upgrade:200:.15; the kinds are "
            + ", ".join(Kind)
        )
    kind, first, share = Kind(found[1]), int(found[2]), float(found[4] or DEFAULT_SHARE)
    lasts = {Kind.SPIKE: first, Kind.OUTAGE: first, Kind.CRASH: first, Kind.DRIFT: first + DRIFT_NIGHTS - 1}
    last = int(found[3] or lasts.get(kind, num_nights))
    if not 1 <= first <= min(last, num_nights) or not -0.9 <= share <= 9:
        raise Refusal(
            f"incident={text} must begin in nights 1 to {num_nights}, end no earlier than it begins, and have a share "
            "between -.9 and 9"
        )
    return Incident(kind=kind, first=first, last=last, share=share, cells=found[5] or "")


def write(history: History, nights: Iterable[Night]) -> Iterator[str]:
    """Write them; says what is written. Raises Refusal where the history holds anything: runs of people, above all."""
    if entries := history.entries():
        raise Refusal(
            f"the history holds runs already, the last one {entries[-1].run_name}; synthetic nights go into "
            "one of their own: name an empty folder in STRATBENCH_RESULTS_URL"
        )
    written = [night for night in nights if history.append_night(night)]
    yield f"SYNTHETIC: {len(written)} nights with {sum(night.trials.num_rows for night in written)} trials"
    if written:
        yield f"{written[0].run_name} to {written[-1].run_name}"


def synthesize(
    noise: Noise,
    num_nights: int,
    num_pairs: int,
    seed: int,
    incidents: Sequence[Incident] = (),
    cells: Sequence[Cell] = Sweep().cells,
) -> Iterator[Night]:
    """Nights in which those cells are measured in both arms, and at once again where they are far out.

    Nights of an outage are left out. Raises Refusal on nonsense.
    """
    check_number("nights", num_nights, 1, MOST_NIGHTS)
    if unknown := [i.cells for i in incidents if not any(i.cells in cell.label for cell in cells)]:
        raise Refusal(f"incident: {unknown[0]!r} is in none of the labels {'; '.join(cell.label for cell in cells)}")
    story = _Story(num_nights, incidents, cells)
    values = np.exp(_measure(story, noise, num_pairs, np.random.default_rng(seed)))
    if not np.isfinite(values).any():
        raise Refusal("incident: no night is left that measures anything; shorten the outages")
    # nights, blocks, cells, arms: the order in which they are measured
    night, place = np.nonzero(np.isfinite(values).reshape(num_nights, -1))
    blocks = range(1, (1 + REMEASURED) * num_pairs + 1)
    templates = [
        _template(cell, arm, block, Role.MEASURED if block <= num_pairs else Role.AGAIN)
        for block, cell, arm in product(blocks, cells, Arm)
    ]
    table = repeat(templates, place.tolist(), _columns(story, values))
    ends = np.bincount(night, minlength=num_nights).cumsum().tolist()
    for number, (begin, end) in enumerate(zip([0, *ends], ends, strict=False)):
        if not story.active(Kind.OUTAGE)[number]:
            yield Night(
                day=BEGAN + timedelta(days=number),
                run_name=_run_name(number),
                ending=Ending.CRASHED if story.active(Kind.CRASH)[number] else Ending.ENDED,
                cells=tuple(cell.label for cell in cells),
                has_control=True,
                trials=table.slice(begin, end - begin),
            )


def _run_name(number: int) -> str:
    return f"{SYNTHETIC}{BEGAN + timedelta(days=number)}"


@dataclass(frozen=True, slots=True)
class _Story:
    """What happens in which night."""

    num_nights: int
    incidents: Sequence[Incident]
    cells: Sequence[Cell]

    def active(self, kind: Kind) -> Ints:
        """How many incidents of that kind there are in each night."""
        found = np.zeros(self.num_nights, dtype=int)
        for incident in self.incidents:
            if incident.kind is kind:
                found[incident.first - 1 : incident.last] += 1
        return found

    def changes(self, *kinds: Kind) -> Floats:
        """ln seconds that incidents of those kinds add, of shape (nights, cells)."""
        found, nights = np.zeros((self.num_nights, len(self.cells))), np.arange(1, self.num_nights + 1)
        for incident in self.incidents:
            first, last = incident.first, incident.last
            if incident.kind in kinds:
                grown = np.clip((nights - first + 1) / (last - first + 1), 0, 1)
                shares = grown if incident.kind is Kind.DRIFT else (first <= nights) & (nights <= last)
                is_meant = [incident.cells in cell.label for cell in self.cells]
                found += math.log1p(incident.share) * np.outer(shares, is_meant)
        return found


def _measure(story: _Story, noise: Noise, num_pairs: int, source: np.random.Generator) -> Floats:
    """ln seconds of shape (nights, blocks, cells, arms), NaN where nothing ran; the second look has the last blocks."""
    here = story.changes(Kind.STEP, Kind.SPIKE, Kind.DRIFT, Kind.UPGRADE)
    control, both = story.changes(Kind.CONTROL), story.changes(Kind.DRIVER)
    usual = np.array([math.log(SECONDS) - math.log(cell.global_batch_size) / 2 for cell in story.cells])
    blocks = source.normal(0, BLOCK_EFFECT, (story.num_nights, (1 + REMEASURED) * num_pairs, 1))
    shared = blocks + (usual + control + both)[:, np.newaxis]
    found = np.full((*shared.shape, len(Arm)), np.nan)
    detector, num_cuts = Detector(len(story.cells)), np.zeros(2)
    is_out, is_crash = story.active(Kind.OUTAGE) > 0, story.active(Kind.CRASH) > 0
    cuts = np.stack([story.active(Kind.DRIVER), story.active(Kind.CONTROL)], axis=1)
    # what the control adds is in `shared`
    nights = simulate_runs(noise, len(story.cells), num_pairs, source, here - control)
    for number, runs in enumerate(nights):
        if is_out[number]:
            continue
        found[number, :num_pairs] = runs.first.transpose(2, 1, 0)
        if is_crash[number]:
            found[number, num_pairs // 2 :] = np.nan
            continue
        if (cuts[number] != num_cuts).any():
            detector.accept(np.ones(len(story.cells), dtype=bool))
            num_cuts = cuts[number]

        def measure_again(cells: Bools, number: int = number, runs: Looks = runs) -> Floats:
            again = runs.measure_again(cells)
            found[number, num_pairs:] = again.transpose(2, 1, 0)
            return paired(again)

        detector.judge(paired(runs.first), measure_again)
    return np.asarray(found + shared[..., np.newaxis])


def _columns(story: _Story, values: Floats) -> Mapping[str, Any]:
    """What differs from night to night, row by row."""
    night, block, cell, arm = np.nonzero(np.isfinite(values))
    seconds, is_here = values[night, block, cell, arm], arm == list(Arm).index(Arm.HERE)
    replicas = np.array([_num_replicas(each.strategy) for each in story.cells])
    names = np.array([_run_name(number) for number in range(story.num_nights)], dtype=object)
    begins = np.array([datetime.combine(BEGAN, time(2)) + timedelta(days=n) for n in range(story.num_nights)], "M8[ms]")
    walls = seconds + OVERHEAD_SECONDS
    lasted = walls.cumsum() - walls
    since = lasted - lasted[np.searchsorted(night, night)]
    drivers = 1 + story.active(Kind.DRIVER)[night]
    versions, controls = story.active(Kind.UPGRADE)[night] * is_here, story.active(Kind.CONTROL)[night] * ~is_here
    return {
        "run_name": names[night],
        "started_at": begins[night] + (1000 * since).astype("m8[ms]"),
        "training_seconds": seconds,
        "training_phase_seconds": seconds,
        "device_seconds": seconds * replicas[cell],
        "examples_per_second": NUM_EXAMPLES / seconds,
        "wall_seconds": walls,
        "tensorflow_version": [f"2.{21 + version}.0" for version in versions],
        "commit": [f"{control:08x}{0:032x}" for control in controls],
        "gpu_driver": [f"{NAME} {driver}" for driver in drivers],
        "machine_fingerprint": [f"{driver:08x}{0:08x}" for driver in drivers],
    }


def _num_replicas(strategy: Strategy) -> int:
    return 1 if strategy is Strategy.ONE_DEVICE else 2


def _template(cell: Cell, arm: Arm, block: int, role: Role) -> Record:
    """The record of that trial, but for what differs from night to night."""
    replicas = _num_replicas(cell.strategy)
    num_workers = replicas if cell.strategy is Strategy.MULTI_WORKER_MIRRORED else 1
    trial = Trial(
        strategy=cell.strategy,
        global_batch_size=cell.global_batch_size,
        num_workers=num_workers,
        replicas_per_worker=replicas // num_workers,
        device=DeviceType.CPU_SLICE,
        cores_per_replica=1,
        dataset="mnist",
        dataset_digest=NAME,
        num_train_examples=NUM_EXAMPLES,
        num_epochs=1,
        learning_rate=0.001,
        seed=block,
        block=block,
        role=role,
        arm=arm,
        reduction=cell.reduction,
        **asdict(cell.setting),
        micro_batch_size=None,
        timeout_seconds=1800.0,
    )
    result = TrialResult(
        trial=trial,
        invalid_reason=None,
        message=None,
        epochs=(),
        windows=(),
        gradients=(),
        phase_seconds={Phase.IMPORT: OVERHEAD_SECONDS},
        wall_seconds=OVERHEAD_SECONDS,
        is_pinned=False,
        num_parameters=1,
        order_checksum=0,
        weights_digest=NAME,
        max_resident_bytes=0,
        peak_device_memory_bytes=None,
        versions=dict.fromkeys(("stratbench", "python", "tensorflow", "keras", "numpy"), NAME),
    )
    return build_record(
        result,
        run_name=NAME,
        environment=MACHINE,
        python_version=NAME,
        started_at=datetime.combine(BEGAN, time(2), UTC),
        queue_seconds=None,
    )
