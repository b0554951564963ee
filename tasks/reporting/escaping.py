"""Escaping: text from outside as Markdown that shows it and nothing else."""

import re

MAX_LENGTH = 500
"""Longer text is cut, so that a traceback cannot bury a table."""
SPECIAL = re.compile(r"([\\`*_\[\]|~$#])")
ENTITIES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
"""Where CommonMark's backslash does not reach."""
LINKS = re.compile(r"(://|www\.|@)")
"""What GitHub's dialect turns into a link or a mention by itself."""


def plain_line(text: str, max_length: int = MAX_LENGTH) -> str:
    """The text's printable characters on one line, cut to `max_length`; for charts, which read no markup."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= max_length else line[: max_length - 1] + "…"


def escape(text: str) -> str:
    """The text as Markdown that renders as that text: no cell, tag, link, code or emphasis can begin in it."""
    escaped = SPECIAL.sub(r"\\\1", plain_line(text).translate(ENTITIES))
    return LINKS.sub(lambda match: f"&#{ord(match[0][0])};{match[0][1:]}", escaped)


def fence(text: str) -> str:
    """The text as it is, in a fenced block of code that it cannot leave."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    marks = "`" * max(3, longest + 1)
    return f"{marks}sh\n{text}\n{marks}"
