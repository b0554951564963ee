"""The table of drills: event x signal x outcome, printed after the tests."""

import time
from collections.abc import Callable

import pytest
from _pytest.terminal import TerminalReporter

from tests.drills.namespaces import obstacle

pytest.register_assert_rewrite("tests.drills.sites")

Say = Callable[[str, str, object], None]
COLUMNS = ("event", "signal", "outcome")


@pytest.fixture(scope="session")
def in_namespaces() -> None:
    """Skips, and says why, where hosts cannot be network namespaces: without root, iproute2 or the kernel's consent."""
    if why := obstacle():
        pytest.skip(why)


@pytest.fixture
def say(record_property: Callable[[str, object], None]) -> Say:
    """Keeps the drill's row of the table."""

    def keep(*row: object) -> None:
        for name, value in zip(COLUMNS, row, strict=True):
            record_property(name, value)

    return keep


def wait_until(is_so: Callable[[], object], seconds: float) -> None:
    """Return once it is so; raises AssertionError where it is not in so many seconds."""
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, f"not so after {seconds} s"
        time.sleep(0.2)


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """Print the drills that were run."""
    rows = [
        (*(str(row[name]) for name in COLUMNS), word, f"{report.duration:.0f} s")
        for word in ("passed", "failed")
        for report in terminalreporter.getreports(word)
        if report.when == "call" and COLUMNS[0] in (row := dict(report.user_properties))
    ]
    if not rows:
        return
    table = [(*COLUMNS, "drill", "took"), *sorted(rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    terminalreporter.section("drills")
    for cells in table:
        line = " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        terminalreporter.write_line(line.rstrip())
