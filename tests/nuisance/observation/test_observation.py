"""Models of who responds: against a known law and scikit-learn, and the constant rate where there is nothing to find.

The statistical tests have a fixed seed; were it drawn anew, each would fail with the probability that it states.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression

from causalopt.errors import ConfigError
from causalopt.nuisance import models
from causalopt.nuisance.observation.constant import ConstantObservation
from causalopt.nuisance.observation.logistic import LogisticObservation
from causalopt.nuisance.observation.sklearn import SklearnObservation
from causalopt.nuisance.outcome.ridge import DROPPED, Penalty
from causalopt.testing import check_observation_model


def law(n: int, seed: int, d: int = 6):
    """Readers w respond to texts x with log-odds -1 + w_1 - 0.8 x_1 + 0.8 x_2 w_1."""
    rng = np.random.default_rng(seed)
    x, w = rng.normal(size=(n, d)), rng.normal(size=(n, 2))
    pi = 1 / (1 + np.exp(1 - w[:, 0] + 0.8 * x[:, 0] - 0.8 * x[:, 1] * w[:, 0]))
    return x, w, rng.random(n) < pi, rng.uniform(0.5, 2.0, size=n), pi


def log_odds(pi):
    return np.log(pi / (1 - pi))


@pytest.mark.parametrize(
    "make", [ConstantObservation, LogisticObservation, lambda: SklearnObservation(LogisticRegression())]
)
def test_the_contract(make: Any) -> None:
    check_observation_model(make)


def test_a_known_law_with_an_interaction_is_found() -> None:
    x, w, observed, weight, _ = law(4000, 0)
    new_x, new_w, *_, pi = law(2000, 1)
    model = LogisticObservation().fit(x, w, observed, weight)
    assert model.chosen_ == "regression"
    # Over seeds 2 to 21 the correlation was 0.985 to 0.995, the slope 0.94 to 1.12.
    found = log_odds(model.probability(new_x, new_w))
    assert np.corrcoef(found, log_odds(pi))[0, 1] > 0.97
    assert 0.85 < np.polyfit(log_odds(pi), found, 1)[0] < 1.25
    additive = LogisticObservation(products=0).fit(x, w, observed, weight)
    assert np.corrcoef(log_odds(additive.probability(new_x, new_w)), log_odds(pi))[0, 1] < 0.95


def test_given_its_penalty_it_is_that_of_scikit_learn() -> None:
    """In coordinates of variance one, and a penalty alike for all columns, a plain ridge logistic regression."""
    x, w, observed, weight, _ = law(800, 2, d=3)
    model = LogisticObservation(products=0)
    model._choose = lambda *_: Penalty(0.1, 0.1, DROPPED, 0.0)  # type: ignore[method-assign]
    ours = model.fit(x, w, observed, weight).probability(x, w)
    share = weight / weight.sum()
    centered = x - share @ x
    whitened = np.linalg.solve(np.linalg.cholesky((centered * share[:, None]).T @ centered), centered.T).T
    v = (w - share @ w) / np.sqrt(share @ (w - share @ w) ** 2)
    z = np.hstack([whitened, v])
    # The penalty is a pseudo-row of 0.1 for each row of data: 1 / C = 0.1 times the total weight.
    theirs = LogisticRegression(C=1 / (0.1 * weight.sum()), tol=1e-10, max_iter=2000).fit(
        z, observed, sample_weight=weight
    )
    np.testing.assert_allclose(ours, theirs.predict_proba(z)[:, 1], atol=1e-6)


def test_where_nothing_decides_who_responds_the_prediction_is_almost_the_rate() -> None:
    """Over 40 seeds the constant rate was chosen in 17; in the others pi had a standard deviation of at most 0.105."""
    constant = 0
    for seed in range(12):
        x, w, observed, weight, _ = law(500, seed)
        observed = np.random.default_rng([seed, 1]).random(500) < 0.3
        model = LogisticObservation().fit(x, w, observed, weight)
        pi = model.probability(x, w)
        constant += model.chosen_ == "constant rate"
        assert np.std(pi) < 0.15
    assert constant >= 2


def test_few_and_odd_rows() -> None:
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(80, 30)), rng.normal(size=(80, 2))
    few = np.arange(80) % 10 == 0
    text = np.arange(80) % 12
    for observed in (few, ~few, text == 0, np.arange(80) == 3):
        pi = LogisticObservation().fit(x, w, observed, np.ones(80), text_id=text).probability(x, w)
        assert ((pi > 0) & (pi <= 1)).all()
    one_text = LogisticObservation().fit(np.ones((80, 2)), w, few, np.ones(80), text_id=np.zeros(80, dtype=int))
    assert one_text.chosen_ == "constant rate"
    np.testing.assert_allclose(one_text.probability(x[:, :2], w), few.mean())


def test_any_classifier_is_accepted_and_anything_else_refused() -> None:
    x, w, observed, weight, _ = law(300, 3)
    for spec in (
        "logistic",
        "constant",
        RandomForestClassifier(n_estimators=10, min_samples_leaf=20, random_state=0),
        {"name": "sklearn", "estimator": "sklearn.linear_model.LogisticRegression", "settings": {"C": 0.5}},
    ):
        model = models.fit_observation(spec, x, w, observed, weight, np.arange(300))
        pi = model.probability(x, w)
        assert pi.shape == (300,)
        assert ((pi > 0) & (pi <= 1)).all()
    with pytest.raises(ConfigError, match="LinearRegression is not an observation model"):
        models.observation_model(LinearRegression())
    with pytest.raises(ConfigError, match="LinearRegression has no predict_proba"):
        SklearnObservation(LinearRegression())
    with pytest.raises(ConfigError, match="no observation model is called 'logit'"):
        models.observation_model("logit")
