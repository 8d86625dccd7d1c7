"""Embeddings on disk: what reaches the embedder, and what is told apart."""

from __future__ import annotations

import numpy as np
import pytest

from causalopt import plugins
from causalopt.embedding import CachedEmbedder, embed
from causalopt.embedding.tfidf import TfidfSvdEmbedder
from causalopt.errors import ConfigError


class Counting(TfidfSvdEmbedder):
    """TF-IDF that notes what it was asked."""

    def __init__(self, dimensions=2):
        super().__init__(dimensions)
        self.asked = []

    def transform(self, texts):
        self.asked += texts
        return super().transform(texts)


def test_a_text_reaches_the_embedder_once_ever(texts, tmp_path):
    plain = TfidfSvdEmbedder(2).fit(texts)
    first = CachedEmbedder(Counting(), tmp_path).fit(texts)
    assert np.array_equal(first.transform(texts[:3]), plain.transform(texts[:3]))
    assert np.array_equal(first.transform(texts), plain.transform(texts))
    assert first.embedder.asked == texts
    second = CachedEmbedder(Counting(), tmp_path).fit(texts)
    assert np.array_equal(second.transform(texts[::-1]), plain.transform(texts[::-1]))
    assert second.embedder.asked == []
    assert np.array_equal(embed(second, None, [texts[1], "a new sun", texts[1]])[0], plain.transform([texts[1]])[0])
    assert second.embedder.asked == ["a new sun"]


def test_two_at_once_share_what_they_find(texts, tmp_path):
    one, two = (CachedEmbedder(Counting(), tmp_path).fit(texts) for _ in range(2))
    one.transform(texts[:2])
    two.transform(texts)
    one.transform(texts)
    assert one.embedder.asked == texts[:2]
    assert two.embedder.asked == texts[2:]


def test_another_fit_or_setting_is_another_embedder(texts, tmp_path):
    for embedder, fitted_on in (
        (TfidfSvdEmbedder(2), texts), (TfidfSvdEmbedder(3), texts), (TfidfSvdEmbedder(2), texts[:4]),
        (TfidfSvdEmbedder(2, ngram_max=1), texts),
    ):  # fmt: skip
        found = CachedEmbedder(embedder, tmp_path).fit(fitted_on).transform(texts)
        assert np.array_equal(found, embedder.transform(texts))
    assert len(list(tmp_path.iterdir())) == 4


def test_it_has_a_name_in_configurations(texts, tmp_path):
    spec = {"name": "cached", "embedder": {"name": "tfidf-svd", "dimensions": 2}, "directory": str(tmp_path)}
    assert plugins.embedders.create(spec).fit(texts).transform(texts).shape == (5, 2)


def test_it_has_a_place_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("CAUSALOPT_CACHE", str(tmp_path))
    assert CachedEmbedder("tfidf-svd").directory == tmp_path / "embeddings"


def test_what_cannot_be_kept_is_named(texts, tmp_path):
    class Nameless:
        def fit(self, texts):
            return self

        def transform(self, texts):
            return np.zeros((len(texts), 1))

    with pytest.raises(ConfigError, match=r"embedder Nameless has no fingerprint\(\)"):
        CachedEmbedder(Nameless(), tmp_path)
    with pytest.raises(ConfigError, match="call fit before transform"):
        CachedEmbedder(TfidfSvdEmbedder(), tmp_path).transform(texts)


def test_a_damaged_file_counts_as_missing(texts, tmp_path):
    """Cut anywhere, or with any byte flipped: the vectors are those of the embedder."""
    right = CachedEmbedder(TfidfSvdEmbedder(2), tmp_path).fit(texts[:3]).transform(texts[:3])
    (file,) = tmp_path.rglob("*.npz")
    whole, fitted = file.read_bytes(), CachedEmbedder(TfidfSvdEmbedder(2), tmp_path).fit(texts[:3])
    for at in range(0, len(whole), 7):
        for content in (whole[:at], whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :]):
            for other in file.parent.iterdir():
                other.unlink()
            file.write_bytes(content)
            fitted._read, fitted._known = set(), {}
            np.testing.assert_array_equal(fitted.transform(texts[:3]), right)
