"""Ports of the loopback interface that the local server may listen on."""

import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass

from flows.stack.error import StackError

HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class PortRange:
    """Ports from `first` to `last`, both included. Raises StackError unless 1 <= first <= last <= 65535."""

    first: int
    last: int

    def __post_init__(self) -> None:
        if not 1 <= self.first <= self.last <= 65535:
            raise StackError(
                f"ports={self} is not a range of ports; name two numbers from 1 to 65535, for example 4200-4299"
            )

    def __str__(self) -> str:
        return f"{self.first}-{self.last}"

    def free(self) -> Iterator[int]:
        """The ports that nobody listens on now, lowest first."""
        return (port for port in range(self.first, self.last + 1) if is_free(port))


DEFAULT_PORTS = PortRange(4200, 4299)


def parse_ports(text: str) -> PortRange:
    """The range that `4200-4299` or `4200` names; raises StackError for anything else."""
    match = re.fullmatch(r"(\d{1,5})(?:-(\d{1,5}))?", text.strip())
    if match is None:
        raise StackError(f"ports={text!r} is not a range of ports; write it as 4200-4299")
    return PortRange(int(match[1]), int(match[2] or match[1]))


def is_free(port: int) -> bool:
    """Whether a server could listen on that port of the loopback interface now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
