import hashlib
import json
import os
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from flows import control, locations
from flows.__main__ import main
from tasks.domain.exit_code import ExitCode
from tasks.domain.refusal import Refusal
from tasks.results.events import Event, Events, Kind
from tasks.training.request import PROTOCOL_VERSION

ROOT = Path(__file__).parents[2]
PINS = b"# nothing\n"
PROJECT = """\
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[project]
name = "stratbench"
version = "0.3.0"

[tool.setuptools.packages.find]
include = ["tasks*"]
"""


@dataclass(frozen=True, slots=True)
class Site:
    """An installation and a checkout of a tiny project, with one control built."""

    root: Path
    checkout: Path
    commit: str
    name: str
    said: tuple[str, ...]

    @property
    def folder(self) -> Path:
        return self.root / ".stratbench" / "controls" / self.name


def git(checkout: Path, *words: str) -> str:
    identity = ("-c", "user.name=n", "-c", "user.email=e", "-c", "commit.gpgsign=false")
    command = ["git", "-C", str(checkout), *identity, *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Site:
    root, checkout = tmp_path_factory.mktemp("root"), tmp_path_factory.mktemp("checkout")
    software = ROOT / "tasks" / "results" / "software.py"
    files = {
        "pyproject.toml": PROJECT.encode(),
        ".gitattributes": (ROOT / ".gitattributes").read_bytes(),
        "requirements/cpu.txt": PINS,
        "requirements/gpu.txt": PINS,
        "tasks/__init__.py": b"",
        "tasks/results/__init__.py": b"",
        "tasks/results/software.py": software.read_bytes(),
        "tasks/training/__init__.py": b"",
        "tasks/training/request.py": f"PROTOCOL_VERSION = {PROTOCOL_VERSION}\n".encode(),
    }
    for name, content in files.items():
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout / name).write_bytes(content)
    git(checkout, "init", "--quiet")
    git(checkout, "add", ".")
    git(checkout, "commit", "--quiet", "--message", "one")
    (checkout / "tasks" / "__init__.py").write_text("raise SystemExit('not committed')\n")
    with pytest.MonkeyPatch.context() as patch:
        _set(patch, root)
        said = tuple(control.build(checkout=checkout))
    commit = git(checkout, "rev-parse", "HEAD")
    name = f"0.3.0-g{commit[:8]}-r{hashlib.sha256(PINS).hexdigest()[:6]}"
    return Site(root, checkout, commit, name, said)


def _set(patch: pytest.MonkeyPatch, root: Path) -> None:
    patch.setenv("STRATBENCH_ROOT", str(root))
    patch.delenv("STRATBENCH_RESULTS_URL", raising=False)
    patch.setenv("PIP_NO_INDEX", "1")


