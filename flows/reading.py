"""Reading: a run by what names it on the command line."""

from pathlib import Path

from flows import locations
from tasks.reporting.report import read_report
from tasks.results.run import Run
from tasks.results.store import RunFolder, Tables


def read_run(given: str) -> tuple[Run, Tables, Path]:
    """A run, from its folder or URL or from a report's folder, and the folder of its report; raises ResultsError."""
    if "://" in given or RunFolder(given).exists():
        run = RunFolder(given).describe()
        return run, RunFolder(given).read(), locations.reports() / run.run_name
    if (inside := RunFolder(Path(given) / "run")).exists():
        return inside.describe(), inside.read(), Path(given)
    return *read_report(Path(given)), Path(given)
