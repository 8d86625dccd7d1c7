"""Whitened coordinates: columns of unlike units all stay, copies and constants do not."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import causalopt as co
from causalopt.nuisance.coordinates import PrincipalCoordinates


@pytest.mark.parametrize("size", [1e2, 1e4, 1e7])
@pytest.mark.parametrize("copies", [1, 60])
def test_a_small_column_stays_beside_a_large_one_and_copies_go(size, copies):
    """With 60 copies there are more columns than rows."""
    rng = np.random.default_rng(0)
    large, small = size * rng.normal(size=50), rng.integers(0, 2, 50).astype(float)
    x = np.column_stack([large, small, np.full(50, 7e5), *(1 + k * large - 3 * small for k in range(copies))])
    weight = rng.uniform(0.5, 2, 50)
    u = PrincipalCoordinates.of(x, weight).transform(x)
    assert u.shape == (50, 2)
    np.testing.assert_allclose((u * weight[:, None]).T @ u / weight.sum(), np.eye(2), atol=1e-6)
    fit = np.linalg.lstsq(np.column_stack([np.ones(50), u]), small)[0]
    np.testing.assert_allclose(np.column_stack([np.ones(50), u]) @ fit, small, atol=1e-6)


@pytest.mark.parametrize("n", [500, 20])
def test_ordinary_embeddings_have_their_principal_components(n):
    """Variances that fall to a thousandth, rows that repeat, fewer directions than columns: as numpy's own SVD."""
    rng = np.random.default_rng(1)
    texts = (rng.normal(size=(25, 40)) * np.geomspace(1, 0.03, 40)).astype(np.float32)
    x = texts[rng.integers(0, 25, n)]
    coordinates = PrincipalCoordinates.of(x, np.ones(n))
    centered = x.astype(np.float64) - x.mean(axis=0, dtype=np.float64)
    variance = np.linalg.svd(centered, compute_uv=False) ** 2 / n
    rank = len(np.unique(x, axis=0)) - 1
    np.testing.assert_allclose(coordinates.variance, variance[:rank], rtol=1e-9)


def test_an_attribute_of_thousands_hides_no_attribute_of_ones():
    """Lengths of 100 to 9000 beside a 0/1: its effect of 1 is found, and so is who was shown it.

    The difference of 3000 outcomes of sd 0.5 has a standard error of 0.018, and shrinkage takes 0.02: 0.12 is reached
    with probability below 1e-6.
    """
    rng = np.random.default_rng(0)
    length, b = rng.integers(100, 9000, 300), rng.integers(0, 2, 300)
    w = rng.normal(size=3000)
    shown = rng.random(3000) < 1 / (1 + np.exp(-1.5 * w))
    for confounded in (False, True):
        text = np.where(shown, rng.choice(np.flatnonzero(b == 1), 3000), rng.choice(np.flatnonzero(b == 0), 3000))
        outcome = (w if confounded else b[text]) + 0.5 * rng.normal(size=3000)
        columns = {"text": [f"text {k}" for k in text], "length": length[text], "b": b[text], "w": w}
        data = co.DirectOutcomeDataset.from_frame(
            pd.DataFrame({**columns, "outcome": outcome}), attributes=["length", "b"], covariates=["w"]
        )
        models = {"outcome_model": "zero", "assignment_model": "gaussian"} if confounded else {
            "outcome_model": "ridge", "assignment_model": "randomized"}  # fmt: skip
        found = co.PseudoOutcomeEstimator(embedder="attributes", **models).fit_transform(data)
        if confounded:
            log_s = np.log(0.5) + np.log1p(np.exp(np.where(shown, -1.5, 1.5) * w))
            assert np.corrcoef(np.log(found.s), log_s)[0, 1] > 0.95
            effect = found.xi
        else:
            effect = found.g
        assert effect[shown].mean() - effect[~shown].mean() == pytest.approx(0.0 if confounded else 1.0, abs=0.12)
