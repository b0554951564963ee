"""The verdict on the last night of a history and its report, as a nightly run makes them at its end."""

import os

from flows import locations
from tasks.detection.nights import judge_nights
from tasks.detection.series import COLUMNS
from tasks.reporting.evidence import DETAILS, Evidence
from tasks.reporting.night import write_night_report
from tasks.results.events import Events
from tasks.results.history import History


def main() -> None:
    """Write it below the folder of reports."""
    place = locations.results()
    nights = History(place).nights(list(dict.fromkeys([*COLUMNS, *DETAILS])))
    tonight = judge_nights(nights, Events(place).read())
    assert tonight is not None
    print(write_night_report(Evidence(tonight=tonight, nights=nights), locations.reports() / str(os.getpid())))


if __name__ == "__main__":
    main()
