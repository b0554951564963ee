"""`python -m flows.stack.lasting ARGUMENTS`: Prefect's command line, for a server or worker that lasts for months.

CPython looks for cycles among its oldest objects only when those that joined them since the last search outnumber a
quarter of the rest. Prefect's 150,000 objects put that off for many runs, whose clients wait with their buffers. So the
search is made every COLLECT_SECONDS; what is there after the start is taken out of it first, which makes it short
(https://docs.python.org/3/library/gc.html#gc.freeze): a trial that is measured beside it must not feel it.
"""

import gc
import threading
import time

from prefect.cli import app

START_SECONDS = 30.0
"""After so long everything is loaded that stays."""
COLLECT_SECONDS = 30.0


def main() -> None:
    """Run Prefect's command."""
    threading.Thread(target=_collect, daemon=True).start()
    app()


def _collect() -> None:
    time.sleep(START_SECONDS)
    gc.collect()
    gc.freeze()
    while True:
        time.sleep(COLLECT_SECONDS)
        gc.collect()


if __name__ == "__main__":
    main()
