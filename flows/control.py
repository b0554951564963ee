"""The control of nightly runs: code at a fixed revision, in an environment of its own from pinned requirements."""

import hashlib
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import TypeAdapter

from flows import locations
from flows.opening import check_interpreter
from tasks.domain.refusal import Refusal
from tasks.results.environment import describe_environment
from tasks.results.events import Event, Events, Kind, effective
from tasks.results.software import inherited

CHECKOUT = Path(__file__).resolve().parents[1]
ABOUT, PINS, ENVIRONMENT = "control.json", "requirements.txt", "venv"
"""Of a control's folder; the first is written last, so that a folder without it is half-built."""
NONE = "none"
NAME = re.compile(r"[\w.+]+-g([0-9a-f]{8})-r[0-9a-f]{6}")
NUM_LINES = 3
"""Of the output of a command that fails, what is said."""
BROKEN = "connection broken by"
"""What pip says of every attempt without a network."""
PIP = ("-m", "pip", "--disable-pip-version-check", "--no-input", "--quiet")


@dataclass(frozen=True, kw_only=True, slots=True)
class Control:
    """One that is built here."""

    name: str
    """Its content: version, commit and digest of the requirements."""
    commit: str
    wheel_sha256: str
    requirements_sha256: str
    python_version: str
    built_at: datetime


_CONTROL = TypeAdapter(Control)


def current() -> str | None:
    """Name of the control that nights are measured against, by the last event; None: without one."""
    event = _last_event()
    return event.control if event else None


def interpreter(name: str) -> Path:
    """Python of the control of that name; raises Refusal where it is not built on this host."""
    found = NAME.fullmatch(name)
    if found is None:
        raise Refusal(f"control={name!r} is no control's name; `stratbench control show` lists those that are built")
    if not (locations.controls() / name / ABOUT).exists():
        raise Refusal(
            f"control={name} is not built on this host; build it of the same requirements: "
            f"`stratbench control build {found[1]}`"
        )
    return _python(locations.controls() / name)


def settle(name: str, why: str, by: str) -> str:
    """Record that nights are measured against the control of that name, or NONE, from now on; says so."""
    if name != NONE:
        interpreter(name)
    control = None if name == NONE else name
    event = Event(kind=Kind.CONTROL, at=datetime.now(UTC), by=by, why=why, control=control)
    Events(locations.results()).append(event)
    return f"from now on nights are measured {_against(event)} ({event.id})"


def describe() -> Iterator[str]:
    """The current control with its event, and all that are built here."""
    event, built = _last_event(), _built()
    if event is None:
        yield "nights are measured without a control: none was ever set"
    else:
        is_here = event.control is None or any(control.name == event.control for control in built)
        yield f"nights are measured {_against(event)}{'' if is_here else ', which is not built here'}"
        yield f"set by {event.by} on {event.at:%Y-%m-%d %H:%M} UTC ({event.id}): {event.why}"
    yield from (
        f"built here: {control.name}, commit {control.commit}, Python {control.python_version}, "
        f"on {control.built_at:%Y-%m-%d}"
        for control in built
    )


def build(revision: str = "HEAD", requirements: Path | None = None, checkout: Path = CHECKOUT) -> Iterator[str]:
    """Build the control of a revision, unless it is there; says what happens. Raises Refusal where it cannot be."""
    if not (checkout / ".git").exists():
        raise Refusal(f"{checkout} is not a git checkout, of which alone a control can be built; install from a clone")
    commit = _resolve(checkout, revision)
    if _git(checkout, "status", "--porcelain"):
        yield "uncommitted changes are not in it"
    pins = _pins(checkout, commit) if requirements is None else _read(requirements)
    version = str(tomllib.loads(_git(checkout, "show", f"{commit}:pyproject.toml").decode())["project"]["version"])
    name = f"{version}-g{commit[:8]}-r{hashlib.sha256(pins).hexdigest()[:6]}"
    folder = locations.controls() / name
    if (folder / ABOUT).exists():
        yield f"{name} is there already"
        return
    yield f"building {name} (1 to 5 minutes, about 2 GB)"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / PINS).write_bytes(pins)
    wheel = _build_wheel(checkout, commit, version, folder)
    _run("making its environment", sys.executable, "-m", "venv", str(folder / ENVIRONMENT))
    install = (str(_python(folder)), *PIP, "install", "--no-deps")
    _run("installing its requirements", *install, "--require-hashes", "-r", str(folder / PINS))
    _run("installing its wheel", *install, "--no-index", str(wheel))
    check_interpreter(str(_python(folder)))
    control = Control(
        name=name,
        commit=commit,
        wheel_sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(),
        requirements_sha256=hashlib.sha256(pins).hexdigest(),
        python_version=platform.python_version(),
        built_at=datetime.now(UTC),
    )
    (folder / ABOUT).write_bytes(_CONTROL.dump_json(control, indent=2) + b"\n")
    yield f"built; let nights be measured against it: `stratbench control set {name} --why ...`"


