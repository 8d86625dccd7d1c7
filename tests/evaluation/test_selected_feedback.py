"""Values where readers choose whether to respond: closed forms, coverage, the path of a user, and odd tables.

Seeds are fixed; were they drawn anew, each statistical test would fail with the probability that it states.
"""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest

import causalopt as co
from causalopt.backends.finite_policy import FinitePolicy
from causalopt.errors import CausalOptWarning
from causalopt.evaluation.policies import Draws
from causalopt.evaluation.terms import PolicyTerms

CORRECTED = ("dr", "sndr", "balance")


def terms(log_ratio, y, m, g, s, observed, pi, g_policy, weight=None, cluster=None) -> PolicyTerms:
    """Terms of one policy with given nuisances; an outcome that was not observed is nan, as in a data set."""
    n = len(y)
    answered = np.where(observed, 1 / pi, 0.0)
    error = np.where(observed, y - m, 0.0)
    with np.errstate(divide="ignore"):
        log_observed = np.log(answered)
    return PolicyTerms(
        log_ratio=log_ratio,
        marginal=log_ratio,
        xi=g + s * answered * error,
        g=g,
        error=error,
        s=s,
        log_observed=log_observed,
        draws=Draws(["a"] * len(g_policy), None, np.asarray(g_policy)),
        reader_response=None,
        weight=np.ones(n) if weight is None else weight,
        cluster=cluster,
    )


@pytest.fixture
def given():
    rng = np.random.default_rng(0)
    n = 60
    observed = rng.random(n) < 0.5
    return {
        "log_ratio": rng.normal(size=n),
        "y": np.where(observed, rng.normal(size=n), np.nan),
        "m": rng.normal(size=n),
        "g": rng.normal(size=n),
        "s": rng.uniform(0.5, 2, n),
        "observed": observed,
        "pi": rng.uniform(0.2, 1, n),
        "g_policy": rng.normal(size=7),
        "weight": rng.uniform(0.5, 2, n),
        "cluster": np.arange(n) // 4,
    }


def values(given, keep=slice(None)) -> dict[str, float]:
    """Each estimator written once more, over the rows ``keep``."""
    rho, a, s, g, m = (given[name][keep] for name in ("log_ratio", "weight", "s", "g", "m"))
    rho, o, pi = np.exp(rho), given["observed"][keep], given["pi"][keep]
    error = np.where(o, given["y"][keep] - m, 0.0)
    plug_in = given["g_policy"].mean()
    return {
        "dr": plug_in + np.sum(a * rho * s * o / pi * error) / np.sum(a),
        # Over the rows that have an outcome, each standing for 1 / pi readers.
        "sndr": plug_in + np.sum(a * rho * s * o / pi * error) / np.sum(a * rho * o / pi),
        "snipw": np.sum(a * rho * (g + s * o / pi * error)) / np.sum(a * rho),
        "ipw": np.sum(a * rho * (g + s * o / pi * error)) / np.sum(a),
    }


@pytest.mark.parametrize("name", ["dr", "sndr", "snipw", "ipw"])
def test_value_and_standard_error_are_those_of_the_formula(given, name):
    found = terms(**given).estimate(name)
    assert found.value == pytest.approx(values(given)[name], rel=1e-10)
    without = np.array([values(given, given["cluster"] != k)[name] for k in range(15)])
    rows_se = np.sqrt(14 / 15 * np.sum((without - without.mean()) ** 2))
    draws_se = given["g_policy"].std(ddof=1) / np.sqrt(7) if name in CORRECTED else 0.0
    assert found.se == pytest.approx(np.hypot(rows_se, draws_se), rel=1e-9)


