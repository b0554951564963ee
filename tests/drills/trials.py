"""A run of tiny real trainings, in which something happens to one of them."""

import dataclasses
import re
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from tasks.analysis.analysis import analyze
from tasks.data.preparation import prepare
from tasks.domain.dataset import PreparedDataset
from tasks.domain.device import DeviceType
from tasks.domain.outcome import Phase
from tasks.domain.strategy import Strategy
from tasks.domain.sweep import Sweep
from tasks.domain.trial import Role, Trial
from tasks.planning.planner import plan_block
from tasks.reporting.report import write_report
from tasks.results.run import End
from tasks.results.store import RunFolder
from tasks.training.measurement import measure_trial
from tests.analysis.example_runs import make_result, make_run, record_of

ONE, WORKERS = Strategy.ONE_DEVICE, Strategy.MULTI_WORKER_MIRRORED
GRACE_SECONDS = 10.0
"""How long after its deadline a trial may end."""
PATIENCE = """
from tasks.training import contamination
contamination.find_taint = lambda usage: None
"""
"""A `sitecustomize` for drills whose trials bear whatever else the machine does meanwhile."""
Row = dict[str, object]


@dataclass(frozen=True, slots=True)
class Rank:
    """One training process and where it is."""

    process: psutil.Process
    phase: str


def ranks() -> dict[int, Rank]:
    """The training processes of this test's trial, by rank."""
    found = {}
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error, OSError):
            request = re.fullmatch(r"(.*)/request-(\d+)\.json", process.cmdline()[-1])
            if request:
                phase = Path(request[1]) / f"phase-{request[2]}"
                found[int(request[2])] = Rank(process, phase.read_text() if phase.exists() else Phase.PROCESS_START)
    return found


@contextmanager
def once(phase: Phase, act: Callable[[dict[int, Rank]], None], num_ranks: int = 1) -> Iterator[None]:
    """Let `act` happen as soon as every rank is in `phase`."""
    is_over = threading.Event()
    acted = []

    def watch() -> None:
        while not is_over.wait(0.02):
            now = ranks()
            if len(now) == num_ranks and {rank.phase for rank in now.values()} == {phase}:
                act(now)
                acted.append(True)
                return

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
    assert acted, f"no moment was seen at which {num_ranks} ranks were in phase {phase}"


class Drill:
    """A run with one block of a one-device and a two-worker point, of which one trial is recorded."""

    def __init__(self, folder: Path) -> None:
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        tempfile.tempdir = str(self.temporary)
        self.sweep = Sweep(
            strategies=(ONE, WORKERS),
            global_batch_sizes=(64,),
            num_epochs=1,
            min_blocks=1,
            max_blocks=1,
            device=DeviceType.CPU_SLICE,
            max_train_examples=6000,
            num_replicas=2,
            trial_timeout_seconds=30.0,
        )
        self.data: PreparedDataset = prepare("mnist", folder / "data")
        sizes = {"dataset_digest": self.data.digest, "num_train_examples": 6000}
        self.run = make_run(self.sweep, end=End(reason="the drill is over", num_blocks=1), **sizes)
        self.results = RunFolder(folder / "run")
        self.results.create(self.run)
        assert self.results.put(record_of(self.run, make_result(self.trial(Role.BASELINE), 20.0)))
        self.finished = {path: path.read_bytes() for path in (Path(self.results.location) / "trials").iterdir()}
        """Of the trial that ended before anything happened."""

    def trial(self, role: Role = Role.MEASURED, strategy: Strategy = ONE, **changes: object) -> Trial:
        """One trial of the block."""
        sweep = dataclasses.replace(self.sweep, **changes)
        block = plan_block(sweep, DeviceType.CPU_SLICE, self.data, 1)
        return next(trial for trial in block if (trial.role, trial.strategy) == (role, strategy))

    def measure(self, trial: Trial, **settings: object) -> Row:
        """Train it; its row, once every process and temporary file of it is gone."""
        began = time.monotonic()
        measure_trial(trial, run_name=self.run.run_name, folder=self.results, data=self.data, **settings)
        assert time.monotonic() - began < trial.timeout_seconds + GRACE_SECONDS
        self.is_clean()
        return self.rows()[trial.key]

    def is_clean(self) -> None:
        """No process of a trial and no temporary file is left, and what was finished is as it was."""
        assert not ranks()
        assert not list(self.temporary.iterdir())
        assert not [path for path in (Path(self.results.location) / "trials").iterdir() if path.name.startswith(".")]
        assert {path: path.read_bytes() for path in self.finished} == self.finished

    def rows(self) -> dict[str, Row]:
        """The rows that can be read, by key."""
        return {row["trial_key"]: row for row in self.results.read().trials.to_pylist()}

    def goes_on(self, *words: str) -> None:
        """The next trial runs, and the report has the words."""
        row = self.measure(self.trial(Role.REFERENCE))
        assert row["status"] == "valid", row
        tables = self.results.read()
        report = Path(self.results.location).parent / "report"
        text = write_report(analyze(self.run, tables), tables, report).read_text().replace("\\", "")
        assert not [word for word in words if word not in text]
