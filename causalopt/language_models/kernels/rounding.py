"""Frozen weights in another precision, cast once and not in every step."""

from __future__ import annotations

from collections.abc import MutableMapping

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

_kept: MutableMapping[Tensor, tuple[object, Tensor]] = WeakTensorKeyDictionary()


def cast_once(weight: Tensor, dtype: torch.dtype) -> Tensor:
    """Return a weight that does not train in ``dtype``; the cast one lives as long as the weight.

    Parameters
    ----------
    weight:
        Cast anew when its values have been replaced or written to.
    dtype:
        Precision of the result, which is ``weight`` itself when it has it already.

    Examples
    --------
    >>> import torch
    >>> from causalopt.language_models.kernels.rounding import cast_once
    >>> weight = torch.ones(2)
    >>> cast_once(weight, torch.bfloat16) is cast_once(weight, torch.bfloat16)
    True
    """
    if weight.dtype == dtype:
        return weight
    state = (dtype, weight.data_ptr(), weight._version)
    kept = _kept.get(weight)
    if kept is None or kept[0] != state:
        kept = (state, weight.detach().to(dtype))
        _kept[weight] = kept
    return kept[1]
