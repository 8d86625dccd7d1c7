"""Features of pairs against products written once more."""

from __future__ import annotations

import numpy as np

from causalopt.nuisance.pair_features import PairFeatures


def test_with_prompts_there_are_products_of_text_and_prompt_each_block_of_variance_one() -> None:
    rng = np.random.default_rng(0)
    x, w, weight = rng.normal(size=(60, 5)), rng.normal(size=(60, 1)), rng.uniform(0.5, 2.0, size=60)
    features = PairFeatures.of(x, w, weight, prompt_columns=2)
    text = features.text(x)
    assert text.shape == (60, 3 + 6 + 2 + 3 * 2)
    share = weight / weight.sum()
    for block in np.split(text, [3, 9, 11], axis=1):
        assert np.isclose(np.sum(share @ (block - share @ block) ** 2), 1.0)
        np.testing.assert_allclose(share @ block, 0.0, atol=1e-12)
    products = (text[:, :3, None] * text[:, None, 9:11]).reshape(60, 6)
    products = products - share @ products
    np.testing.assert_allclose(text[:, 11:], products / np.sqrt(np.sum(share @ products**2)))
    # The covariate multiplies the text alone: with the prompt's own reader it is the same for every policy.
    pairs = features.pairs(text, features.reader(w))
    assert pairs.shape[1] == text.shape[1] + 2 + 3 * 2


def test_features_of_means_are_means_of_features_of_independent_texts_and_readers() -> None:
    rng = np.random.default_rng(1)
    x, w = rng.normal(size=(30, 4)), rng.normal(size=(30, 2))
    features = PairFeatures.of(x, w, np.ones(30))
    text, reader = features.text(x), features.reader(w)
    crossed = np.mean([features.pairs(text, np.tile(one, (30, 1))).mean(axis=0) for one in reader], axis=0)
    together = features.pairs(text.mean(axis=0)[None], reader.mean(axis=0)[None])[0]
    np.testing.assert_allclose(together, crossed, atol=1e-12)
