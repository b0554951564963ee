import socket
from collections.abc import Iterator

import pytest

from flows.stack import server
from flows.stack.server import DEFAULT_PORTS, Server, is_free, parse_ports
from tasks.domain.refusal import Refusal


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
