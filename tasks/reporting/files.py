"""Files of a report: they take their places in its folder all at once."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tasks.domain.refusal import Refusal
from tasks.reporting.html import render

REPORT, PAGE, CHARTS = "report.md", "report.html", "charts"


@contextmanager
def new_files(folder: Path, last: str) -> Iterator[Path]:
    """A temporary folder with a folder CHARTS; what is in it at the end takes its place in `folder`, `last` at last.

    All files are made first and then take their places one by one: a reader never sees half a file, and an error
    leaves an earlier report as it was.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Refusal(f"the report's folder {folder} cannot be made ({error.strerror}); choose another") from error
    with tempfile.TemporaryDirectory(dir=folder, prefix=".report-") as name:
        new = Path(name)
        (new / CHARTS).mkdir()
        yield new
        (folder / CHARTS).mkdir(exist_ok=True)
        for path in sorted((path for path in new.rglob("*") if path.is_file()), key=lambda path: path.name == last):
            path.replace(folder / path.relative_to(new))


def write_text(text: str, path: Path, page: Path) -> None:
    """Write the Markdown to `path` and as HTML to `page`, with the images that lie beside them inside."""
    path.write_text(text, encoding="utf-8", newline="\n")
    html = render(text, lambda image: (path.parent / image).read_bytes())
    page.write_text(html, encoding="utf-8", newline="\n")
