"""The interface of an embedder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, Self, runtime_checkable

import pandas as pd

from causalopt.typing import Float32


@runtime_checkable
class Embedder(Protocol):
    """Turns texts into vectors; fitted on training texts, then applied to any text."""

    def fit(self, texts: Sequence[str]) -> Self:
        """Learn from the texts (a pretrained encoder learns nothing)."""
        ...

    def transform(self, texts: Sequence[str]) -> Float32:
        """Embed texts, shape [n, d], float32."""
        ...


@runtime_checkable
class LearnsAttributes(Protocol):
    """An embedder that receives the coded attributes of each row's text before it is fitted."""

    def learn(self, texts: Sequence[str], attributes: pd.DataFrame) -> Self:
        """Take the attributes of n rows, [n, number of attributes]; a text coded in two ways raises `DataError`."""
        ...


@runtime_checkable
class AttributeCoder(Protocol):
    """Codes attributes of any text, as a person with a codebook would."""

    def code(self, texts: Sequence[str]) -> pd.DataFrame:
        """Code n texts: a frame of finite numbers with n rows and the same columns for any texts."""
        ...