@pytest.fixture
def site(built: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Site:
    """That, with a results root without events."""
    _set(monkeypatch, built.root)
    monkeypatch.setenv("STRATBENCH_RESULTS_URL", str(tmp_path))
    return built


def test_control_is_the_committed_code_at_its_revision(site: Site) -> None:
    assert site.said[0] == "uncommitted changes are not in it"
    assert site.said[1].startswith(f"building {site.name} (")
    (wheel,) = site.folder.glob("*.whl")
    assert wheel.name == f"stratbench-0.3.0+g{site.commit[:8]}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as content:
        assert content.read("tasks/__init__.py") == b""
        assert f'EXPORTED = "{site.commit}"' in content.read("tasks/results/software.py").decode()
    found = json.loads((site.folder / "control.json").read_bytes())
    assert (found["name"], found["commit"]) == (site.name, site.commit)
    assert found["wheel_sha256"] == hashlib.sha256(wheel.read_bytes()).hexdigest()
    assert found["requirements_sha256"] == hashlib.sha256(PINS).hexdigest()
    assert found["python_version"] == ".".join(map(str, sys.version_info[:3]))
    assert (site.folder / "requirements.txt").read_bytes() == PINS


def test_python_of_a_control_has_its_code_whatever_this_one_has_in_its_path(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    python = control.interpreter(site.name)
    code = "import tasks; from importlib import metadata; print(tasks.__file__, metadata.version('stratbench'))"
    environment = control.inherited(str(python))
    said = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True, cwd="/", env=environment)
    path, version = said.stdout.split()
    assert Path(path).is_relative_to(site.folder)
    assert version == f"0.3.0+g{site.commit[:8]}"


def test_control_that_is_there_is_not_built_again(site: Site) -> None:
    before = (site.folder / "control.json").stat().st_mtime_ns
    assert tuple(control.build(site.commit[:10], checkout=site.checkout))[-1] == f"{site.name} is there already"
    assert (site.folder / "control.json").stat().st_mtime_ns == before


def test_half_built_control_is_none_and_is_built_anew(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STRATBENCH_ROOT", str(tmp_path))
    half = tmp_path / ".stratbench" / "controls" / site.name
    (half / "venv").mkdir(parents=True)
    (half / "venv" / "left").touch()
    with pytest.raises(Refusal, match="is not built on this host"):
        control.interpreter(site.name)
    said = tuple(control.build(checkout=site.checkout))
    assert said[-1] == f"built; let nights be measured against it: `stratbench control set {site.name} --why ...`"
    assert control.interpreter(site.name) == half / "venv" / "bin" / "python"
    assert not (half / "venv" / "left").exists()
    digests = {json.loads((folder / "control.json").read_bytes())["wheel_sha256"] for folder in (half, site.folder)}
    assert len(digests) == 1, "the same wheel wherever it is built"


def test_without_a_network_a_control_of_other_requirements_stays_half_built(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STRATBENCH_ROOT", str(tmp_path))
    monkeypatch.delenv("PIP_NO_INDEX")
    for name, value in {"CONFIG_FILE": os.devnull, "INDEX_URL": "http://127.0.0.1:9/", "RETRIES": "1"}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    pins = tmp_path / "pins.txt"
    pins.write_text("nowhere==1 --hash=sha256:" + "0" * 64)
    with pytest.raises(Refusal) as refused:
        list(control.build(requirements=pins, checkout=site.checkout))
    assert str(refused.value) == (
        "installing its requirements failed: ERROR: Could not find a version that satisfies the requirement nowhere==1 "
        "(from versions: none) / ERROR: No matching distribution found for nowhere==1; "
        "the package index cannot be reached"
    )
    (folder,) = locations.controls().iterdir()
    assert folder.name == f"{site.name[:-6]}{hashlib.sha256(pins.read_bytes()).hexdigest()[:6]}"
    with pytest.raises(Refusal, match="is not built on this host"):
        control.interpreter(folder.name)


@pytest.mark.parametrize("revision", ["nothing", "--help", "", "HEAD:pyproject.toml"])
def test_unknown_revision_is_refused(site: Site, revision: str) -> None:
    with pytest.raises(Refusal, match="is no commit of .*; name a commit, a tag or a branch"):
        list(control.build(revision, checkout=site.checkout))


def test_what_is_no_checkout_and_requirements_that_are_not_there_are_refused(site: Site, tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="is not a git checkout"):
        list(control.build(checkout=tmp_path))
    with pytest.raises(Refusal, match=r"requirements=.*pins.txt cannot be read \(No such file or directory\)"):
        list(control.build(requirements=tmp_path / "pins.txt", checkout=site.checkout))


def test_control_is_set_shown_and_unset(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    location = locations.results()
    assert control.current() is None
    assert main(["control", "show"]) == ExitCode.OK
    assert capsys.readouterr().out.startswith("nights are measured without a control: none was ever set\nbuilt here: ")
    assert main(["control", "set", site.name, "--why", "the first", "--by", "ada"]) == ExitCode.OK
    (event,) = Events(location).read()
    assert (event.kind, event.control, event.why, event.by) == (Kind.CONTROL, site.name, "the first", "ada")
    assert control.current() == site.name
    capsys.readouterr()
    assert main(["control", "show"]) == ExitCode.OK
    against, by, here = capsys.readouterr().out.splitlines()
    assert against == f"nights are measured against {site.name}"
    assert by == f"set by ada on {event.at:%Y-%m-%d %H:%M} UTC ({event.id}): the first"
    assert here.startswith(f"built here: {site.name}, commit {site.commit}, Python 3")
    assert main(["control", "set", "none", "--why", "moved"]) == ExitCode.OK
    assert control.current() is None
    unset = Events(location).read()[-1]
    Events(location).append(Event(kind=Kind.UNDO, at=unset.at, by="ada", why="a slip", undoes=unset.id))
    assert control.current() == site.name


def test_control_of_another_host_is_named_with_what_builds_it(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    event = Event(kind=Kind.CONTROL, at=datetime.now(UTC), by="ada", why="y", control=site.name)
    Events(tmp_path).append(event)
    monkeypatch.setenv("STRATBENCH_ROOT", str(tmp_path))
    assert next(control.describe()) == f"nights are measured against {site.name}, which is not built here"
    command = f"`stratbench control build {site.commit[:8]}`"
    with pytest.raises(Refusal, match=f"is not built on this host; build it of the same requirements: {command}"):
        control.interpreter(site.name)


@pytest.mark.parametrize("name", ["mine", "../0.3.0-g00000000-r000000", "/0.3.0-g00000000-r000000", ""])
def test_what_is_no_name_of_a_control_is_refused_and_no_event(site: Site, name: str) -> None:
    assert main(["control", "set", name, "--why", "y"]) == ExitCode.REFUSED
    assert Events(locations.results()).read() == ()
    with pytest.raises(Refusal, match="is no control's name"):
        control.interpreter(name)
