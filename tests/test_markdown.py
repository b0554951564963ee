"""The documents as Markdown: written by one set of rules, and every link in them leads somewhere."""

import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from markdown_it import MarkdownIt

from tasks.reporting.html import render

ROOT = Path(__file__).parents[1]
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "reports").rglob("README.md")),
]
REPORTS = sorted((ROOT / "reports" / "evidence").rglob("report.md"))


def lint(paths: Sequence[Path], *options: str) -> str:
    """What the linter says under the rules of pyproject.toml."""
    command = [sys.executable, "-m", "pymarkdown", "--strict-config", *options, "scan", *map(str, paths)]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert answer.returncode in (0, 1), answer.stderr
    return answer.stdout + answer.stderr


def links_of(page: Path) -> Iterator[str]:
    """The address of every link and image."""
    for block in MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8")):
        for token in block.children or ():
            if address := token.attrs.get("href") or token.attrs.get("src"):
                yield str(address)


def anchors_of(page: Path) -> list[str]:
    html = render(page.read_text(encoding="utf-8"), lambda _: b"")
    return re.findall(r'<h\d id="([^"]+)">', html)


def test_documents_keep_the_rules() -> None:
    assert not lint(DOCUMENTS)


def test_reports_keep_the_rules() -> None:
    assert REPORTS
    assert not lint(REPORTS, "--disable-rules", "line-length")  # generated: a paragraph is one line


def test_linter_finds_what_it_is_there_for(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"# Title\n\n### Deeper\n\n{'word ' * 30}end\n\n<b>x</b>\n\n| a | b |\n| --- | --- |\n| 1 |\n")
    found = set(re.findall(r": (MD\d+):", lint([page])))
    assert found == {"MD001", "MD013", "MD033", "MD056"}


@pytest.mark.parametrize("page", [*DOCUMENTS, *REPORTS], ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for address in links_of(page):
        link = urlsplit(address)
        if link.scheme:
            assert link.scheme == "https", address
            assert re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)+", link.netloc), address
            continue
        target = page.parent / unquote(link.path) if link.path else page
        assert target.exists(), address
        if link.fragment:
            assert link.fragment in anchors_of(target), address
