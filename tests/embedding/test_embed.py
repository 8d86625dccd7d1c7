"""Rows to vectors: each distinct string once, prompts beside texts, and a plugin that breaks its contract."""

from __future__ import annotations

import numpy as np
import pytest

from causalopt.embedding import embed
from causalopt.embedding.tfidf import TfidfSvdEmbedder
from causalopt.errors import DataError


class Lengths:
    """Embeds a text as its length, and notes what it was asked."""

    def __init__(self, vectors=None):
        self.asked = []
        self.vectors = vectors

    def fit(self, texts):
        return self

    def transform(self, texts):
        self.asked += texts
        return np.array([[len(text), 1] for text in texts]) if self.vectors is None else np.asarray(self.vectors)


def test_each_distinct_text_is_embedded_once_and_goes_to_all_its_rows():
    embedder = Lengths()
    rows = ["one", "three", "one", "seventeen", "three"] * 20
    assert embed(embedder, None, rows)[:, 0].tolist() == [3, 5, 3, 9, 5] * 20
    assert embedder.asked == ["one", "three", "seventeen"]


def test_prompts_stand_beside_texts(texts):
    embedder = TfidfSvdEmbedder(dimensions=2).fit(texts)
    both = embed(embedder, texts[::-1], texts)
    assert both.dtype == np.float32
    assert np.array_equal(both[:, :2], embedder.transform(texts))
    assert np.array_equal(both[:, 2:], embedder.transform(texts[::-1]))


@pytest.mark.parametrize(("vectors", "message"), [
    ([[1.0], [np.nan]], "not finite for 1 of 2 texts, the first of them 'b'"),
    ([[1.0], [1e300]], "not finite for 1 of 2 texts"),
    ([1.0, 2.0], r"returned shape \(2,\) for 2 texts"),
    ([[1.0]], r"returned shape \(1, 1\) for 2 texts"),
])  # fmt: skip
@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
def test_an_embedder_that_breaks_its_contract_is_named(vectors, message):
    with pytest.raises(DataError, match=f"embedder Lengths .*{message}"):
        embed(Lengths(vectors), None, ["a", "b"])


def test_rows_that_cannot_be():
    with pytest.raises(DataError, match="there are no texts"):
        embed(Lengths(), None, [])
    with pytest.raises(DataError, match="1 prompts for 2 texts"):
        embed(Lengths(), ["p"], ["a", "b"])
