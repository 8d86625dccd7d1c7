"""Work that is done in parts, which become smaller when a GPU has no memory for them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch

from causalopt.errors import CausalOptWarning, ModelError

T = TypeVar("T")


def in_parts_that_fit(
    rows: Sequence[int], size: int, compute: Callable[[list[int]], T], what: str, fix: str
) -> Iterator[tuple[list[int], T]]:
    """Yield ``rows`` in parts of at most ``size``, each with ``compute(part)``.

    A part that the GPU has no memory for is halved, and so are those after it. Nothing that ``compute`` returns may
    depend on which rows come together.

    Parameters
    ----------
    rows:
        Numbers of what is computed.
    size:
        Largest number of rows of a part.
    compute:
        Computes a part.
    what, fix:
        Words for the messages, such as "drawing texts", and what makes a single row smaller.

    Warns
    -----
    CausalOptWarning
        With the new size.

    Raises
    ------
    ModelError
        If there is no memory for a single row.

    Examples
    --------
    >>> import warnings
    >>> import torch
    >>> from causalopt.language_models.memory import in_parts_that_fit
    >>> def squares(part):
    ...     if len(part) > 2:
    ...         raise torch.OutOfMemoryError
    ...     return [row**2 for row in part]
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("ignore")
    ...     list(in_parts_that_fit(range(5), 4, squares, "squaring", "use smaller numbers"))
    [([0, 1], [0, 1]), ([2, 3], [4, 9]), ([4], [16])]
    """
    left, too_many = list(rows), 0
    while left:
        part = left[:size]
        try:
            found = compute(part)
        except torch.OutOfMemoryError:
            if len(part) == 1:
                raise ModelError(f"{what}: the GPU has no memory for a single text; {fix}") from None
            too_many, size = max(too_many, len(part)), len(part) // 2
        else:
            if too_many:
                warnings.warn(
                    f"{what}: the GPU has no memory for {too_many} texts at one time; they are taken {size} at a time",
                    CausalOptWarning,
                    stacklevel=2,
                )
            yield part, found
            left, too_many = left[size:], 0
            continue
        # Outside of the handler, whose traceback holds on to what was computed.
        torch.cuda.empty_cache()
