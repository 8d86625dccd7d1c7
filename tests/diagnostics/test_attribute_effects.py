"""Effects of attributes: against statsmodels, against refits without each cluster, and on a confounded law."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import stats

import causalopt as co
from causalopt.diagnostics.attribute_effects import CONSTANT, DEPENDENT, ONE_UNIT, attribute_effects
from causalopt.embedding.coded_attributes import CodedAttributesEmbedder

WORDS = {"warm": ["dear*"], "rushed": ["now"], "paid": ["coin*"]}


def table(n: int, clusters: int, seed: int) -> tuple[pd.DataFrame, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    unit = rng.integers(0, clusters, n)
    coded = rng.integers(0, 2, (clusters, 3)).astype(float)[unit]
    y = coded @ [1.0, -2.0, 0.5] + rng.normal(size=clusters)[unit] + rng.normal(size=n)
    return pd.DataFrame(coded, columns=list(WORDS)), y, rng.exponential(size=n), unit


def test_least_squares_with_a_jackknife_by_cluster() -> None:
    attributes, y, weight, unit = table(300, 40, seed=0)
    found = attribute_effects(attributes, y, y, weight=weight, cluster=unit)
    x = sm.add_constant(attributes.to_numpy())
    peer = sm.WLS(y, x, weights=weight).fit()
    assert found["adjusted_estimate"].to_numpy() == pytest.approx(peer.params[1:], rel=1e-10)
    assert found["naive_estimate"].to_numpy() == pytest.approx(peer.params[1:], rel=1e-10)
    without = np.stack(
        [sm.WLS(y[unit != g], x[unit != g], weights=weight[unit != g]).fit().params for g in range(unit.max() + 1)]
    )
    g = len(without)
    by_hand = np.sqrt((g - 1) / g * ((without - without.mean(axis=0)) ** 2).sum(axis=0))
    assert found["adjusted_se"].to_numpy() == pytest.approx(by_hand[1:], rel=1e-8)


def test_rows_without_an_outcome_take_no_part_in_the_naive_association() -> None:
    attributes, y, weight, unit = table(300, 60, seed=1)
    missing = np.where(np.arange(300) % 3 == 0, np.nan, y)
    found = attribute_effects(attributes, y, missing, weight=weight, cluster=unit)
    kept = ~np.isnan(missing)
    alone = attribute_effects(attributes[kept], y[kept], y[kept], weight=weight[kept], cluster=unit[kept])
    assert found["naive_estimate"].to_numpy() == pytest.approx(alone["naive_estimate"].to_numpy(), rel=1e-10)
    assert found["adjusted_estimate"].to_numpy() != pytest.approx(alone["adjusted_estimate"].to_numpy(), rel=1e-3)


def test_attributes_without_an_effect_say_why() -> None:
    attributes, y, _, unit = table(200, 30, seed=2)
    attributes["all"] = 1.0
    attributes["not warm"] = 1 - attributes["warm"]
    attributes["once"] = (unit == 3).astype(float)
    found = attribute_effects(attributes, y, y, cluster=unit).set_index("attribute")
    assert found["reason"].to_dict() == {
        "warm": None,
        "rushed": None,
        "paid": None,
        "all": CONSTANT,
        "not warm": DEPENDENT,
        "once": ONE_UNIT,
    }
    assert found["adjusted_estimate"].isna().tolist() == [False] * 3 + [True] * 3


def test_adjusted_effects_cover_where_the_naive_ones_do_not() -> None:
    """60 tables of 500 rows: letters of three attributes, and donors who are sent what they do not answer to.

    For an interval that covers 0.95 of the time, fewer than 51 of 60 has probability 0.0009 for each attribute.
    """
    truth = {"warm": 0.6, "rushed": -0.4, "paid": 0.0}
    covered = dict.fromkeys(truth, 0)
    naive = dict.fromkeys(truth, 0)
    for seed in range(60):
        rng = np.random.default_rng([7, seed])
        habit = rng.normal(size=500)
        shown = rng.random((500, 3)) < 1 / (1 + np.exp(-np.outer(habit, [-0.6, 0.5, 0.0])))
        y = shown @ list(truth.values()) + 1.5 * habit + rng.normal(size=500)
        words = np.array([["Hello", "Dear friend"], ["soon", "now"], ["help", "coins"]])
        letters = [" ".join(words[j, int(on)] for j, on in enumerate(row)) + f" {rng.integers(1e6)}" for row in shown]
        data = co.DirectOutcomeDataset.from_frame(
            pd.DataFrame({"text": letters, "outcome": y, "habit": habit}), covariates=["habit"]
        )
        embedder = CodedAttributesEmbedder({"name": "lexicon", "words": WORDS})
        pseudo = co.PseudoOutcomeEstimator(embedder=embedder, outcome_model="ridge").fit_transform(data)
        attributes = pd.DataFrame(embedder.transform(data.texts), columns=list(truth))
        found = attribute_effects(attributes, pseudo.xi, data.outcome, cluster=data.group).set_index("attribute")
        for name, effect in truth.items():
            row = found.loc[name]
            covered[name] += row["adjusted_ci_low"] <= effect <= row["adjusted_ci_high"]
            naive[name] += row["naive_ci_low"] <= effect <= row["naive_ci_high"]
    assert stats.binom.cdf(50, 60, 0.95) < 0.001
    assert min(covered.values()) >= 51, covered
    assert naive["warm"] < 10, naive
    assert naive["rushed"] < 10, naive
