"""Binary, count and rate outcomes from the table to the interval, in a confounded law small enough to enumerate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from scipy.stats import binom
from sklearn.linear_model import LogisticRegression, PoissonRegressor

import causalopt as co
from causalopt.embedding.tfidf import TfidfSvdEmbedder
from causalopt.errors import DataError
from causalopt.evaluation import dm, dr, sndr, snipw
from causalopt.nuisance.assignment.logged import LoggedAssignment
from causalopt.nuisance.assignment.randomized import RandomizedAssignment
from causalopt.nuisance.outcome.sklearn import SklearnOutcome
from causalopt.run.config import parse_config
from causalopt.run.estimate import estimate_value

WORDS = (("help", "give", "act"), ("now", "soon", "please"), ("we", "you", "all"))
TEXTS = [f"{a} {b} {c}" for a in WORDS[0] for b in WORDS[1] for c in WORDS[2]]
PLEASE, GIVE = (np.array([word in text for text in TEXTS], dtype=float) for word in ("please", "give"))
AGES, SHARES = np.array([-1.0, 0.0, 1.0]), np.array([0.3, 0.4, 0.3])
IMPRESSIONS = np.array([2.0, 5.0, 12.0])  # mean exposure of a reader of each age
GIVEN = np.exp(-1.2 * np.outer(AGES, PLEASE))  # the old, who respond most, hardly see "please"
GIVEN /= GIVEN.sum(axis=1, keepdims=True)
POLICY = np.exp(0.9 * PLEASE) / np.exp(0.9 * PLEASE).sum()
EFFECT = 0.8 * PLEASE - 0.4 * GIVE + AGES[:, None]
MEANS = {"binary": expit(EFFECT + AGES[:, None] - 0.5), "count": np.exp(EFFECT), "rate": np.exp(EFFECT - 3)}
KINDS = list(MEANS)
LEARNER = {
    "binary": LogisticRegression(C=100.0),
    "count": PoissonRegressor(alpha=1e-4),
    "rate": PoissonRegressor(alpha=1e-4),
}


@dataclass
class Study:
    frame: pd.DataFrame
    log_ratio: np.ndarray
    truth: float

    def data(self) -> co.DirectOutcomeDataset:
        return co.DirectOutcomeDataset.from_frame(
            self.frame, outcome="resp", covariates=["age"], weight="exposure", group="row",
            behavior_log_prob="log_q", assignment_log_prob="log_p",
        )  # fmt: skip


def draw(kind: str, n: int, seed: int) -> Study:
    """The truth is the sum over texts and readers, who count by their exposure where the outcome is a rate."""
    rng = np.random.default_rng(seed)
    share = SHARES * (IMPRESSIONS if kind == "rate" else 1.0)
    share /= share.sum()
    q = share @ GIVEN
    reader = rng.choice(3, n, p=SHARES)
    text = (rng.random((n, 1)) > GIVEN.cumsum(axis=1)[reader, :-1]).sum(axis=1)
    mean, exposure = MEANS[kind][reader, text], np.ones(n)
    if kind == "binary":
        y = rng.binomial(1, mean)
    elif kind == "count":
        y = rng.poisson(mean)
    else:
        exposure = 1.0 + rng.poisson(IMPRESSIONS[reader] - 1)
        y = rng.binomial(exposure.astype(int), mean) / exposure
    frame = pd.DataFrame(
        {
            "text": np.array(TEXTS)[text], "age": AGES[reader], "resp": y, "exposure": exposure, "row": range(n),
            "log_p": np.log(GIVEN[reader, text]), "log_q": np.log(q[text]), "log_f": np.log(POLICY[text]),
            "drawn": rng.choice(TEXTS, n, p=POLICY),
        }
    )  # fmt: skip
    return Study(frame, np.log(POLICY / q)[text], float(POLICY @ (share @ MEANS[kind])))


def fit(study: Study, learner, assignment) -> co.PseudoOutcomes:
    estimator = co.PseudoOutcomeEstimator(
        embedder=TfidfSvdEmbedder(), outcome_model=SklearnOutcome(learner), assignment_model=assignment, folds=3
    )
    return estimator.fit_transform(study.data())


def values(study: Study, pseudo: co.PseudoOutcomes) -> dict:
    """Every kind of estimator; the policy's own part is summed over all texts, in the proportions that it writes."""
    plug_in = float(POLICY @ pseudo.dose_response(TEXTS))
    copies = np.repeat(TEXTS, np.round(POLICY * 500).astype(int)).tolist()
    rows = {
        "reader_response": pseudo.reader_response(copies),
        "weight": pseudo.dataset.weight,
        "cluster": pseudo.dataset.group,
    }
    return {
        "sndr": sndr(study.log_ratio, pseudo.xi, pseudo.g, plug_in, **rows),
        "dr": dr(study.log_ratio, pseudo.xi, pseudo.g, plug_in, **rows),
        "snipw": snipw(study.log_ratio, pseudo.xi, **rows),
        "dm": dm(plug_in, **rows),
    }


