"""Cross-fitting where some outcomes were not observed: what enters which fit, closed forms, and failures.

The statistical tests have a fixed seed; were it drawn anew, each would fail with the probability that it states.
"""

from __future__ import annotations

import warnings
from typing import Self

import numpy as np
import pytest

import causalopt as co
from causalopt.errors import CausalOptWarning, DataError, OverlapWarning
from causalopt.nuisance.cross_fitting import cross_fit
from causalopt.nuisance.guards import MeanOutcome
from causalopt.pseudo_outcome import PseudoOutcomes

OPTIONS = {"outcome_model": "ridge", "assignment_model": "randomized", "folds": 4}


def rows(n: int = 400, seed: int = 0, rate: float = 0.5):
    """40 texts with embeddings; readers with w respond with log-odds w; y = x_1 + 2 w + noise, nan if unrated."""
    rng = np.random.default_rng(seed)
    text = rng.integers(40, size=n)
    x, w = rng.normal(size=(40, 3))[text], rng.normal(size=(n, 1))
    observed = rng.random(n) < 1 / (1 + (1 - rate) / rate * np.exp(-w[:, 0]))
    y = np.where(observed, x[:, 0] + 2 * w[:, 0] + rng.normal(size=n), np.nan)
    return x, w, y, rng.uniform(0.5, 2.0, size=n), text, observed


class Recorder(MeanOutcome):
    """Keeps what it was fitted and averaged on."""

    fits: list = []  # noqa: RUF012
    averaged: list = []  # noqa: RUF012

    def fit(self, x, w, y, weight) -> Self:
        self.fits.append((x, w, y))
        return super().fit(x, w, y, weight)

    def marginal(self, x, w_reference, weight_reference):
        self.averaged.append(weight_reference.sum())
        return super().marginal(x, w_reference, weight_reference)


class RecordsObservation:
    """Keeps the labels of the rows that it was fitted on, and predicts the rate of the readers' sign."""

    fits: list = []  # noqa: RUF012

    def fit(self, x, w, observed, weight, text_id=None) -> Self:
        self.fits.append(set(text_id.tolist()))
        self.rates_ = [np.average(observed[side], weights=weight[side]) for side in (w[:, 0] < 0, w[:, 0] >= 0)]
        return self

    def probability(self, x, w):
        return np.array(self.rates_)[(w[:, 0] >= 0).astype(int)]


def test_the_outcome_model_sees_rated_rows_alone_and_averages_over_all_readers():
    x, w, y, weight, text, observed = rows()
    Recorder.fits, Recorder.averaged = [], []
    fit = cross_fit(x, w, y, weight, text, text_id=text, observed=observed, **{**OPTIONS, "outcome_model": Recorder()})
    assert sum(len(found[2]) for found in Recorder.fits) == 3 * observed.sum()  # each rated row in three of four fits
    assert all(np.isfinite(found[2]).all() for found in Recorder.fits)
    kept = [weight[fit.fold[0] != k].sum() for k in range(4)]
    np.testing.assert_allclose(Recorder.averaged, kept)
    for name in ("m", "g", "s", "pi"):
        assert np.isfinite(getattr(fit, name)).all()


def test_who_responds_is_learned_without_the_rows_own_fold():
    x, w, y, weight, text, observed = rows()
    RecordsObservation.fits = []
    fit = cross_fit(
        x, w, y, weight, text, text_id=text, observed=observed, observation_model=RecordsObservation(), **OPTIONS
    )
    for k, seen in enumerate(RecordsObservation.fits):
        out = fit.fold[0] == k
        assert not seen & set(text[out].tolist())
        for side in (w[:, 0] < 0, w[:, 0] >= 0):
            expected = np.average(observed[side & ~out], weights=weight[side & ~out])
            np.testing.assert_allclose(fit.pi[side & out], expected)
    scores = fit.scores[fit.scores["nuisance"] == "observation"]
    assert scores["rows"].sum() == len(x)
    assert (scores["loss"] < scores["null_loss"]).all()


