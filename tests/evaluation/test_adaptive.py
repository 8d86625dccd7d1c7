"""Logs of a bandit that shows the better of six texts more and more: values with and without its propensities."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import causalopt as co
from causalopt.backends.finite_policy import FinitePolicy
from causalopt.data.population import FIXED
from causalopt.errors import CausalOptWarning, ConfigError, DataError
from causalopt.evaluation.adaptive import adaptive_scores, forward_fit
from causalopt.evaluation.evaluate import evaluate
from causalopt.evaluation.policies import ExternalPolicy, LoggedPolicy, as_subject
from causalopt.run.config import parse_config

TEXTS = [f"{verb} {noun}" for verb in ("give", "help", "join") for noun in ("today", "us")]
SHARE = np.array([0.05, 0.1, 0.1, 0.2, 0.25, 0.3])
NUISANCES = co.PseudoOutcomeEstimator(outcome_model="ridge", assignment_model="randomized", folds=3)


def logs(seed: int, n: int = 400) -> tuple[pd.DataFrame, np.ndarray]:
    """Softmax of 4 times the mean so far, mixed with 0.1 of the uniform choice; y = worth + age + noise."""
    rng = np.random.default_rng(seed)
    worth, age = rng.normal(0, 0.4, 6), rng.normal(size=n)
    total, count, text, log_e, y = np.zeros(6), np.zeros(6), np.zeros(n, int), np.zeros((n, 6)), np.zeros(n)
    for t in range(n):
        score = np.exp(4 * total / (count + 2))
        log_e[t] = np.log(0.9 * score / score.sum() + 0.1 / 6)
        text[t] = rng.choice(6, p=np.exp(log_e[t]) / np.exp(log_e[t]).sum())
        y[t] = worth[text[t]] + age[t] + rng.normal()
        total[text[t]] += y[t]
        count[text[t]] += 1
    frame = pd.DataFrame(log_e, columns=[f"e{k}" for k in range(6)])
    own = log_e[np.arange(n), text]
    return frame.assign(text=[TEXTS[k] for k in text], outcome=y, age=age, own=own, t=np.arange(n)), worth


def dataset(frame: pd.DataFrame, **roles) -> co.DirectOutcomeDataset:
    roles = {"time": "t", "adaptive": True, "covariates": ["age"], **roles}
    return co.DirectOutcomeDataset.from_frame(frame, **roles).with_population(FIXED)


ALL = {"propensities": {text: f"e{k}" for k, text in enumerate(TEXTS)}}
OWN = {"behavior_log_prob": "own"}


def finite(share: np.ndarray) -> FinitePolicy:
    return FinitePolicy(TEXTS, np.log(share), np.zeros((6, 1)), np.zeros(1), None)


POLICY, UNIFORM = finite(SHARE), finite(np.ones(6) / 6)


def evaluated(data, **settings):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CausalOptWarning)
        return evaluate(POLICY, data, nuisances=NUISANCES, **{"reference": UNIFORM, "draws": 50, **settings})


def scores(frame: pd.DataFrame, *known):
    """Scores from logs with the propensities of all texts, or of the chosen ones."""
    data = [dataset(frame, **roles) for roles in known]
    pseudo = NUISANCES.fit_transform(data[0])
    fit = forward_fit(pseudo)
    subjects = {"policy": as_subject(POLICY), "reference": as_subject(UNIFORM)}
    drawn = {who: one.draw(pseudo, 20, 0) for who, one in subjects.items()}
    return [adaptive_scores(replace(pseudo, dataset=one), subjects, drawn, 0, fit) for one in data]


def test_its_interval_covers():
    """24 tables of 300 rows: at a coverage of 0.95 fewer than 19 cover with probability 1e-3 (for each of four)."""
    covered, errors = np.zeros((2, 2)), []
    for seed in range(24):
        frame, worth = logs(seed, n=300)
        truths = (SHARE @ worth, SHARE @ worth - worth.mean())
        for j, found in enumerate(scores(frame, ALL, OWN)):
            policy, reference = (found[who].estimate(np.ones(len(frame))) for who in ("policy", "reference"))
            for k, (estimate, truth) in enumerate(zip((policy, policy - reference), truths, strict=True)):
                low, high = estimate.confint()
                covered[j, k] += low <= truth <= high
                errors.append((estimate.value - truth) / estimate.se)
    assert covered.min() >= 19
    assert 0.7 < np.std(errors) < 1.4


@pytest.mark.parametrize("roles", [ALL, OWN])
def test_nothing_of_a_score_or_its_weight_is_from_later_rows(roles):
    """Outcomes and propensities of later rows change, and no earlier score does; scale of weights aside."""
    frame, _ = logs(0, n=200)
    later = frame["t"] >= 100
    changed = frame.assign(outcome=frame["outcome"] + 3.0 * later)
    columns = [*(f"e{k}" for k in range(6)), "own"]
    changed.loc[later, columns] = changed.loc[later, columns] - 0.2
    before, after = (scores(one, roles)[0]["policy"] for one in (frame, changed))
    for name in ("log_ratio", "residual", "plug_in"):
        np.testing.assert_array_equal(vars(before)[name][:100], vars(after)[name][:100])
    ratio = after.h[1:100] / before.h[1:100]
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-12)
    assert before.h[0] == 0


def test_it_is_the_headline_of_adaptive_logs_and_a_policy_minus_itself_is_zero():
    data = dataset(logs(0)[0], **ALL)
    found = evaluated(data)
    assert found.estimator == "adaptive_dr"
    assert set(found.estimates["difference"]) == {"adaptive_dr", "balance", "sndr", "dr", "snipw", "dm"}
    same = evaluated(data, reference=POLICY, estimators=["adaptive_dr"]).difference
    assert (same.value, same.se) == (0.0, 0.0)
    config = parse_config({"data": {"path": "t.csv", "time": "t", "adaptive": True, **OWN}})
    assert config.evaluation.estimators[0] == "adaptive_dr"
    named = parse_config(
        {"data": {"path": "t.csv", "time": "t", "adaptive": True, **OWN}, "evaluation": {"estimators": ["dm"]}}
    )
    assert named.evaluation.estimators == ["dm"]


def test_the_texts_as_logged_are_worth_the_mean_outcome():
    frame, _ = logs(1)
    found = evaluated(dataset(frame, **OWN), reference=LoggedPolicy(), estimators=["adaptive_dr"])
    assert found.reference.value == pytest.approx(frame["outcome"].mean())


def test_draws_of_a_policy_that_is_not_known_by_its_probabilities():
    """Its texts are drawn for all rows, and their error counts: the value is close to that of the sum over texts."""
    frame, _ = logs(2)
    text = frame["text"].map(TEXTS.index)
    data = dataset(frame.assign(f=np.log(SHARE[text])), **OWN, policy_log_prob="f")
    drawn = ExternalPolicy(POLICY.sample(None, 4000, 0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CausalOptWarning)
        found = evaluate(
            drawn, data, reference=LoggedPolicy(), nuisances=NUISANCES, estimators=["adaptive_dr"], population=FIXED
        ).policy
    assert len(found.draws) == 1
    exact = evaluated(dataset(frame, **OWN), reference=LoggedPolicy(), estimators=["adaptive_dr"]).policy
    assert found.value == pytest.approx(exact.value, abs=exact.se)


def test_without_propensities_it_is_said_what_is_not_identified_and_nothing_is_concluded():
    frame, _ = logs(0)
    with pytest.warns(CausalOptWarning, match="chosen by earlier outcomes.*not the probability.*behavior_log_prob"):
        found = evaluate(
            POLICY, dataset(frame), reference=UNIFORM, nuisances=NUISANCES, draws=50, estimators=["sndr", "dm"]
        )
    assert any("no ratio is identified" in one for one in found.barred)
    only = evaluated(dataset(frame), estimators=["adaptive_dr", "dm"])
    assert "needs the logged probability of each choice" in only.left_out["adaptive_dr"]
    usual = evaluated(dataset(frame, **OWN, adaptive=False), estimators=["adaptive_dr", "dm"])
    assert "set data.adaptive" in usual.left_out["adaptive_dr"]


def test_settings_that_do_not_fit():
    frame, _ = logs(0, n=30)
    with pytest.raises(ConfigError, match=r"data\.adaptive needs data\.time"):
        dataset(frame, time=None)
    with pytest.raises(ConfigError, match=r"adaptive needs data\.time"):
        parse_config({"data": {"path": "t.csv", "adaptive": True}})
    with pytest.raises(ConfigError, match=r"data\.propensities takes the place"):
        dataset(frame, **ALL, **OWN)
    fewer = {text: column for text, column in ALL["propensities"].items() if text != frame["text"][3]}
    with pytest.raises(DataError, match=r"column 'text', row \d+ is .*: data\.propensities has no column"):
        dataset(frame, propensities=fewer)


def test_roles_keep_through_restore():
    data = dataset(logs(0, n=30)[0], **ALL)
    again = co.DirectOutcomeDataset.restore(data.to_frame(), data.row, data.about())
    assert again.adaptive
    assert again.fingerprint() == data.fingerprint()
    np.testing.assert_array_equal(again.logged_log_prob, data.logged_log_prob)
    assert dataset(logs(0, n=30)[0], **ALL, adaptive=False).fingerprint() != data.fingerprint()
