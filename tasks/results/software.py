"""The software of a trial, as the Python that trains it says: `python -m tasks.results.software`."""

import dataclasses
import json
import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

EXPORTED = "$Format:%H$"
"""The commit, where `git archive` has made this file; a control is built from such an export."""
OWN = ("PYTHONPATH", "PYTHONHOME", "STRATBENCH_SLOWDOWN")
"""Environment variables that say where this Python finds its modules, and that it is slowed on purpose."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Software:
    """Columns of the trials table; the defaults are those of a Python that does not answer."""

    stratbench_version: str = "unknown"
    commit: str | None = None
    is_commit_clean: bool | None = None
    python_version: str = "unknown"


def describe_software() -> Software:
    """This Python's."""
    commit, is_clean = _commit()
    return Software(
        stratbench_version=metadata.version("stratbench"),
        commit=commit,
        is_commit_clean=is_clean,
        python_version=platform.python_version(),
    )


def ask_software(interpreter: str) -> Software:
    """That of another Python, which may be of a release that cannot tell."""
    command = [interpreter, "-m", "tasks.results.software"]
    try:
        answer = subprocess.run(
            command, capture_output=True, env=inherited(interpreter), cwd="/", timeout=60, check=False
        )
        return TypeAdapter(Software).validate_json(answer.stdout)
    except (OSError, subprocess.TimeoutExpired, ValidationError):
        return Software()


def inherited(interpreter: str) -> dict[str, str]:
    """Environment variables for a process of `interpreter`: another one has none that are this Python's own affair."""
    own = () if interpreter == sys.executable else OWN
    return {name: value for name, value in os.environ.items() if name not in own}


def _commit() -> tuple[str | None, bool | None]:
    """Commit of the checkout that holds this file, and whether its code is as committed; None outside one.

    A file beside the code, such as a report, changes nothing that trains.
    """
    folder = Path(__file__).resolve().parents[2]
    if not (folder / ".git").exists():
        return None if EXPORTED.startswith("$") else EXPORTED, None
    answers = [
        subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, check=False)
        for words in (("rev-parse", "HEAD"), ("status", "--porcelain", "--", "flows", "tasks"))
    ]
    if any(answer.returncode for answer in answers):
        return None, None
    return answers[0].stdout.strip(), not answers[1].stdout.strip()


if __name__ == "__main__":
    print(json.dumps(dataclasses.asdict(describe_software())))