def _last_event() -> Event | None:
    return next(
        (event for event in reversed(effective(Events(locations.results()).read())) if event.kind is Kind.CONTROL), None
    )


def _against(event: Event) -> str:
    return f"against {event.control}" if event.control else "without a control"


def _built() -> list[Control]:
    found = [_CONTROL.validate_json(path.read_bytes()) for path in locations.controls().glob(f"*/{ABOUT}")]
    return sorted(found, key=lambda control: control.built_at)


def _python(folder: Path) -> Path:
    return folder / ENVIRONMENT / "bin" / "python"


def _resolve(checkout: Path, revision: str) -> str:
    try:
        words = ("rev-parse", "--verify", "--end-of-options", f"{revision}^{{commit}}")
        return _git(checkout, *words).decode().strip()
    except Refusal as refusal:
        raise Refusal(
            f"revision={revision!r} is no commit of {checkout}; name a commit, a tag or a branch"
        ) from refusal


def _pins(checkout: Path, commit: str) -> bytes:
    """The revision's own requirements, for what this machine has."""
    extra = "gpu" if describe_environment().gpu_driver else "cpu"
    return _git(checkout, "show", f"{commit}:requirements/{extra}.txt")


def _read(requirements: Path) -> bytes:
    try:
        return requirements.read_bytes()
    except OSError as error:
        raise Refusal(f"requirements={requirements} cannot be read ({error.strerror})") from error


def _build_wheel(checkout: Path, commit: str, version: str, folder: Path) -> Path:
    """A wheel of the commit, whose version says which; the same bytes wherever it is built."""
    with tempfile.TemporaryDirectory() as name:
        source, archive = Path(name) / "source", Path(name) / "source.zip"
        _git(checkout, "archive", "--format=zip", f"--output={archive}", commit)
        shutil.unpack_archive(archive, source)
        project = source / "pyproject.toml"
        local = f'version = "{version}+g{commit[:8]}"'
        project.write_text(project.read_text().replace(f'version = "{version}"', local, 1))
        epoch = _git(checkout, "show", "--no-patch", "--format=%ct", commit).decode().strip()
        options = ("--no-deps", "--no-build-isolation", "--wheel-dir", str(folder))
        _run("building its wheel", sys.executable, *PIP, "wheel", *options, str(source), SOURCE_DATE_EPOCH=epoch)
    found = next(folder.glob(f"*+g{commit[:8]}-*.whl"), None)
    if found is None:
        raise Refusal(f"revision={commit[:8]} has no plain version in its pyproject.toml; choose a newer one")
    return found


def _git(checkout: Path, *words: str) -> bytes:
    return _run(f"git {words[0]}", "git", "-C", str(checkout), *words)


def _run(what: str, *command: str, **environment: str) -> bytes:
    """Its output; raises Refusal with the last lines of what it said where it fails."""
    try:
        variables = inherited(command[0]) | environment
        done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, env=variables, check=False)
    except OSError as error:
        raise Refusal(f"{what} failed: {error}") from error
    if done.returncode:
        lines = (done.stdout + done.stderr).decode(errors="replace").splitlines()
        said = [line.strip() for line in lines if line.strip() and BROKEN not in line][-NUM_LINES:]
        hint = "; the package index cannot be reached" if any(BROKEN in line for line in lines) else ""
        raise Refusal(f"{what} failed: {' / '.join(said)}{hint}")
    return done.stdout
