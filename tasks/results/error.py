"""The error of a results folder that cannot be used."""

from tasks.domain.refusal import Refusal


class ResultsError(Refusal):
    """A results folder that cannot be used, in one sentence."""
