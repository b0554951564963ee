"""Folders of an installation: where results, reports and the local stack's state live."""

import os
from pathlib import Path


def root() -> Path:
    """Folder of the installation: `STRATBENCH_ROOT`, or the current one."""
    return Path(os.environ.get("STRATBENCH_ROOT", ".")).absolute()


def runs() -> Path:
    """Results on this machine's disk: one folder a run, one Parquet file a trial."""
    return root() / "runs"


def results() -> str:
    """Results root of flows: `STRATBENCH_RESULTS_URL`, a URL or a folder; where it is not set, `runs()`."""
    given = os.environ.get("STRATBENCH_RESULTS_URL", "").rstrip("/")
    return given if "://" in given else str(root() / given if given else runs())


def run(name: str) -> Path | str:
    """Results of the run of that name: a folder, or a URL."""
    place = f"{results()}/{name}"
    return place if "://" in place else Path(place)


def reports() -> Path:
    """One self-sufficient folder a report."""
    return root() / "reports"


def state() -> Path:
    """State of the local stack: Prefect's home, logs, process ids."""
    return root() / ".stratbench"


def data_cache() -> Path:
    """Prepared datasets, one folder a digest."""
    return state() / "data"


def controls() -> Path:
    """Controls of nightly runs, one folder a name."""
    return state() / "controls"


def dataset(source: str) -> str:
    """A dataset's name as it is, its path made absolute: a worker's current folder is not its user's."""
    return str(root() / Path(source).expanduser()) if "/" in source or source.endswith(".npz") else source
