"""What causalopt raises and warns: one clear line that names the thing at fault and the fix."""


class CausalOptError(Exception):
    """Base of every error a user can mend; the command line prints its one line and exits with code 2."""


class DataError(CausalOptError):
    """A table, column, row or text cannot be used as it is."""


class OverlapError(DataError):
    """The logged data say nothing at all about the policy: there is no number, or no error of it, to report."""


class ConfigError(CausalOptError):
    """A setting is unknown, malformed or contradicts another."""


class MissingPartError(CausalOptError):
    """A number needs something of a policy that is not at hand: its texts, or its log-probabilities."""


class ModelError(CausalOptError):
    """A model, policy or checkpoint is missing, or is not what it is taken for."""


class CausalOptWarning(UserWarning):
    """Base of every warning: the result stands, but a reader must know this beside it."""


class DroppedRowsWarning(CausalOptWarning):
    """Rows were left out; the message gives their number and the reason."""


class OverlapWarning(CausalOptWarning):
    """The logged data say little about the policy; the message gives the effective sample size."""


class CollapseWarning(CausalOptWarning):
    """A fit left the data behind and was stopped; the message gives the step and what was seen."""


class TruncationWarning(CausalOptWarning):
    """Weights or texts were cut; the message gives the share that was."""
