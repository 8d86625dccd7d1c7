"""Attributes that a person coded for each text, looked up by the text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
import pandas as pd

from causalopt.errors import DataError
from causalopt.typing import Float32


class AttributesEmbedder:
    """The coded attributes of a text are its embedding.

    `PseudoOutcomeEstimator` passes it the data set's attribute columns through `learn`. Only coded texts have an
    embedding, so use it with the ``finite`` backend, or for estimation alone.

    Examples
    --------
    >>> import pandas as pd
    >>> from causalopt.embedding.attributes import AttributesEmbedder
    >>> embedder = AttributesEmbedder().learn(["a", "b"], pd.DataFrame({"brave": [1.0, 0.0], "evil": [0.0, 1.0]}))
    >>> embedder.fit(["a", "b"]).transform(["b"]).tolist()
    [[0.0, 1.0]]
    """

    def __init__(self) -> None:
        self._known: dict[str, Float32] = {}

    def learn(self, texts: Sequence[str], attributes: pd.DataFrame) -> Self:
        """Take the attributes of each text, n rows; a text coded in two ways raises `DataError`."""
        if attributes.shape[1] == 0:
            raise DataError("embedder 'attributes' needs data.attributes, the columns that were coded for each text")
        for text, values in zip(texts, attributes.to_numpy(dtype=np.float32), strict=True):
            if not np.array_equal(self._known.setdefault(text, values), values):
                raise DataError(f"text {text[:60]!r} has two different codings in {', '.join(attributes.columns)}")
        return self

    def fit(self, texts: Sequence[str]) -> Self:
        """Check that every text is coded."""
        self.transform(texts)
        return self

    def transform(self, texts: Sequence[str]) -> Float32:
        """Look up the attributes, shape [n, attributes], float32.

        Raises
        ------
        DataError
            For a text without coded attributes.
        """
        for text in texts:
            if text not in self._known:
                raise DataError(
                    f"text {text[:60]!r} has no coded attributes; code it, or choose an embedder that reads texts"
                )
        return np.array([self._known[text] for text in texts], dtype=np.float32)
