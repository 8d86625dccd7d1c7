from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

from causalopt.diagnostics.attributes import attribute_effects
from causalopt.errors import DataError


def rows(n: int = 120, clusters: int = 15, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    cluster = rng.integers(clusters, size=n)
    by_text = pd.DataFrame({"brave": rng.integers(2, size=clusters), "length": rng.normal(10, 3, clusters)})
    attributes = by_text.iloc[cluster].reset_index(drop=True)
    y = 1 + 2 * attributes["brave"] - 0.3 * attributes["length"] + rng.normal(size=clusters)[cluster]
    return attributes, (y + rng.normal(size=n)).to_numpy(), rng.uniform(0.5, 2, n), cluster


def coefficients(attributes: pd.DataFrame, y: np.ndarray, weight: np.ndarray) -> np.ndarray:
    return LinearRegression().fit(attributes.to_numpy(), y, sample_weight=weight).coef_


def jackknife(attributes: pd.DataFrame, y: np.ndarray, weight: np.ndarray, cluster: np.ndarray) -> np.ndarray:
    """Variances of the coefficients, by fitting again without each cluster."""
    without = []
    for code in np.unique(cluster):
        kept = cluster != code
        without.append(coefficients(attributes[kept], y[kept], weight[kept]))
    changes = np.array(without) - np.mean(without, axis=0)
    return (len(without) - 1) / len(without) * np.sum(changes**2, axis=0)


def test_effects_are_weighted_least_squares_with_the_jackknife_of_whole_clusters() -> None:
    attributes, y, weight, cluster = rows()
    found = attribute_effects(attributes, y, weight=weight, cluster=cluster).effects
    assert list(found) == ["brave", "length"]
    np.testing.assert_allclose([one.value for one in found.values()], coefficients(attributes, y, weight), rtol=1e-9)
    variances = jackknife(attributes, y, weight, cluster)
    np.testing.assert_allclose([one.se**2 for one in found.values()], variances, rtol=1e-9)


def test_without_clusters_each_row_is_a_unit() -> None:
    attributes, y, weight, _ = rows(n=40)
    found = attribute_effects(attributes, y, weight=weight).effects
    variances = jackknife(attributes, y, weight, np.arange(40))
    np.testing.assert_allclose([one.se**2 for one in found.values()], variances, rtol=1e-9)


def test_two_ways_of_clustering_add_and_their_cells_are_taken_off() -> None:
    attributes, y, weight, text = rows(n=200)
    reader = np.random.default_rng(1).integers(12, size=200)
    found = attribute_effects(attributes, y, weight=weight, cluster=(text, reader)).effects
    one, other, both = (jackknife(attributes, y, weight, codes) for codes in (text, reader, text * 100 + reader))
    expected = np.maximum(one + other - both, np.maximum(one, other))
    np.testing.assert_allclose([effect.se**2 for effect in found.values()], expected, rtol=1e-9)


def test_an_attribute_of_few_texts_has_few_degrees_of_freedom() -> None:
    """One of 40 texts in four has the common attribute, three of them the rare one."""
    attributes, y, weight, cluster = rows(n=400, clusters=40)
    attributes = attributes.assign(rare=np.isin(cluster, [0, 1, 2]).astype(float))
    found = attribute_effects(attributes, y, weight=weight, cluster=cluster).effects
    assert found["rare"].df < 5 < found["brave"].df


def test_what_has_no_effect_of_its_own_is_named() -> None:
    attributes, y, weight, cluster = rows()
    attributes = attributes.assign(
        constant=3.0,
        copy=1 - attributes["brave"],
        single=(cluster == 4).astype(float),
        nearly=np.where(cluster == 7, attributes["length"] + 1, attributes["length"]),
    )
    found = attribute_effects(attributes, y, weight=weight, cluster=cluster)
    assert set(found.left_out) == {"constant", "copy", "single", "nearly"} or set(found.left_out) == {
        "constant", "copy", "single", "length",
    }  # fmt: skip
    assert found.left_out["constant"] == "is the same in all rows"
    assert found.left_out["copy"] == "follows from the other attributes"
    assert found.left_out["single"] == "rests on a single unit, without which nothing is left of it"
    rest = attributes[list(found.effects)]
    np.testing.assert_allclose([one.value for one in found.effects.values()], coefficients(rest, y, weight), rtol=1e-6)


def test_intervals_cover_the_coefficients_of_a_linear_law() -> None:
    """300 samples of 25 texts, with a random effect of each text; fails by chance once in a thousand (binomial)."""
    missed = 0
    for seed in range(300):
        attributes, y, _, cluster = rows(n=100, clusters=25, seed=1000 + seed)
        low, high = attribute_effects(attributes, y, cluster=cluster).effects["brave"].confint(0.95)
        missed += not low <= 2 <= high
    assert missed <= 28  # P(Binomial(300, 0.05) > 28) < 0.001


def test_rows_must_be_the_same() -> None:
    attributes, y, _, _ = rows()
    with pytest.raises(DataError, match="120 rows, values 119"):
        attribute_effects(attributes, y[1:])
    with pytest.raises(DataError):
        attribute_effects(attributes.assign(brave=np.nan), y)
