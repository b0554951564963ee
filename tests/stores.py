"""Places of results for tests: a folder, fsspec's memory, and a server that speaks S3's protocol."""

import importlib.util
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import fsspec
import pytest

BUCKET = "bench"
needs_s3 = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("s3fs", "moto", "flask")),
    reason="the extra 's3' and its tests' server are not installed: make test-extras",
)
PLACES = ("folder", "memory", pytest.param("s3", marks=needs_s3))
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "tester",
    "AWS_SECRET_ACCESS_KEY": "not-a-secret",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


class Server:
    """A process with buckets in its memory, on a port of its own."""

    def __init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(300):
            with socket.socket() as attempt:
                if attempt.connect_ex(("127.0.0.1", port)) == 0:
                    return
            time.sleep(0.1)
        self.stop()
        raise AssertionError(f"nothing listens at {self.url}")

    def stop(self) -> None:
        """Be gone, as after a power cut."""
        self.process.kill()
        self.process.wait()


@contextmanager
def object_store() -> Iterator[Server]:
    """A server that the environment names, with an empty bucket."""
    server = Server()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (CREDENTIALS | {"AWS_ENDPOINT_URL": server.url}).items():
            patch.setenv(name, value)
        s3 = fsspec.get_filesystem_class("s3")
        s3.clear_instance_cache()
        try:
            fsspec.filesystem("s3", skip_instance_cache=True).mkdir(BUCKET)
            yield server
        finally:
            s3.clear_instance_cache()
            server.stop()


@pytest.fixture(scope="session")
def s3() -> Iterator[Server]:
    with object_store() as server:
        yield server


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in which the command line keeps everything, results in `runs`."""
    monkeypatch.setenv("STRATBENCH_ROOT", str(tmp_path))
    monkeypatch.delenv("STRATBENCH_RESULTS_URL", raising=False)
    return tmp_path


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """Where nothing is yet: one of PLACES after the other."""
    if request.param == "folder":
        return tmp_path / "results"
    if request.param == "memory":
        return f"memory://{secrets.token_hex(8)}"
    request.getfixturevalue("s3")
    return f"s3://{BUCKET}/{secrets.token_hex(8)}"
