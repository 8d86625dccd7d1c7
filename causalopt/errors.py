"""What causalopt raises and warns: one clear line that names the thing at fault and the fix."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class CausalOptError(Exception):
    """Base of every error a user can fix; the command line prints its one line and exits with code 2."""


class DataError(CausalOptError):
    """A table, column, row or text cannot be used as it is."""


class OverlapError(DataError):
    """The logged data say nothing at all about the policy: there is no estimate, or no standard error of it."""


class ConfigError(CausalOptError):
    """A setting is unknown, malformed or contradicts another."""


class MissingPartError(CausalOptError):
    """A number needs something of a policy that is not available: its texts, or its log-probabilities."""


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


@contextmanager
def collected_warnings() -> Iterator[Callable[[], list[str]]]:
    """Keep every `CausalOptWarning` of the block; should it fail, they are warned of before its error.

    Yields
    ------
    callable
        Returns the messages so far, each once, in alphabetical order.

    Examples
    --------
    >>> import warnings
    >>> from causalopt.errors import OverlapWarning, collected_warnings
    >>> with collected_warnings() as messages:
    ...     warnings.warn("few texts", OverlapWarning)
    >>> messages()
    ['few texts']
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", CausalOptWarning)

        def messages() -> list[str]:
            return sorted({str(one.message) for one in caught if issubclass(one.category, CausalOptWarning)})

        try:
            yield messages
            return
        except BaseException as error:
            failure = error
    for message in messages():  # what was warned of may be why
        warnings.warn(message, CausalOptWarning, stacklevel=3)
    raise failure
