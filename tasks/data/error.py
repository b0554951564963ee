"""The error of data that cannot be used."""

from tasks.domain.refusal import Refusal


class DataError(Refusal):
    """One sentence that names the file, the value, the rule it breaks and the way out."""
