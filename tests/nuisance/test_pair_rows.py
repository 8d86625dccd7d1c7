"""Sums over pairs in blocks against sums over all pairs at once."""

from __future__ import annotations

import numpy as np
import pytest

from causalopt.nuisance import pair_rows
from causalopt.nuisance.pair_features import PairFeatures
from causalopt.nuisance.pair_rows import PolicyPairs, PolicyTexts


@pytest.mark.parametrize("block", [3, 4096])
@pytest.mark.parametrize("of_rows", [False, True])
def test_the_mean_is_that_of_texts_and_exposed_readers(block, of_rows, monkeypatch):
    """Of all rows and of a part of them, whose exposures do not add up to their number."""
    monkeypatch.setattr(pair_rows, "BLOCK", block)
    rng = np.random.default_rng(0)
    n, m = 11, 7
    w, weight = rng.normal(size=(n, 2)), rng.uniform(0.5, 3.0, n)
    features = PairFeatures.of(rng.normal(size=(n, 3)), w, weight)
    x, share = rng.normal(size=(m, 3)), rng.dirichlet(np.ones(m))
    row = rng.integers(0, n, m) if of_rows else None
    pairs = PolicyPairs(features, PolicyTexts(x, share, row), w, weight)
    for rows in (None, np.arange(n) < 8):
        kept = weight if rows is None else np.where(rows, weight, 0.0)
        text, reader = features.text(x), features.reader(w)
        total, shares = np.zeros(pairs.mean().shape), 0.0
        for j in range(m):
            for i in range(n) if row is None else [row[j]]:
                total += share[j] * kept[i] * features.pairs(text[[j]], reader[[i]])[0]
                shares += share[j] * kept[i]
        np.testing.assert_allclose(pairs.mean(rows), total / shares, atol=1e-12)