@pytest.mark.parametrize("name", ["dr", "sndr", "snipw", "ipw", "switch_dr", "dr_os", "mdr", "mips", "clipped_ipw"])
def test_with_all_outcomes_the_numbers_are_those_without_the_role(given, name):
    rng = np.random.default_rng(1)
    complete = {**given, "observed": np.ones(60, dtype=bool), "y": rng.normal(size=60), "pi": np.ones(60)}
    found = terms(**complete)
    plain = found.estimate(name)
    assert np.isfinite(plain.value)
    assert (found.correction_of(name) == found.ratio_of(name)).all()
    xi = complete["g"] + complete["s"] * (complete["y"] - complete["m"])
    np.testing.assert_allclose(found.xi, xi, rtol=1e-12)


def test_intervals_cover_with_a_wrong_outcome_model_and_readers_who_select_themselves(within_binomial):
    """Texts and two kinds of readers; m is 0, pi is known: a true rate in the band fails with probability 1e-6 each.

    The mean of those who respond, the same with pi = 1, covers in less than half of the samples.
    """
    rng = np.random.default_rng(2)
    q, effect = rng.dirichlet(np.full(30, 5.0)), rng.normal(size=30)
    policy = q * np.exp(0.4 * effect)
    policy /= policy.sum()
    hits = {"dr": [], "sndr": [], "snipw": [], "naive": []}
    for _ in range(800):
        x, kind = rng.choice(30, 500, p=q), rng.integers(2, size=500)
        pi = 1 / (1 + np.exp(0.5 - 1.0 * kind - 0.5 * effect[x]))
        observed = rng.random(500) < pi
        y = np.where(observed, effect[x] + 2 * kind - 1 + rng.normal(size=500), np.nan)
        zero, one = np.zeros(500), np.ones(500)
        shared = (np.log(policy / q)[x], y, zero, zero, one, observed)
        for name in hits:
            right = terms(*shared, pi if name != "naive" else one, np.zeros(2))
            low, high = right.estimate("sndr" if name == "naive" else name).confint()
            hits[name].append(low <= policy @ effect <= high)
    for name in ("dr", "sndr", "snipw"):
        within_binomial(hits[name], (0.935, 0.965))
    assert np.mean(hits["naive"]) < 0.5


