"""`python -m flows.stack.lasting ARGUMENTS`: Prefect's command line, for a server or worker that lasts for months.

CPython looks for cycles among its oldest objects only when those that joined them since the last search outnumber a
quarter of the rest. Prefect's 150,000 objects put that off for a hundred runs, whose clients wait with their buffers.
What is there after the start is taken out of the count, as https://docs.python.org/3/library/gc.html#gc.freeze has it.
"""

import gc
import threading

from prefect.cli import app

START_SECONDS = 30.0
"""After so long everything is loaded that stays."""


def main() -> None:
    """Run Prefect's command."""
    timer = threading.Timer(START_SECONDS, gc.freeze)
    timer.daemon = True
    timer.start()
    app()


if __name__ == "__main__":
    main()
