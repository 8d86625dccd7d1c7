"""Attributes that a coder gives to any text, the drawn ones included, as its embedding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator

from causalopt import plugins
from causalopt.doors import check_contract
from causalopt.embedding.contracts import AttributeCoder
from causalopt.errors import DataError
from causalopt.typing import Float32


class CodedAttributesEmbedder(BaseEstimator):  # type: ignore[misc]
    """The attributes of a text, coded by a coder, are its embedding.

    Logged and drawn texts are coded in the same way: with codes of people for the logged texts and of a program for the
    drawn ones, the difference between the two would pass for an effect. Codes of people (``data.attributes``) serve to
    check the coder, see `causalopt.embedding.coded_attributes.agreement`.

    Parameters
    ----------
    coder:
        A registered name, a mapping with a name and settings, or an object with ``code``
        (`causalopt.embedding.contracts.AttributeCoder`).

    Attributes
    ----------
    coding:
        The coder itself.

    Examples
    --------
    >>> from causalopt.embedding.coded_attributes import CodedAttributesEmbedder
    >>> embedder = CodedAttributesEmbedder({"name": "lexicon", "words": {"thanks": ["thank*"], "haste": ["now"]}})
    >>> embedder.fit(["Thanks!", "Go now."]).transform(["Now, thank you."]).tolist()
    [[1.0, 1.0]]
    """

    def __init__(self, coder: str | Mapping[str, Any] | AttributeCoder) -> None:
        self.coder = coder
        self.coding: AttributeCoder = plugins.attribute_coders.create(coder)
        check_contract("embedder 'coded-attributes': coder", self.coding, ("code",), "an attribute coder")

    def fit(self, texts: Sequence[str]) -> Self:
        """Nothing is learned from the texts."""
        return self

    def transform(self, texts: Sequence[str]) -> Float32:
        """Code texts, shape [n, attributes], float32."""
        return np.asarray(coded(self.coding, texts), dtype=np.float32)


def coded(coder: AttributeCoder, texts: Sequence[str]) -> pd.DataFrame:
    """Code n texts, and check the result.

    Raises
    ------
    DataError
        If the coder breaks its contract: not n rows, no columns, or a value that is not a finite number.
    """
    name, frame = type(coder).__name__, coder.code(texts)
    if not isinstance(frame, pd.DataFrame) or len(frame) != len(texts) or not frame.shape[1]:
        shape = f"shape {frame.shape}" if isinstance(frame, pd.DataFrame) else f"a {type(frame).__name__}"
        raise DataError(
            f"attribute coder {name} returned {shape} for {len(texts)} texts; it must return a row for each"
        )
    try:
        values = frame.to_numpy(dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError(f"attribute coder {name} returned values that are not numbers; code 0 and 1") from None
    finite = np.isfinite(values).all(axis=1)
    if not finite.all():
        raise DataError(
            f"attribute coder {name} returned a value that is not finite for the text "
            f"{texts[int(np.argmin(finite))][:60]!r}"
        )
    return frame


def agreement(coder: AttributeCoder, texts: Sequence[str], attributes: pd.DataFrame) -> pd.Series:
    """Pearson correlation of the coder's attributes with those of people, for the names that both have.

    Parameters
    ----------
    coder:
        As for `CodedAttributesEmbedder`, an object.
    texts, attributes:
        n distinct texts, and the codes that people gave them, [n, number of attributes].

    Returns
    -------
    pandas.Series
        A value for each shared attribute; nan where either is constant. For binary codes it is the phi coefficient.

    Raises
    ------
    DataError
        If they share no name.
    """
    found = coded(coder, texts)
    shared = [name for name in attributes if name in found]
    if not shared:
        coders, peoples = (", ".join(map(str, names)) for names in (found, attributes))
        raise DataError(
            f"the coder codes {coders}, and the table has {peoples}: give an attribute the same name in both"
        )
    return pd.Series({name: found[name].corr(attributes[name].reset_index(drop=True)) for name in shared})
