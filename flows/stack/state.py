"""State of the local stack on disk: `<root>/.stratbench/stack.json`; its processes are found by their marks."""

import dataclasses
import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from flows import locations
from flows.stack.pools import Pools, Spec, specs
from flows.stack.server import Server
from flows.stack.terminal import say
from tasks.domain.refusal import Refusal
from tasks.results.environment import hostname


@dataclass(frozen=True, kw_only=True, slots=True)
class State:
    """What is known about the stack of this root."""

    server: Server
    pools: Pools
    deployed: str | None = None
    """Digest of what was deployed last."""
    host: str = field(default_factory=hostname)
    """Name of this host on the server."""
    is_host_only: bool = False
    """Whether only this host's trials run here (`stratbench worker`), and the benchmark on another machine."""

    @property
    def specs(self) -> tuple[Spec, ...]:
        """The workers that run here, with their pools."""
        return specs(self.pools, self.host)[self.is_host_only :]


def path() -> Path:
    """Where the state is kept."""
    return locations.state() / "stack.json"


def read() -> State | None:
    """The recorded state; None where there is none, or none that can be read."""
    try:
        content = json.loads(path().read_text())
        return State(**{**content, "server": Server(**content["server"]), "pools": Pools(**content["pools"])})
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write(state: State) -> None:
    """Replace the recorded state, in one step."""
    temporary = path().with_suffix(".tmp")
    temporary.write_text(json.dumps(dataclasses.asdict(state), indent=2) + "\n")
    temporary.replace(path())


def remove() -> None:
    """Forget the recorded state."""
    path().unlink(missing_ok=True)


@contextmanager
def locked() -> Iterator[None]:
    """Keep other commands of this root from starting or stopping the stack: they wait; makes the state's folder."""
    with _open("stack.lock") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"Waiting for another command that is starting or stopping the stack of {locations.root()}")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@contextmanager
def reserved() -> Iterator[None]:
    """Hold this root; raises Refusal where `stratbench worker` does, which alone starts and stops what it needs."""
    with _open("worker.lock") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Refusal(
                f"`stratbench worker` runs in {locations.root()}; end it first, by Ctrl-C or by its service manager, "
                "or name another folder in STRATBENCH_ROOT"
            ) from error
        yield


def _open(name: str) -> TextIO:
    try:
        locations.state().mkdir(parents=True, exist_ok=True)
        return (locations.state() / name).open("w")
    except OSError as error:
        raise Refusal(
            f"root={locations.root()} cannot be written ({error.strerror}); "
            "run the command in a folder of yours, or name one in STRATBENCH_ROOT"
        ) from error