SLOTS = ("help", "give", "act", "join"), ("now", "today", "soon", "please"), ("us", "them", "all", "you")
TEXTS = [f"{a} {b} {c}" for a in SLOTS[0] for b in SLOTS[1] for c in SLOTS[2]]
EFFECT = np.array([0.6 * (i // 16) + 0.3 * (i // 4 % 4) for i in range(64)])
EFFECT -= EFFECT.mean()
UNIFORM = FinitePolicy(TEXTS, np.full(64, -np.log(64.0)), EFFECT[:, None], np.zeros(1))
BETTER = FinitePolicy(TEXTS, np.full(64, -np.log(64.0)), EFFECT[:, None], np.ones(1))
TRUTH = float(np.exp(EFFECT) @ EFFECT / np.exp(EFFECT).sum())


def table(seed: int, n: int, rate: float = 0.4) -> pd.DataFrame:
    """Texts at random; y = effect + 1.2 w_1 + 0.4 w_2 + 0.5 w_1 effect + noise.

    Readers with a large w_1 respond more, and most of all to texts that do not work: log-odds b + 1.2 w_1 (1 - effect).
    """
    rng = np.random.default_rng(seed)
    x, w = rng.integers(64, size=n), rng.normal(size=(n, 2))
    y = EFFECT[x] + 1.2 * w[:, 0] + 0.4 * w[:, 1] + 0.5 * w[:, 0] * EFFECT[x] + rng.normal(size=n)
    logit = np.log(rate / (1 - rate)) + 1.2 * w[:, 0] * (1 - EFFECT[x])
    y[rng.random(n) > 1 / (1 + np.exp(-logit))] = np.nan
    texts = [TEXTS[i] for i in x]
    return pd.DataFrame({"text": texts, "outcome": y, "w1": w[:, 0], "w2": w[:, 1], "log_q": -np.log(64.0)})


def evaluated(frame: pd.DataFrame, on_missing: str = "drop", **settings) -> co.Evaluation:
    options = {"covariates": ["w1", "w2"], "behavior_log_prob": "log_q", "on_missing": on_missing}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CausalOptWarning)
        data = co.DirectOutcomeDataset.from_frame(frame, **options, **settings)
        return co.evaluate(BETTER, data, reference=UNIFORM, estimators=("sndr", "balance"), seed=0)


def test_dropping_who_does_not_respond_is_biased_and_modelling_them_covers():
    """The path of a user with its defaults, 500 rows of which some 200 have an outcome, 4 tables.

    The value of those who respond is too high by more than 0.5 on average (0.63 and 0.66 over 20 tables of 1,200
    rows), and at most one interval reaches the truth. With the rows that have no outcome, intervals cover: were each
    table's two to cover or fail together, with probability 0.93, fewer than four of the eight would with probability
    1.3e-3; the mean error of four estimates of standard deviation 0.16 is above 0.3 with probability 2e-4.
    """
    errors = {(way, name): [] for way in ("drop", "model") for name in ("sndr", "balance")}
    hits = {"drop": 0, "model": 0}
    for seed in range(4):
        frame = table(seed, 500)
        for way in hits:
            found = evaluated(frame, way)
            for name in ("sndr", "balance"):
                estimate = found.estimates["policy"][name]
                errors[way, name].append(estimate.value - TRUTH)
                low, high = estimate.confint()
                hits[way] += int(low <= TRUTH <= high)
    for name in ("sndr", "balance"):
        assert np.mean(errors["drop", name]) > 0.5
        assert abs(np.mean(errors["model", name])) < 0.3
    assert hits["drop"] <= 1
    assert hits["model"] >= 4


def test_with_all_outcomes_an_evaluation_is_that_without_the_role():
    frame = table(1, 300).assign(outcome=lambda found: found["outcome"].fillna(found["w2"]), rated=1)
    plain, same = evaluated(frame.drop(columns="rated")), evaluated(frame, observed="rated")
    pd.testing.assert_frame_equal(plain.to_frame(), same.to_frame(), rtol=1e-12)
    assert plain.overlap == same.overlap
    assert same.evidence.nonresponse is None


def test_overlap_and_sensitivity_count_the_rows_that_have_an_outcome():
    found = evaluated(table(2, 400), "model")
    evidence = found.evidence.nonresponse
    assert evidence is not None
    assert evidence.estimate.value == found.difference.value
    # Of the 400 rows only those with an outcome carry weight, and overlap is a share of these.
    assert found.overlap.n == table(2, 400)["outcome"].notna().sum()
    assert found.overlap.ess_rows < 0.5 * 400
    assert found.overlap.clusters <= found.overlap.n
    assert found.evidence.sensitivity is not None
    # E[alpha^2] is E[(rho - rho_0)^2 s^2 / pi], above that over all rows: 1 / pi is 2 and more for most readers.
    shown = [TEXTS.index(text) for text in table(2, 400)["text"]]
    apart = 64 * np.exp(EFFECT) / np.exp(EFFECT).sum() - 1
    assert found.evidence.sensitivity.nu2 > 1.6 * np.mean(apart[shown] ** 2)
    # The better policy writes texts to which fewer of the engaged and more of the others respond: nearly nothing moves.
    assert abs(evidence.shift.value) < 0.2
    assert 0.3 < evidence.unobserved[1] < 0.8


@pytest.mark.parametrize(("rows", "rate"), [(80, 0.4), (80, 0.1), (200, 0.05)])
def test_small_and_odd_tables(rows, rate):
    """80 rows, 12 texts, a tenth of them rated: numbers, and no nan in any of them."""
    frame = table(3, rows, rate)
    frame = frame.assign(text=[TEXTS[i % 12] for i in range(rows)])
    found = evaluated(frame, "model")
    assert np.isfinite(found.to_frame()[["estimate", "se", "ci_low", "ci_high"]].to_numpy()).all()
    if found.evidence.nonresponse is not None:
        assert np.isfinite(found.evidence.nonresponse.to_frame().to_numpy()).all()
