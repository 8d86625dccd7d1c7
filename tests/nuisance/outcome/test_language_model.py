"""A language model as outcome model: it reads what an embedding loses, and adds nothing where there is nothing."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import causalopt as co
from causalopt.embedding.tfidf import TfidfSvdEmbedder
from causalopt.errors import ConfigError, DataError, ModelError
from causalopt.nuisance.outcome.language_model import LanguageModelOutcome
from causalopt.nuisance.outcome.text_regression import _pretrained
from causalopt.nuisance.text_index import TextIndex

A = ("calm", "kind", "warm", "brave", "plain", "quiet", "young", "proud", "quick", "tall")
B = ("river", "garden", "letter", "window", "mountain", "morning", "story", "bridge", "lantern", "meadow")
BAG = {"name": "tfidf-svd", "dimensions": 8, "ngram_max": 1}
"""An embedding that knows which words there are and not their order."""


def ordered(n: int, seed: int, noise: float = 0.5) -> tuple[pd.DataFrame, np.ndarray]:
    """Three words, of which the order alone matters: g = 1 if the noun comes first. Readers are confounded with it."""
    rng = np.random.default_rng(seed)
    first = rng.random(n) < 0.5
    words = [(str(rng.choice(A)), str(rng.choice(B))) for _ in range(n)]
    age = rng.normal(size=n) - 0.8 * (first - 0.5)
    texts = [f"{b} is {a}" if noun else f"{a} is {b}" for (a, b), noun in zip(words, first, strict=True)]
    frame = pd.DataFrame({"text": texts, "age": age})
    frame["resp"] = first + age + noise * rng.normal(size=n)
    return frame, first.astype(float)


def test_it_reads_the_order_that_the_embedding_loses_and_adjusts_for_readers():
    frame, g = ordered(1200, seed=0)
    data = co.DirectOutcomeDataset.from_frame(frame, text="text", outcome="resp", covariates=["age"])
    fitted = {}
    for name in ("ridge", "language-model"):
        estimator = co.PseudoOutcomeEstimator(
            embedder=BAG, outcome_model=name, assignment_model="randomized", folds=2, seed=0
        )
        fitted[name] = estimator.fit_transform(data)
    assert abs(np.corrcoef(fitted["ridge"].g, g)[0, 1]) < 0.3
    assert np.corrcoef(fitted["language-model"].g, g)[0, 1] > 0.9
    effect = fitted["language-model"].dose_response(["meadow is proud", "proud is meadow"])
    # The covariate's own effect is held by the ridge: unadjusted, the difference of means is 0.2.
    assert 0.6 < effect[0] - effect[1] < 1.2


def test_on_noise_it_adds_nothing():
    """Each of 6 fits keeps a part of f with probability below 0.1: three or more do with probability below 0.02."""
    kept = 0
    for seed in range(6):
        frame, _ = ordered(200, seed)
        model, x, ids = told(frame, LanguageModelOutcome(training={"num_train_epochs": 2}, seed=seed))
        y = np.random.default_rng(seed).normal(size=200)
        kept += model.fit(x, frame[["age"]].to_numpy(), y, np.ones(200), ids).scale_ > 0
    assert kept < 3


def test_a_binary_outcome_has_probabilities_whose_mean_over_readers_is_the_marginal():
    frame, g = ordered(900, seed=1)
    model, x, ids = told(frame, LanguageModelOutcome(outcome="binary"))
    w = frame[["age"]].to_numpy()
    rng = np.random.default_rng(0)
    y = np.where(rng.random(900) < 1 / (1 + np.exp(-(4 * g - 2 + w[:, 0]))), 3.0, 1.0)
    model.fit(x, w, y, np.ones(900), ids)
    m = model.predict(x, w, ids)
    assert ((m > 1) & (m < 3)).all()
    truth = 1 + 2 / (1 + np.exp(-(4 * g - 2 + w[:, 0])))
    assert np.corrcoef(m, truth)[0, 1] > 0.88
    table = [model.predict(np.repeat(x[i : i + 1], 40, axis=0), w[:40], np.full(40, ids[i])).mean() for i in range(5)]
    np.testing.assert_allclose(model.marginal(x[:5], w[:40], np.ones(40), ids[:5]), table)
    with pytest.raises(DataError, match="two values; the 900 training rows have 900"):
        model.fit(x, w, rng.normal(size=900), np.ones(900), ids)


@pytest.mark.slow
def test_an_adapter_on_a_pretrained_model_shares_its_frozen_weights():
    frame, _ = ordered(60, seed=0)
    settings = {"max_steps": 2, "per_device_train_batch_size": 8}
    model, _, ids = told(frame, LanguageModelOutcome("smollm2", lora={"r": 2}, training=settings))
    pairs = model.texts.read(ids)
    y = frame["resp"].to_numpy()
    readers = [model.regression.fit(pairs, np.zeros(60), sign * y, np.ones(60)) for sign in (1, -1)]
    scores = [reader.predict(pairs) for reader in readers]
    assert np.isfinite(scores).all()
    assert not np.allclose(*scores)
    base = _pretrained("smollm2")[0].base_model.embed_tokens.weight
    for reader in readers:
        assert reader.model.get_base_model().base_model.embed_tokens.weight is base


def test_the_index_numbers_prompts_and_texts_once():
    index = TextIndex()
    assert index.ids(["why", "how"], ["a warm day", "a warm day"]).tolist() == [0, 1]
    assert index.ids(["how", "why", "how"], ["a warm day", "a warm day", "a cold day"]).tolist() == [1, 0, 2]
    assert index.read([2, 0]) == [("how", "a cold day"), ("why", "a warm day")]
    with pytest.raises(ModelError, match="was given an unknown text"):
        index.read([3])


def test_bad_settings():
    with pytest.raises(ConfigError, match="must be regression or binary"):
        LanguageModelOutcome(outcome="count")
    with pytest.raises(ConfigError, match="did you mean 'learning_rate'"):
        LanguageModelOutcome(training={"learning_rat": 1})
    with pytest.raises(ModelError, match="cannot be loaded"):
        LanguageModelOutcome("/no/such/folder")


def told(frame, model):
    """Return the model with its texts numbered, their embeddings, and their numbers."""
    texts = frame["text"].tolist()
    embedder = TfidfSvdEmbedder(**{k: v for k, v in BAG.items() if k != "name"}).fit(texts)
    return model, np.asarray(embedder.transform(texts), dtype=np.float64), model.texts.ids(None, texts)
