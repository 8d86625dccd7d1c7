"""What an embedder must offer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, Self, runtime_checkable

from causalopt.typing import Float32


@runtime_checkable
class Embedder(Protocol):
    """Turns texts into vectors; fitted on training texts, then applied to any text."""

    def fit(self, texts: Sequence[str]) -> Self:
        """Learn what there is to learn from the texts (a pretrained encoder learns nothing)."""
        ...

    def transform(self, texts: Sequence[str]) -> Float32:
        """Embed texts, shape [n, d], float32."""
        ...
