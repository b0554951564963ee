"""The error of data that cannot be used."""


class DataError(ValueError):
    """One sentence that names the file, the value, the rule it breaks and the way out."""
