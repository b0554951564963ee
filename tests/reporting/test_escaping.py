"""Text from outside cannot become markup."""

import pytest

from tasks.reporting.markdown import escape, fence, plain_line


@pytest.mark.parametrize(
    ("text", "markdown"),
    [
        ("a|b", r"a\|b"),
        ("`rm`", r"\`rm\`"),
        ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
        ("x &lt; y", "x &amp;lt; y"),
        ("**bold** _it_", r"\*\*bold\*\* \_it\_"),
        ("[a](b)", r"\[a\](b)"),
        ("first\nsecond\r\n# third", r"first second \# third"),
        ("https://host/x", "https&#58;//host/x"),
        ("www.host", "&#119;ww.host"),
        ("a@b", "a&#64;b"),
        ("$x$", r"\$x\$"),
        ("bell\x07\x1b[31m", r"bell \[31m"),
        ("\\|", r"\\\|"),
        ("plain text, 98.5 %", "plain text, 98.5 %"),
    ],
)
def test_markup_is_escaped(text: str, markdown: str) -> None:
    assert escape(text) == markdown


def test_long_text_is_cut() -> None:
    assert len(plain_line("x" * 10_000)) == 500


def test_command_cannot_leave_its_fence() -> None:
    command = "run '```' --x\n````"
    text = fence(command)
    assert text == f"`````sh\n{command}\n`````"
