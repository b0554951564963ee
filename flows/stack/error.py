"""The error of the local stack."""

from tasks.domain.refusal import Refusal


class StackError(Refusal):
    """One sentence for the user: the value, the rule broken, the way out. The command line ends with 2."""
