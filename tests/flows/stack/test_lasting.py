"""Prefect's command line for processes that last."""

import subprocess
import sys

PROGRAM = """
import gc, time, weakref
from flows.stack import lasting

class Cycle:
    def __init__(self):
        self.itself = self

def app():
    while not gc.get_freeze_count():
        time.sleep(0.01)
    cycle = weakref.ref(Cycle())
    gc.disable()
    while cycle() is not None:
        time.sleep(0.01)
    print(gc.get_freeze_count())

lasting.START_SECONDS = lasting.COLLECT_SECONDS = 0.1
lasting.app = app
lasting.main()
"""


def test_what_runs_leave_is_collected_and_what_is_there_after_the_start_is_not_searched() -> None:
    answer = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=120)
    assert int(answer.stdout) > 50_000, "Prefect's own objects"


def test_it_is_prefects_command_line() -> None:
    command = [sys.executable, "-m", "flows.stack.lasting", "--version"]
    ours = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    command[2] = "prefect"
    assert ours.stdout == subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
