"""Which sequences go through a model together."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from causalopt.language_models.tokenization import Tokens


def pack(sequences: Sequence[Tokens]) -> dict[str, Tensor]:
    """Pack sequences into one row: ``ids`` [total], and ``length`` and ``start`` [n] of each."""
    return {
        "ids": torch.tensor([token for sequence in sequences for token in sequence.ids], dtype=torch.long),
        "length": torch.tensor([len(sequence.ids) for sequence in sequences], dtype=torch.long),
        "start": torch.tensor([sequence.start for sequence in sequences], dtype=torch.long),
    }


def length_buckets(lengths: Sequence[int], max_tokens: int, max_padding: int | None = None) -> list[list[int]]:
    """Group sequences of similar length, the longest first, into forward passes.

    Parameters
    ----------
    lengths:
        Tokens of each sequence.
    max_tokens, max_padding:
        Most tokens of a pass, its padding included, and most tokens of padding in it.

    Examples
    --------
    >>> from causalopt.language_models.batching import length_buckets
    >>> length_buckets([3, 9, 4, 8], max_tokens=18)
    [[1, 3], [2, 0]]
    >>> length_buckets([3, 9, 4, 8], max_tokens=100, max_padding=5)
    [[1, 3], [2, 0]]
    """
    buckets: list[list[int]] = []
    room = padding = 0
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        padding += lengths[buckets[-1][0]] - lengths[i] if buckets else 0
        if not room or (max_padding is not None and padding > max_padding):
            room, padding = max(1, max_tokens // max(1, lengths[i])), 0
            buckets.append([])
        buckets[-1].append(i)
        room -= 1
    return buckets


def full_buckets(lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
    """Group sequences, the longest first, into forward passes without padding of at most ``max_tokens``.

    Examples
    --------
    >>> from causalopt.language_models.batching import full_buckets
    >>> full_buckets([3, 9, 4, 8], max_tokens=18)
    [[1, 3], [2, 0]]
    """
    buckets: list[list[int]] = []
    room = 0
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if lengths[i] > room or not buckets:
            room = max_tokens
            buckets.append([])
        buckets[-1].append(i)
        room -= lengths[i]
    return buckets
