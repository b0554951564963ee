import threading
from pathlib import Path

import pytest

from flows.stack import state
from flows.stack.pools import Pools
from flows.stack.server import Server
from flows.stack.state import State
from tasks.domain.refusal import Refusal
from tests.flows.stack.conftest import wait_until

STATE = State(server=Server("http://127.0.0.1:4201/api", is_ours=True), pools=Pools(), deployed="a")


def test_state_is_read_as_written(root: Path) -> None:
    assert state.read() is None
    state.path().parent.mkdir()
    state.write(STATE)
    assert state.read() == STATE
    state.remove()
    assert state.read() is None


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"server": {}}', '{"server": 1, "pools": {}}'])
def test_unreadable_state_counts_as_none(root: Path, text: str) -> None:
    state.path().parent.mkdir(parents=True)
    state.path().write_text(text)
    assert state.read() is None


def test_two_commands_do_not_start_and_stop_at_once(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def second() -> None:
        with state.locked():
            order.append("second")

    order: list[str] = []
    with state.locked():
        thread = threading.Thread(target=second)
        thread.start()
        wait_until(lambda: "Waiting for another command" in capsys.readouterr().out)
        order.append("first")
    thread.join(timeout=10)
    assert order == ["first", "second"]


def test_folder_that_cannot_be_written_is_refused_by_name(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "file").touch()
    monkeypatch.setenv("STRATBENCH_ROOT", str(root / "file"))
    with pytest.raises(Refusal, match="STRATBENCH_ROOT"), state.locked():
        pass
