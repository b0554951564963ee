import socket
from collections.abc import Iterator

import pytest

from flows.stack import server
from flows.stack.error import StackError
from flows.stack.ports import DEFAULT_PORTS, PortRange, is_free, parse_ports


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_ranges_are_read_as_written() -> None:
    assert parse_ports("4200-4299") == DEFAULT_PORTS == PortRange(4200, 4299)
    assert parse_ports("4200") == PortRange(4200, 4200)


@pytest.mark.parametrize("text", ["", "a", "4200-", "-4200", "4299-4200", "0-5", "4200-70000", "4200,4201", "1-2-3"])
def test_other_texts_are_refused_by_name(text: str) -> None:
    with pytest.raises(StackError, match="4200-4299"):
        parse_ports(text)


def test_taken_port_is_not_offered(taken: int) -> None:
    assert not is_free(taken)
    assert taken not in PortRange(taken, min(taken + 3, 65535)).free()


def test_range_that_is_all_taken_is_refused_by_name(taken: int, root: object) -> None:
    with pytest.raises(StackError, match=f"ports={taken}-{taken} are all taken .*--ports"):
        server.start(PortRange(taken, taken), None, "start", lambda _: None)
