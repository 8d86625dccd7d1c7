"""TF-IDF and SVD against the pipeline in scikit-learn and a closed form."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer

from causalopt.embedding.tfidf import TfidfSvdEmbedder
from causalopt.errors import ConfigError, DataError


def vectorizer():
    return TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"(?u)\b\w+\b")


def test_it_equals_the_pipeline_in_scikit_learn(texts):
    weights = vectorizer().fit(texts)
    svd = TruncatedSVD(3, random_state=5).fit(weights.transform(texts))
    found = TfidfSvdEmbedder(dimensions=3, seed=5).fit(texts).transform([*texts, "a new sun"])
    assert found.dtype == np.float32
    assert found == pytest.approx(svd.transform(weights.transform([*texts, "a new sun"])), abs=1e-6)


def test_with_all_dimensions_it_keeps_every_inner_product(texts):
    weights = vectorizer().fit_transform(texts).toarray()
    found = TfidfSvdEmbedder(dimensions=64).fit(texts).transform(texts).astype(np.float64)
    assert found.shape == (5, 5)
    assert found @ found.T == pytest.approx(weights @ weights.T, abs=1e-5)


@pytest.mark.parametrize("few", [["sun"], ["sun", "sun"], ["sun sun", "moon"]])
def test_it_has_no_more_dimensions_than_texts_or_terms(few):
    vectors = TfidfSvdEmbedder(dimensions=64).fit(few).transform(["sun", "nothing known"])
    assert 1 <= vectors.shape[1] <= 3
    assert np.isfinite(vectors).all()
    assert np.linalg.norm(vectors[0]) > 0
    assert not vectors[1].any()


def test_texts_made_of_the_same_parts_leave_as_many_dimensions_as_they_span():
    """Word by word each sentence is a sum of its parts: 12 texts, 7 words, rank as NumPy finds it."""
    parts = [["one", "two", "three"], ["red", "blue"], ["hat", "coat"]]
    texts = [f"{a} {b} {c}" for a in parts[0] for b in parts[1] for c in parts[2]]
    for ngram_max in (1, 2):
        terms = TfidfVectorizer(ngram_range=(1, ngram_max), sublinear_tf=True).fit_transform(texts).toarray()
        found = TfidfSvdEmbedder(dimensions=64, ngram_max=ngram_max).fit(texts)
        assert found.transform(texts).shape == (12, np.linalg.matrix_rank(terms))
        assert np.linalg.norm(found.transform(["hat one"])) < 1.01, "no part of a new text is made up"


def test_the_same_seed_gives_the_same_numbers():
    rng = np.random.default_rng(0)
    texts = [" ".join(f"w{i}" for i in rng.integers(0, 300, 20)) for _ in range(200)]
    one, same, other = (TfidfSvdEmbedder(8, seed=seed).fit(texts) for seed in (1, 1, 2))
    assert np.array_equal(one.transform(texts), same.transform(texts))
    assert one.fingerprint() == same.fingerprint() != other.fingerprint()


def test_what_it_cannot_do_is_named(texts):
    with pytest.raises(DataError, match="no text holds a word"):
        TfidfSvdEmbedder().fit(["!!", "??"])
    with pytest.raises(ConfigError, match=r"embedder\.dimensions must be at least 1, not 0"):
        TfidfSvdEmbedder(dimensions=0)
    with pytest.raises(ConfigError, match=r"embedder\.ngram_max must be at least 1, not 0"):
        TfidfSvdEmbedder(ngram_max=0)
