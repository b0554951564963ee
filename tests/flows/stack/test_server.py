import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.stack import server
from flows.stack.server import AUTH, DEFAULT_PORTS, Server, is_free, parse_ports
from tasks.domain.refusal import Refusal

USERS = {
    "PATH": "/bin",
    "HOME": "/home/me",
    "CUDA_VISIBLE_DEVICES": "1",
    "PREFECT_PROFILE": "work",
    "PREFECT_HOME": "/home/me/.prefect",
    "PREFECT_API_KEY": "secret",
    "PREFECT_SERVER_DATABASE_CONNECTION_URL": "postgresql+asyncpg://db/prefect",
    "PREFECT__FLOW_RUN_ID": "x",
}


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_ranges_are_read_as_written() -> None:
    assert parse_ports(DEFAULT_PORTS) == range(4200, 4300)
    assert parse_ports("4200") == range(4200, 4201)


@pytest.mark.parametrize("text", ["", "a", "4200-", "-4200", "4299-4200", "0-5", "4200-70000", "4200,4201", "1-2-3"])
def test_other_texts_are_refused_by_name(text: str) -> None:
    with pytest.raises(Refusal, match=f"ports={text!r} .*4200-4299"):
        parse_ports(text)


def test_range_that_is_all_taken_is_refused_by_name(taken: int, root: object) -> None:
    assert not is_free(taken)
    with pytest.raises(Refusal, match=f"ports={taken}-{taken} are all taken .*--ports"):
        server.start(range(taken, taken + 1))


def test_failure_of_a_silent_server_says_why(taken: int, root: object) -> None:
    assert Server(f"http://127.0.0.1:{taken}/api", is_ours=True).port == taken
    assert Server(f"http://127.0.0.1:{taken}/api", is_ours=True).failure() is not None
    assert Server("nonsense", is_ours=False).failure() is not None


def test_our_server_takes_over_nothing_of_the_users_but_what_is_listed(root: Path) -> None:
    ours = server.environment_of_ours(4711, USERS)
    assert not {"PREFECT_PROFILE", "PREFECT_API_KEY", "PREFECT__FLOW_RUN_ID"} & ours.keys()
    kept = ("HOME", "CUDA_VISIBLE_DEVICES", "PREFECT_SERVER_DATABASE_CONNECTION_URL")
    expected = {name: USERS[name] for name in kept}
    expected |= {"PREFECT_HOME": str(root / ".stratbench" / "prefect"), "PREFECT_SERVER_API_PORT": "4711"}
    expected |= {"PREFECT_API_URL": "http://127.0.0.1:4711/api", "STRATBENCH_ROOT": str(root)}
    assert ours.items() >= expected.items()


def test_users_server_is_reached_with_the_users_settings(root: Path) -> None:
    theirs = server.environment_of_users("http://prefect.example/api", USERS)
    expected = {name: USERS[name] for name in ("PREFECT_PROFILE", "PREFECT_API_KEY", "PREFECT_HOME")}
    expected |= {"PREFECT_API_URL": "http://prefect.example/api", "STRATBENCH_ROOT": str(root)}
    assert theirs.items() >= expected.items()
    assert "PREFECT__FLOW_RUN_ID" not in theirs


def test_python_of_either_is_this_interpreter(root: Path) -> None:
    for made in (server.environment_of_ours(1, USERS), server.environment_of_users("x", USERS)):
        assert made["PATH"] == f"{Path(sys.executable).parent}{os.pathsep}/bin"


@pytest.mark.parametrize("words", [("a:x", None), (None, "a:x"), ("a:x", "other")])
def test_either_name_of_the_secret_sets_both_and_the_servers_wins(root: Path, words: tuple[str | None, ...]) -> None:
    given = {name: word for name, word in zip(AUTH, words, strict=True) if word}
    ours = server.environment_of_ours(4711, given)
    assert [ours[name] for name in AUTH] == ["a:x", "a:x"]
    theirs = server.environment_of_users("http://prefect.example/api", given)
    assert {name: word for name, word in theirs.items() if name in AUTH} == given


def test_empty_secret_is_none(root: Path) -> None:
    assert server.environment_of_ours(4711, dict.fromkeys(AUTH, "")).keys().isdisjoint(AUTH)
