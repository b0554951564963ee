from pathlib import Path

import pytest

from flows.stack import state
from flows.stack.error import StackError
from flows.stack.pools import Pools
from flows.stack.state import Part, State

SERVER = Part(name="server", pid=7, create_time=1.5, start="a")
STATE = State(api_url="http://127.0.0.1:4201/api", is_server_ours=True, pools=Pools(), parts=(SERVER,))


def test_state_is_read_as_written(root: Path) -> None:
    assert state.read() is None
    state.write(STATE)
    assert state.read() == STATE
    assert STATE.port == 4201
    state.remove()
    assert state.read() is None


def test_part_takes_the_place_of_an_earlier_one_of_its_name() -> None:
    again = Part(name="server", pid=8, create_time=2.5, start="b")
    assert STATE.with_part(again).parts == (again,)
    assert STATE.with_part(again).part("server") == again
    assert STATE.part("worker of trial") is None


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"version": 0}', '{"version": 1}', '{"version": 1, "parts": 3}']
)
def test_unreadable_state_counts_as_none(root: Path, text: str) -> None:
    state.path().parent.mkdir(parents=True)
    state.path().write_text(text)
    assert state.read() is None


def test_two_commands_do_not_start_and_stop_at_once(root: Path) -> None:
    with state.locked(), pytest.raises(StackError, match="another command"), state.locked(wait_seconds=0.0):
        pass


def test_folder_that_cannot_be_written_is_refused_by_name(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "file").touch()
    monkeypatch.setenv("STRATBENCH_ROOT", str(root / "file"))
    with pytest.raises(StackError, match="STRATBENCH_ROOT"), state.locked():
        pass
