import pytest

from flows.stack.error import StackError
from flows.stack.platform import refuse_native_windows


def test_native_windows_is_refused_with_the_way_out() -> None:
    with pytest.raises(StackError, match="WSL2"):
        refuse_native_windows("win32")


def test_linux_and_macos_are_accepted() -> None:
    refuse_native_windows("linux")
    refuse_native_windows("darwin")
