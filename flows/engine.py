"""Prefect's engine for a trial: `python -m flows.engine COUNT`, where so many processes import TensorFlow meanwhile."""

import runpy
import sys

from tasks.training import processes

if __name__ == "__main__":
    processes.prepare(int(sys.argv.pop()))
    try:
        runpy.run_module("prefect.engine", run_name="__main__", alter_sys=True)
    finally:
        processes.discard()