@pytest.mark.parametrize("kind", KINDS)
def test_the_value_is_recovered_and_its_interval_covers(kind):
    """100 tables of 500 rows: both nuisances right.

    A bias below a tenth of a standard error, which the penalties and 500 rows may leave, and a coverage between 0.92
    and 0.97 fail with probability below 1e-5 for each estimator. The naive value is off by more than 1.5 of its errors.
    """
    studies = [draw(kind, 500, seed) for seed in range(100)]
    found = [values(study, fit(study, LEARNER[kind], LoggedAssignment())) for study in studies]
    truth = studies[0].truth
    for name in ("sndr", "dr", "snipw"):
        errors = np.array([one[name].value - truth for one in found])
        assert abs(errors.mean()) < (0.1 + 4.5 / np.sqrt(len(errors))) * errors.std(), name
        covered = sum(one[name].confint()[0] <= truth <= one[name].confint()[1] for one in found)
        assert binom.ppf(4e-6, 100, 0.92) <= covered <= binom.ppf(1 - 4e-6, 100, 0.97), (name, covered)
    naive = [snipw(study.log_ratio, study.frame["resp"], weight=study.frame["exposure"]) for study in studies]
    assert np.mean([(truth - one.value) / one.se for one in naive]) > 1.5


@pytest.mark.parametrize("kind", KINDS)
def test_the_right_learner_alone_removes_the_confounding(kind):
    """The assignment model is wrong (s = 1). 20 tables: the mean error is within four of its standard errors of zero.

    An estimator without bias fails with probability below 1e-3 (Student's law with 19 degrees of freedom).
    """
    studies = [draw(kind, 1000, seed) for seed in range(20)]
    found = [values(study, fit(study, LEARNER[kind], RandomizedAssignment())) for study in studies]
    naive = np.mean([snipw(s.log_ratio, s.frame["resp"], weight=s.frame["exposure"]).value for s in studies])
    for name in ("sndr", "dr", "snipw", "dm"):
        errors = np.array([one[name].value for one in found]) - studies[0].truth
        assert abs(errors.mean()) < 4 * errors.std(ddof=1) / np.sqrt(20), name
        assert abs(errors.mean()) < 0.25 * abs(naive - studies[0].truth), name


BY_NAME = {
    "binary": [
        "ridge-lightgbm",
        {"name": "sklearn", "estimator": "sklearn.linear_model.LogisticRegression", "settings": {"C": 100.0}},
        {"name": "sklearn", "estimator": "lightgbm.LGBMClassifier", "settings": {"n_estimators": 50, "n_jobs": 1}},
    ],
    "count": [
        "ridge-lightgbm",
        {"name": "sklearn", "estimator": "sklearn.linear_model.PoissonRegressor", "settings": {"alpha": 1e-4}},
        {
            "name": "sklearn",
            "estimator": "lightgbm.LGBMRegressor",
            "settings": {"objective": "poisson", "n_estimators": 50, "n_jobs": 1},
        },
    ],
}
BY_NAME["rate"] = BY_NAME["count"]


@pytest.mark.filterwarnings("ignore::causalopt.errors.CausalOptWarning")
@pytest.mark.parametrize(("kind", "model"), [(kind, model) for kind in KINDS for model in range(3)])
def test_a_configuration_reaches_the_learner_and_the_truth(kind, model, tmp_path):
    """One table of 1,500 rows with fitted weights: an interval at 1 - 1e-4 holds the truth."""
    study = draw(kind, 1500, seed=7)
    study.frame.to_csv(tmp_path / "table.csv", index=False)
    roles = {"behavior_log_prob": "log_q", "policy_log_prob": "log_f", "policy_text": "drawn", "weight": "exposure"}
    asked = {
        "data": {
            "path": str(tmp_path / "table.csv"), "outcome": "resp", "covariates": ["age"], "group": "row", **roles
        },
        "outcome_model": BY_NAME[kind][model],
        "assignment_model": "gaussian",
        "evaluation": {"level": 0.9999, "estimators": ["sndr", "dr", "snipw"], "benchmark": []},
    }  # fmt: skip
    found = estimate_value(parse_config(asked))
    for row in found["estimates"]:
        if row["quantity"] == "policy":
            assert row["ci_low"] < study.truth < row["ci_high"], row
    assert found["nuisance"]["test"]["outcome_r2"] > 0.02


@pytest.mark.parametrize("learner", [PoissonRegressor(), "lightgbm.LGBMRegressor"])
def test_a_learner_that_cannot_take_the_outcome_says_so_in_a_line(learner):
    settings = {"objective": "poisson"} if isinstance(learner, str) else None
    y = np.r_[-1.0, np.arange(39.0)]
    with pytest.raises(DataError, match=r"^(PoissonRegressor|LGBMRegressor) cannot be fitted on these 40 rows: \S"):
        SklearnOutcome(learner, settings).fit(np.arange(40.0)[:, None], np.zeros((40, 0)), y, np.ones(40))
