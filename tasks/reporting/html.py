"""HTML: a report as one file that needs nothing beside it."""

import re
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Sequence
from html import escape
from importlib import resources

from markdown_it import MarkdownIt
from markdown_it.token import Token

STYLESHEET = "report.css"
FOLD = re.compile(r"<details>\n<summary>[^<>]*</summary>\n|</details>\n?")
"""The only raw HTML of a report; any other is shown as text."""
PROSE = 40
"""Characters from which a table's cell reads as prose and needs a width."""
APART = re.compile(r"(?<=\d) (?=(?:s|ms|x|%)(?!\w))|(?<=\bn) (?==)|(?<=\bn =) (?=\d)")
"""Where a number would stand on another line than its unit or its name."""
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""The browser loads nothing from elsewhere and runs nothing, whatever the text holds."""


def render(markdown: str, images: Callable[[str], bytes]) -> str:
    """The report as an HTML document; `images` gives the SVG for an image's address, which is put inside."""
    parser = MarkdownIt("commonmark", {"xhtmlOut": False}).enable("table")
    tokens = parser.parse(markdown)
    headings = [(token.tag, _plain(tokens[at + 1])) for at, token in enumerate(tokens) if token.type == "heading_open"]
    names = anchors(title for _, title in headings)
    entries = [
        f'<li><a href="#{name}">{escape(title)}</a></li>\n'
        for (tag, title), name in zip(headings, names, strict=True)
        if tag == "h2"
    ]
    dressed = list(_dress(tokens, iter(names), images))
    start = next((at for at, token in enumerate(dressed) if token.tag == "h2"), len(dressed))
    opening, sections = (
        parser.renderer.render(part, parser.options, {}) for part in (dressed[:start], dressed[start:])
    )
    css = resources.files("tasks.reporting").joinpath(STYLESHEET).read_text(encoding="utf-8")
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(headings[0][1])}</title>
<style>
{css}</style>
</head>
<body>
<header>
{opening}</header>
<nav aria-label="Contents">
<ul>
{"".join(entries)}</ul>
</nav>
<main>
{sections}</main>
</body>
</html>
"""


def anchors(titles: Iterable[str]) -> list[str]:
    """The names that GitHub gives to headings, in their order: no two of a page are the same."""
    counts: dict[str, int] = {}
    for title in titles:
        plain = name = re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-")
        while name in counts:
            counts[plain] += 1
            name = f"{plain}-{counts[plain]}"
        counts[name] = 0
    return list(counts)


def _dress(tokens: Sequence[Token], names: Iterator[str], images: Callable[[str], bytes]) -> Iterator[Token]:
    """The tokens with what Markdown leaves out: anchors, the images' contents, kinds of cells, boxes of tables."""
    heading = ""
    for token, following in zip(tokens, [*tokens[1:], Token("end", "", 0)], strict=True):
        match token.type:
            case "heading_open":
                heading = _plain(following)
                token.attrs["id"] = next(names)
            case "th_open" | "td_open":
                is_number = token.attrs.pop("style", "") == "text-align:right"
                is_prose = len(following.content) > PROSE
                token.attrs["class"] = " ".join(["number"] * is_number + ["prose"] * is_prose) or "text"
            case "html_block" if not FOLD.fullmatch(token.content):
                token.type = "text"
            case "table_open":
                box = Token("box_open", "div", 1, block=True)
                box.attrs = {"class": "table", "role": "group", "aria-label": f"Table: {heading}", "tabindex": "0"}
                yield box
        for child in token.children or ():
            if child.type == "html_inline":
                child.type = "text"
            elif child.type == "text":
                child.content = APART.sub("\N{NO-BREAK SPACE}", child.content)
            elif child.type == "image":
                child.attrs["src"] = data_uri(images(str(child.attrs["src"])))
        yield token
        if token.type == "table_close":
            yield Token("box_close", "div", -1, block=True)


def data_uri(svg: bytes) -> str:
    """An image's address that is the image itself."""
    return f"data:image/svg+xml;base64,{b64encode(svg).decode()}"


def _plain(inline: Token) -> str:
    """A heading without its markup."""
    return "".join(child.content for child in inline.children or ())
