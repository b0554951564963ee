"""The verdict on the last night of a history and its report, as a nightly run makes them at its end."""

import os

from flows import locations
from flows.verdicts import read_evidence
from tasks.reporting.night import write_night_report


def main() -> None:
    """Write it below the folder of reports."""
    evidence = read_evidence()
    assert evidence is not None
    print(write_night_report(evidence, locations.reports() / str(os.getpid())))


if __name__ == "__main__":
    main()