def test_an_outcome_that_was_not_observed_is_not_looked_at():
    x, w, y, weight, text, observed = rows()
    one = cross_fit(x, w, y, weight, text, observed=observed, **OPTIONS)
    other = cross_fit(x, w, np.where(observed, y, 1e9), weight, text, observed=observed, **OPTIONS)
    for name in ("m", "g", "s", "pi"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    with pytest.raises(DataError, match="y"):  # and where none is said to be missing, nan is an error
        cross_fit(x, w, y, weight, text, **OPTIONS)


def test_with_all_outcomes_the_numbers_are_those_without_the_role():
    x, w, _, weight, text, _ = rows()
    y = x[:, 0] + w[:, 0] + np.random.default_rng(1).normal(size=len(x))
    plain = cross_fit(x, w, y, weight, text, **OPTIONS)
    same = cross_fit(x, w, y, weight, text, observed=np.ones(len(x)), **OPTIONS)
    for name in ("m", "g", "s"):
        np.testing.assert_array_equal(getattr(plain, name), getattr(same, name))
    assert same.pi is None


def test_weights_are_truncated_relative_to_the_rate():
    """One in a hundred responds: 1 / pi is 100 everywhere, and only where it is 20 times that is it cut."""
    x, w, y, weight, text, _ = rows(n=2000)
    observed = np.arange(2000) % 100 == 0
    y = np.where(observed, x[:, 0], np.nan)
    given = {"m": np.zeros(2000), "g": np.zeros(2000), "s": np.ones(2000)}
    rate = np.average(observed, weights=weight)
    fit = cross_fit(x, w, y, weight, text, observed=observed, pi=np.full(2000, rate), **given)
    np.testing.assert_array_equal(fit.pi, np.full(2000, rate))
    assert fit.truncated_observation.rows == 0
    pi = np.where(np.arange(2000) < 200, rate / 100, rate)
    with pytest.warns(OverlapWarning, match="some readers hardly ever respond to some of the texts"):
        cut = cross_fit(x, w, y, weight, text, observed=observed, pi=pi, **given)
    np.testing.assert_allclose(cut.pi, np.where(np.arange(2000) < 200, rate / 20, rate))
    assert cut.truncated_observation.rows == pytest.approx(weight[:200].sum() / weight.sum())
    rated = weight * observed
    expected = 1 - (rated @ (1 / cut.pi)) / (rated @ (1 / pi))
    assert cut.truncated_observation.mass == pytest.approx(expected)


class Certain:
    """Sure of itself, and wrong."""

    def fit(self, x, w, observed, weight) -> Self:
        return self

    def probability(self, x, w):
        return np.where(w[:, 0] > 0, 0.01, 0.99)


class NoProbability(Certain):
    def probability(self, x, w):
        return w[:, 0]


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (Certain(), r"observation model Certain: its held-out log loss is .* times that of one rate for everybody"),
        (NoProbability(), "observation model NoProbability: in fold 0 it predicts values that are not above 0"),
    ],
)
def test_a_model_that_cannot_be_used_is_replaced_by_the_rate(model, said):
    x, w, y, weight, text, observed = rows()
    with pytest.warns(CausalOptWarning, match=said):
        fit = cross_fit(x, w, y, weight, text, observed=observed, observation_model=model, **OPTIONS)
    for k in range(4):
        out = fit.fold[0] == k
        np.testing.assert_allclose(fit.pi[out], np.average(observed[~out], weights=weight[~out]))
    assert [failure.nuisance for failure in fit.failures] == ["observation model"]


def test_of_several_models_the_best_is_taken():
    x, w, y, weight, text, observed = rows()
    fit = cross_fit(x, w, y, weight, text, observed=observed, observation_model=["constant", "logistic"], **OPTIONS)
    chosen = fit.scores[(fit.scores["nuisance"] == "observation") & fit.scores["chosen"]]
    assert set(chosen["model"]) == {"logistic (regression)"}


