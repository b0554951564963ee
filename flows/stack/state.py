"""State of the local stack on disk: `<root>/.stratbench/stack.json`."""

import dataclasses
import fcntl
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from flows import locations
from flows.stack.error import StackError
from flows.stack.pools import Pools

VERSION = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """A process that `up` started."""

    name: str
    """`server`, `worker of benchmark` or `worker of trial`."""
    pid: int
    create_time: float
    """Seconds since the epoch, as the system reports it."""
    start: str
    """Names the call of `up` that started it; also in the process's environment."""


@dataclass(frozen=True, kw_only=True, slots=True)
class State:
    """What is known about the stack of this root."""

    api_url: str
    is_server_ours: bool
    pools: Pools
    deployed: str | None = None
    """Digest of what was deployed last."""
    parts: tuple[Part, ...] = ()

    @property
    def port(self) -> int | None:
        """Of our own server."""
        return urlsplit(self.api_url).port if self.is_server_ours else None

    def part(self, name: str) -> Part | None:
        """The recorded process of that name."""
        return next((part for part in self.parts if part.name == name), None)

    def with_part(self, part: Part) -> "State":
        """The same state with that process in place of an earlier one of its name."""
        others = tuple(other for other in self.parts if other.name != part.name)
        return dataclasses.replace(self, parts=(*others, part))


def path() -> Path:
    """Where the state is kept."""
    return locations.state() / "stack.json"


def log_path(part_name: str) -> Path:
    """Where that process's output goes."""
    return locations.state() / "logs" / f"{part_name.replace(' ', '-')}.log"


def read() -> State | None:
    """The recorded state; None where there is none, or none that this version can read."""
    try:
        content = json.loads(path().read_text())
        if content.pop("version") != VERSION:
            return None
        parts = tuple(Part(**part) for part in content.pop("parts"))
        return State(**{**content, "pools": Pools(**content["pools"]), "parts": parts})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def write(state: State) -> None:
    """Replace the recorded state, in one step."""
    content = json.dumps({"version": VERSION, **dataclasses.asdict(state)}, indent=2)
    path().parent.mkdir(parents=True, exist_ok=True)
    temporary = path().with_suffix(".tmp")
    temporary.write_text(content + "\n")
    temporary.replace(path())


def remove() -> None:
    """Forget the recorded state."""
    path().unlink(missing_ok=True)


@contextmanager
def locked(wait_seconds: float = 120.0) -> Iterator[None]:
    """Keep other commands of this root from starting or stopping the stack; StackError after `wait_seconds`."""
    lock = locations.state() / "stack.lock"
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        handle = lock.open("w")
    except OSError as error:
        raise StackError(
            f"root={locations.root()} cannot be written ({error.strerror}); "
            "run the command in a folder of yours, or name one in STRATBENCH_ROOT"
        ) from error
    with handle:
        deadline = time.monotonic() + wait_seconds
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise StackError(
                        f"another command has been starting or stopping the stack of {locations.root()} for "
                        f"{wait_seconds:.0f} s; wait for it, or end it"
                    ) from None
                time.sleep(0.2)
        yield
