"""Errors and warnings of causalopt: each message is one clear line that names the problem and the fix."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class CausalOptError(Exception):
    r"""Base of every error a user can fix; the command line prints its one line and exits with code 2.

    Examples
    --------
    >>> from causalopt.errors import DataError
    >>> str(DataError("a column called first\nsecond"))
    'a column called first second'
    """

    def __str__(self) -> str:
        return " ".join(super().__str__().splitlines())  # a name in it may have several lines


class DataError(CausalOptError):
    """A table, column, row or text cannot be used as it is."""


class OverlapError(DataError):
    """The logged data carry no information about the policy: there is no estimate, or no standard error of it."""


class ConfigError(CausalOptError):
    """A setting is unknown, malformed or contradicts another."""


class OutputError(CausalOptError):
    """A file or folder cannot be written: the disk is full, there is no permission, or something is in the way."""


class MissingPartError(CausalOptError):
    """A quantity needs texts or log-probabilities of a policy, and these are not available."""


class ModelError(CausalOptError):
    """A model, policy or checkpoint is missing, or is not of the expected kind."""


class WorkerError(CausalOptError):
    """A task lost its worker again and again, or its error cannot be sent."""


class CausalOptWarning(UserWarning):
    """Base of every warning: the result is valid, but must be read with this caveat."""


class DroppedRowsWarning(CausalOptWarning):
    """Rows were left out; the message gives their number and the reason."""


class OverlapWarning(CausalOptWarning):
    """The logged data carry little information about the policy; the message gives the effective sample size."""


class CollapseWarning(CausalOptWarning):
    """A fit moved too far from the data and was stopped; the message gives the step and what was observed."""


class ChatTemplateWarning(CausalOptWarning):
    """A chat template adds to the prompts what neither the data nor the settings say; the message gives it."""


class TruncationWarning(CausalOptWarning):
    """Weights or texts were truncated; the message gives the share."""


def one_line(error: BaseException) -> str:
    r"""Return the reason of an error of another library as one line, with its kind where the text says too little.

    Examples
    --------
    >>> from causalopt.errors import one_line
    >>> one_line(ValueError("wrong\n  shape")), one_line(KeyError("size")), one_line(OSError(28, "No space left"))
    ('wrong shape', "KeyError: 'size'", 'No space left')
    """
    text = " ".join(str(getattr(error, "strerror", None) or error).split())
    plain = isinstance(error, ValueError | OSError) or type(error) is RuntimeError
    return text if plain and text else f"{type(error).__name__}: {text}".removesuffix(": ")


@contextmanager
def collected_warnings() -> Iterator[Callable[[], list[str]]]:
    """Collect every `CausalOptWarning` of the block; if the block fails, they are issued before its error.

    Yields
    ------
    callable
        Returns the distinct messages so far, in alphabetical order.

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
    for message in messages():  # a warning may explain the failure
        warnings.warn(message, CausalOptWarning, stacklevel=3)
    raise failure
