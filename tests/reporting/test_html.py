"""The report as one HTML file: whole, closed to the network, and with text from outside as text."""

import re
from base64 import b64decode
from html.parser import HTMLParser

import pytest

from tasks.reporting.html import anchors, render
from tasks.reporting.markdown import escape
from tests.reporting.reports import EVIDENCE

MARKDOWN = (EVIDENCE / "report.md").read_text(encoding="utf-8")
HOSTILE = "<script>alert(1)</script> <img src=//host/x onerror=y> &lt;b&gt; **a**|`c` [l](http://host) </style>"


class Page(HTMLParser):
    """A document's elements, with their attributes, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, *tags: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.elements if tag in tags]


def read_image(address: str) -> bytes:
    return (EVIDENCE / address).read_bytes()


def show(markdown: str) -> Page:
    return Page(render(f"# Title\n\n{markdown}\n", lambda _: b"<svg/>"))


@pytest.fixture(scope="module")
def html() -> str:
    return render(MARKDOWN, read_image)


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def test_nothing_is_loaded_and_nothing_runs(html: str, page: Page) -> None:
    tags = "html head meta title style body header nav main h1 h2 p ul li a img strong em pre code "
    tags += "div table thead tbody tr th td details summary"
    assert {tag for tag, _ in page.elements} <= set(tags.split())
    attributes = [pair for _, each in page.elements for pair in each.items()]
    addresses = [value or "" for name, value in attributes if name in ("src", "href", "srcset")]
    assert addresses
    assert all(re.match("#|data:image/svg", address) for address in addresses)
    assert not [name for name, _ in attributes if name.startswith("on")]
    assert not re.search(r"url\(|@import", html)
    (policy,) = (meta["content"] for meta in page.all("meta") if "http-equiv" in meta)
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def test_head_names_language_title_and_viewport(html: str, page: Page) -> None:
    assert html.startswith("<!doctype html>\n")
    assert page.all("html") == [{"lang": "en"}]
    assert f"<title>{MARKDOWN.splitlines()[0].removeprefix('# ')}</title>" in html
    assert "viewport" in [meta.get("name") for meta in page.all("meta")]


def test_every_image_is_inside_with_its_alternative_text(page: Page) -> None:
    expected = re.findall(r"^!\[(.+)\]\((.+)\)$", MARKDOWN, re.M)
    images = page.all("img")
    assert [image["alt"] for image in images] == [alt for alt, _ in expected]
    contents = [b64decode((image["src"] or "").removeprefix("data:image/svg+xml;base64,")) for image in images]
    assert contents == [read_image(address) for _, address in expected]


def test_tables_stay_folded(html: str) -> None:
    assert re.findall("<summary>.+</summary>", html) == re.findall("<summary>.+</summary>", MARKDOWN)
    assert html.count("<details>\n<summary>") == html.count("</details>") == MARKDOWN.count("<details>") > 0


def test_every_table_is_in_a_named_box_that_can_scroll(html: str) -> None:
    boxes = re.findall(r'<div class="table" role="group" aria-label="Table: ([^"]+)" tabindex="0">\n?<table>', html)
    assert len(boxes) == html.count("<table>") == html.count("</table>\n</div>")
    assert {"How sure", "The machine"} <= set(boxes)


def test_contents_lead_to_every_section(html: str, page: Page) -> None:
    names = re.findall(r'<h2 id="([^"]+)">', html)
    assert [link["href"] for link in page.all("a")] == [f"#{name}" for name in names]
    assert len(names) == MARKDOWN.count("\n## ")
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids)) == len(names) + 1


@pytest.mark.parametrize(
    ("titles", "names"),
    [
        (["How sure", "Time to 98.5 %"], ["how-sure", "time-to-985-"]),
        (["`a_b` & c-d"], ["a_b--c-d"]),
        (["Same", "Same", "Same-1", "same"], ["same", "same-1", "same-1-1", "same-2"]),
        (["Größe, à la carte!"], ["größe-à-la-carte"]),
    ],
)
def test_anchors_are_those_of_github(titles: list[str], names: list[str]) -> None:
    assert anchors(titles) == names


@pytest.mark.parametrize("frame", ["{}", "## {}", "- *{}*", "| a |\n| :--- |\n| {} |", "![{}](x.svg)"])
def test_escaped_text_stays_text(frame: str) -> None:
    page = show(frame.format(escape(HOSTILE)))
    texts = [page.text, *(image["alt"] or "" for image in page.all("img"))]
    assert any(HOSTILE in text for text in texts)
    assert not page.all("script", "b", "code")
    assert all((image["src"] or "").startswith("data:") for image in page.all("img"))
    assert all((link["href"] or "").startswith("#") for link in page.all("a"))


@pytest.mark.parametrize(
    "raw",
    [
        *("<script>alert(1)</script>", "words <b onclick=x>bold</b>", "</main><iframe src=//host></iframe>"),
        "<details onclick=x>\n<summary>more</summary>",
        "<details>\n<summary><img src=//host/x></summary>",
    ],
)
def test_raw_html_other_than_a_fold_is_shown(raw: str) -> None:
    page = show(raw)
    assert raw in page.text
    assert not page.all("script", "b", "details", "img", "iframe")


def test_cells_are_dressed_by_kind() -> None:
    words = "word " * 20
    page = show(f"| name | s | why | verdict |\n| :--- | ---: | :--- | ---: |\n| a | 1.5 | {words} | {words} |")
    assert [cell["class"] for cell in page.all("td")] == ["text", "number", "prose", "number prose"]


def test_number_stays_with_its_unit_and_its_name() -> None:
    text = show("It took 28.8 s, 1.66 x, 83 % (n = 1), `2 s` in 3 slices.").text
    assert "28.8\xa0s, 1.66\xa0x, 83\xa0% (n\xa0=\xa01), 2 s in 3 slices." in text