def test_arrays_that_cannot_be_used_are_refused():
    x, w, y, weight, text, observed = rows()
    for settings, said in (
        ({"observed": observed * 2.0}, r"observed is 2 at row \d+: it must be 0 or 1"),
        ({"observed": observed * 0}, "none of the 400 rows has an outcome"),
        ({"observed": observed, "pi": np.where(np.arange(400) == 7, 0.0, 0.5)}, "pi is 0 at row 7"),
        ({"observed": observed, "pi": np.where(np.arange(400) == 7, 1.5, 0.5)}, "pi is 1.5 at row 7"),
        ({"observed": observed[:9]}, "observed has 9 rows"),
    ):
        with pytest.raises(DataError, match=said):
            cross_fit(x, w, y, weight, text, **settings, **OPTIONS)
    with pytest.raises(DataError, match="pi goes with observed"):
        cross_fit(x, w, np.where(observed, y, 0.0), weight, text, pi=np.full(400, 0.5), **OPTIONS)
    with pytest.raises(
        DataError, match=r"no row outside fold 0 has an outcome: all \d+ of 400 rows that have one are of one"
    ):
        cross_fit(x, w, x[:, 0], weight, text, observed=text < 3, fold=np.where(text < 3, 0, 1 + text % 3), **OPTIONS)
    with pytest.raises(DataError, match="no row that has an outcome has a positive weight"):
        cross_fit(x, w, y, np.where(observed, 0.0, 1.0), text, observed=observed, **OPTIONS)


def data_set(n: int = 60, seed: int = 0) -> tuple[co.DirectOutcomeDataset, dict]:
    import pandas as pd

    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {"text": rng.choice([f"{a} {b}" for a in "abcd" for b in "efg"], n), "age": rng.normal(size=n)}
    )
    frame["outcome"] = np.where(rng.random(n) < 0.6, rng.normal(size=n), np.nan)
    data = co.DirectOutcomeDataset.from_frame(frame, covariates=["age"], on_missing="model")
    given = {name: rng.normal(size=n) for name in ("m", "g")} | {
        "s": rng.uniform(0.5, 2, n),
        "pi": rng.uniform(0.3, 1, n),
    }
    return data, given


def test_xi_is_the_formula_with_given_nuisances(tmp_path):
    data, given = data_set()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OverlapWarning)
        pseudo = co.PseudoOutcomeEstimator(folds=3).fit_transform(data, **given)
    y = np.where(data.rated, data.outcome, 0.0)
    correction = given["s"] * data.rated / given["pi"] * (y - given["m"])
    np.testing.assert_allclose(pseudo.xi, given["g"] + correction, rtol=1e-12)
    np.testing.assert_allclose(pseudo.residual, correction, rtol=1e-12)
    np.testing.assert_allclose(pseudo.observation_weight, data.rated / given["pi"])
    assert (pseudo.xi[~data.rated] == given["g"][~data.rated]).all()
    pseudo.save(tmp_path / "rows.parquet")
    again = PseudoOutcomes.load(tmp_path / "rows.parquet")
    for name in ("xi", "pi", "residual"):
        np.testing.assert_array_equal(getattr(again, name), getattr(pseudo, name))
    assert again.dataset.fingerprint() == data.fingerprint()
    assert again.truncated_observation == pseudo.truncated_observation
    assert {"observed", "pi"} <= set(pseudo.to_frame().columns)
    few = pseudo.subset(np.arange(10))
    np.testing.assert_array_equal(few.xi, pseudo.xi[:10])


def test_the_pseudo_outcome_is_doubly_robust_to_who_responds():
    """E[xi] = E[Y] over all readers if m is right or pi is, and not if both are wrong: means within five errors.

    With 40,000 rows a right mean fails this with probability 6e-7; the wrong one is off by 20 standard errors and more.
    """
    x, w, y, _, text, observed = rows(40_000)
    truth = float((x[:, 0] + 2 * w[:, 0]).mean())
    m, pi = x[:, 0] + 2 * w[:, 0], 1 / (1 + np.exp(-w[:, 0]))
    wrong_m, wrong_pi = np.zeros(40_000), np.full(40_000, 0.5)
    off = {}
    for name, one_m, one_pi in (("m", m, wrong_pi), ("pi", wrong_m, pi), ("neither", wrong_m, wrong_pi)):
        fit = cross_fit(
            x, w, y, None, text, observed=observed, m=one_m, g=one_m, s=np.ones(40_000), pi=one_pi, max_weight=1e6
        )
        xi = fit.g + np.where(observed, (y - fit.m) / fit.pi, 0.0)
        off[name] = abs(xi.mean() - truth) / (xi.std() / 200)
    assert off["m"] < 5
    assert off["pi"] < 5
    assert off["neither"] > 20
