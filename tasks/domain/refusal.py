"""Refusal: input that cannot be served."""


class Refusal(ValueError):  # noqa: N818
    """One clear sentence for the user: the value, the rule that it breaks, and the way out."""
