"""The operating system that the stack runs on."""

import sys

from flows.stack.error import StackError


def refuse_native_windows(platform: str = sys.platform) -> None:
    """Raise StackError on native Windows; import nothing else of this package before it."""
    if platform == "win32":
        raise StackError("stratbench does not run on native Windows; run it inside WSL2 (`wsl --install`).")
