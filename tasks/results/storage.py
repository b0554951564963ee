"""Files below one location: a local folder, or a prefix of an object store."""

import fcntl
import logging
import os
import secrets
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TextIO
from urllib.parse import unquote, urlsplit

from fsspec import get_filesystem_class, url_to_fs

from tasks.domain.refusal import first_line
from tasks.results.error import ResultsError

LOG = logging.getLogger("stratbench")

CONDITIONAL = ("s3", "s3a", "gs", "gcs", "az", "abfs", "memory")
"""Protocols whose package leaves it to the store to put a file only where it is absent (`mode="create"`)."""
PUT_PAUSES = (0.2, 2.0)
"""Seconds between attempts at a conditional put, which a store may refuse while another of that name is under way."""

_memory = threading.Lock()
"""Held during a conditional put into `memory`, which looks for the name and takes it in two steps."""


def open_storage(location: Path | str) -> "Storage":
    """The files at `location`, a folder or a URL that fsspec knows; raises ResultsError where it cannot serve.

    Credentials come from the environment alone: a URL with any in it is refused and not repeated.
    """
    if isinstance(location, Path) or "://" not in location:
        return LocalStorage(Path(location))
    url, (protocol, _, path) = urlsplit(location), location.partition("://")
    if url.username or url.password or "@" in url.netloc:
        raise ResultsError(
            f"results_url={protocol}://... has a user or password in it, which would be seen in logs; leave it out, "
            "credentials come from the environment, for example AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    if set("?#*[]") & set(location) or "::" in location:
        raise ResultsError(
            f"results_url={protocol}://... must be a plain URL, without ?, #, *, brackets or a chain of protocols; "
            "settings of the store come from the environment"
        )
    if protocol == "file":
        return LocalStorage(Path(unquote(url.path)))
    if not path.strip("/"):
        raise ResultsError(f"results_url={location} names no bucket; give one, with or without a prefix")
    return RemoteStorage(location.rstrip("/"), protocol)


class LocalStorage:
    """A folder. What is written is on the disk when a method returns."""

    is_local = True

    def __init__(self, folder: Path) -> None:
        self.location = folder

    def prepare(self) -> None:
        """Make the folder."""
        with self._writing():
            self.location.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes of this machine out; ends with the process."""
        self.prepare()
        with self._writing():
            handle = (self.location / ".lock").open("w")
        with handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ResultsError(
                    f"another process is measuring into {self.location}; wait for it, or choose another name or folder"
                ) from None
            yield

    def read(self, name: str) -> bytes:
        """The content of a file; raises FileNotFoundError where there is none."""
        path = self.location / name
        try:
            return path.read_bytes()
        except FileNotFoundError:
            raise
        except OSError as error:
            raise ResultsError(f"{path} cannot be read ({error.strerror}); mend that, or choose another") from error

    def read_many(self, names: Sequence[str]) -> dict[str, bytes | Exception]:
        """Of each file its content, or the error of that file alone."""
        found: dict[str, bytes | Exception] = {}
        for name in names:
            try:
                found[name] = (self.location / name).read_bytes()
            except OSError as error:
                found[name] = error
        return found

    def exists(self, name: str) -> bool:
        """Whether there is that file."""
        return (self.location / name).exists()

    def names(self, folder: str, suffix: str) -> list[str]:
        """Of the files in `folder` that end so, in alphabetical order, as they are now."""
        return sorted(f"{folder}/{path.name}" for path in (self.location / folder).glob(f"*{suffix}"))

    def put_if_absent(self, name: str, content: bytes) -> bool:
        """Write a file whole or not at all; False, with nothing changed, if there is one of that name.

        A temporary file is flushed to disk and then linked under its name, which fails if the name is taken.
        """
        with self._writing():
            path = self._place(name)
            temporary = _temporary(path, content)
            try:
                os.link(temporary, path)
            except FileExistsError:
                return False
            finally:
                temporary.unlink()
        return True

    def replace(self, name: str, content: bytes) -> None:
        """Write a file whole, replacing what was there."""
        with self._writing():
            path = self._place(name)
            _temporary(path, content).replace(path)

    def remove(self, name: str) -> None:
        """Delete a file, if it is there."""
        with self._writing():
            (self.location / name).unlink(missing_ok=True)

    @contextmanager
    def appended(self, name: str) -> Iterator[TextIO]:
        """A stream of lines for the end of a text file, each on its way to the disk once it is whole."""
        with self._writing():
            file = self._place(name).open("a", buffering=1, encoding="utf-8", errors="replace")
        with file:
            yield file

    def _place(self, name: str) -> Path:
        """Where a file goes; raises OSError where `location` is gone, which is not made again in silence."""
        self.location.stat()
        path = self.location / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ResultsError(
                f"the results folder {self.location} cannot be written ({error.strerror}); mend that and continue the "
                "run, or choose another"
            ) from error


class RemoteStorage:
    """A prefix of an object store, reached through fsspec.

    Every library has errors of its own: whatever is not a missing file is a store that cannot be reached.
    """

    is_local = False

    def __init__(self, url: str, protocol: str) -> None:
        self.location = url
        self._put_guard = _memory if protocol == "memory" else nullcontext()
        try:
            get_filesystem_class(protocol)
        except (ValueError, ImportError) as error:
            extra = "; install the extra: pip install 'stratbench[s3]'" if protocol in ("s3", "s3a") else ""
            raise ResultsError(f"results_url={url}: {first_line(error)}{extra}") from error
        if protocol not in CONDITIONAL:
            raise ResultsError(
                f"results_url={url}: {protocol} has no put that fails where a file is there, so that two hosts could "
                f"write over each other's records; use one of {', '.join(CONDITIONAL)}"
            )
        with self._reaching():
            self._filesystem, self._root = url_to_fs(url, use_listings_cache=False)

    def prepare(self) -> None:
        """Raise ResultsError unless the store refuses a second file of one name; some, told so, write over the first.

        A file of a random name is put and deleted for that.
        """
        name = f".probe-{secrets.token_hex(8)}"
        try:
            is_first, is_second = self.put_if_absent(name, b"first"), self.put_if_absent(name, b"second")
            if not is_first or is_second or self.read(name) != b"first":
                raise ResultsError(
                    f"results_url={self.location}: this store writes over a file although it is asked to put it only "
                    "where it is absent (If-None-Match), so that two hosts could lose records; use another store"
                )
        finally:
            with suppress(ResultsError):
                self.remove(name)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep nobody out: an object store has no lock.

        The server's limit keeps benchmarks apart, and records are put where they are absent, by whomever.
        """
        yield

    def read(self, name: str) -> bytes:
        """The content of a file; raises FileNotFoundError where there is none."""
        with self._reaching():
            return bytes(self._filesystem.cat_file(self._path(name)))

    def read_many(self, names: Sequence[str]) -> dict[str, bytes | Exception]:
        """Of each file, all of which are asked for at once, its content or FileNotFoundError."""
        paths = {self._path(name): name for name in names}
        if not paths:
            return {}
        with self._reaching():
            answers = self._filesystem.cat(list(paths), on_error="return")
            for answer in answers.values():
                if isinstance(answer, Exception) and not isinstance(answer, FileNotFoundError):
                    raise answer
        return {name: answers[path] for path, name in paths.items()}

    def exists(self, name: str) -> bool:
        """Whether there is that file."""
        try:
            with self._reaching():
                self._filesystem.info(self._path(name))
        except FileNotFoundError:
            return False
        return True

    def names(self, folder: str, suffix: str) -> list[str]:
        """Of the files in `folder` that end so, in alphabetical order, as they are now."""
        try:
            with self._reaching():
                paths = self._filesystem.ls(self._path(folder), detail=False, refresh=True)
        except FileNotFoundError:
            return []
        return sorted(f"{folder}/{path.rpartition('/')[2]}" for path in paths if path.endswith(suffix))

    def put_if_absent(self, name: str, content: bytes) -> bool:
        """Write a file whole or not at all; False, with nothing changed, if there is one of that name.

        A file with the same bytes counts as put: the answer to an earlier attempt may have been lost on its way.
        """
        path = self._path(name)
        failure: Exception | None = None
        for pause in (*PUT_PAUSES, None):
            try:
                with self._put_guard:
                    self._filesystem.pipe_file(path, content, mode="create")
                return True
            except PermissionError as error:
                raise self._unreachable(error) from error
            except Exception as error:
                failure = error
            with suppress(FileNotFoundError, ResultsError):
                return self.read(name) == content
            if pause is not None:
                time.sleep(pause)
        raise self._unreachable(failure) from failure

    def replace(self, name: str, content: bytes) -> None:
        """Write a file whole, replacing what was there."""
        try:
            self._filesystem.pipe_file(self._path(name), content)
        except Exception as error:
            raise self._unreachable(error) from error

    def remove(self, name: str) -> None:
        """Delete a file, if it is there."""
        with suppress(FileNotFoundError), self._reaching():
            self._filesystem.rm_file(self._path(name))

    @contextmanager
    def appended(self, name: str) -> Iterator[TextIO]:
        """A stream of lines for the end of a text file, which has them when this ends.

        Lines that cannot be put are lost with a warning: a record is not given up for its log.
        """
        with tempfile.TemporaryFile("w+", buffering=1, encoding="utf-8", errors="replace") as file:
            try:
                yield file
            finally:
                file.seek(0)
                try:
                    earlier = self.read(name) if self.exists(name) else b""
                    self.replace(name, earlier + file.read().encode())
                except ResultsError as error:
                    LOG.warning("the log %s is lost: %s", name, error)

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except Exception as error:
            raise self._unreachable(error) from error

    def _unreachable(self, error: Exception | None) -> ResultsError:
        return ResultsError(
            f"the results at {self.location} cannot be reached ({first_line(error)}); mend that and continue the run, "
            "or choose another results_url"
        )


Storage = LocalStorage | RemoteStorage
"""Files below a location, by names relative to it, with `/`.

Every method raises ResultsError, in one sentence, where the files cannot be read, written or reached.
"""


def _temporary(path: Path, content: bytes) -> Path:
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        try:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            os.fchmod(file.fileno(), 0o644)
        except BaseException:
            Path(file.name).unlink()
            raise
    return Path(file.name)
