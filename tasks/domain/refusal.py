"""Refusal: input that cannot be served."""


class Refusal(ValueError):  # noqa: N818
    """One clear sentence for the user: the value, the rule that it breaks, and the way out."""


def first_line(error: Exception | None) -> str:
    """What another library's error says, for a sentence: its first line, or else its type."""
    return str(error).partition("\n")[0] or type(error).__name__
