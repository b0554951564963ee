"""`python -m flows.stack.lasting ARGUMENTS`: Prefect's command line, for a server or worker that lasts for months.

CPython looks for cycles among its oldest objects only when those that joined them since the last search outnumber a
quarter of the rest. Prefect's 150,000 objects put that off for many runs, whose clients wait with their buffers. What
is there after the start is taken out of the count (https://docs.python.org/3/library/gc.html#gc.freeze), and a search
behind that lets the count begin anew.
"""

import gc
import threading

from prefect.cli import app

START_SECONDS = 30.0
"""After so long everything is loaded that stays."""


def settle() -> None:
    """Count nothing that is there now."""
    gc.collect()
    gc.freeze()
    gc.collect()


def main() -> None:
    """Run Prefect's command."""
    timer = threading.Timer(START_SECONDS, settle)
    timer.daemon = True
    timer.start()
    app()


if __name__ == "__main__":
    main()
