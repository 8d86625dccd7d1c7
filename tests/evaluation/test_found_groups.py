"""Groups of readers that a tree finds in the training rows."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest

import causalopt as co
from causalopt.backends.finite_policy import FinitePolicy
from causalopt.data.population import DRAWN
from causalopt.data.reader_groups import ReaderGroups
from causalopt.evaluation.found_groups import _leaves
from causalopt.evaluation.policies import ExternalPolicy, LoggedPolicy

pytestmark = pytest.mark.filterwarnings("ignore::causalopt.errors.CausalOptWarning")

TEXTS = [" ".join(parts) for parts in itertools.product(("win", "save", "share"), ("money", "time", "food"), "abcd")]
MONEY = np.array(["money" in text for text in TEXTS], dtype=float)
P = np.exp(MONEY) / np.exp(MONEY).sum()
NEW, OLD = (FinitePolicy(TEXTS, np.log(p), np.zeros((36, 1)), np.zeros(1)) for p in (P, np.full(36, 1 / 36)))


def table(seed, n=500, effect=2.0, prompts=False):
    """Readers above 45 in the city like "money", others dislike it; without ``effect`` nobody cares for the text."""
    rng = np.random.default_rng(seed)
    text, age = rng.integers(36, size=n), rng.uniform(18, 80, n)
    place = rng.choice(["city", "town", "village"], n)
    likes = np.where((age > 45) & (place == "city"), 1.0, -1.0)
    y = effect * likes * MONEY[text] + 0.02 * age + rng.normal(size=n)
    frame = pd.DataFrame({"text": [TEXTS[i] for i in text], "outcome": y, "age": age, "place": place})
    roles = {}
    if prompts:
        frame["prompt"], frame["drawn"] = [f"q{k % 50}" for k in range(n)], [TEXTS[i] for i in rng.choice(36, n, p=P)]
        roles = {"prompt": "prompt", "policy_text": "drawn"}
    return co.DirectOutcomeDataset.from_frame(frame, covariates=["age", "place"], **roles)


def fitted(rows):
    return co.PseudoOutcomeEstimator(outcome_model="ridge-lightgbm", assignment_model="randomized").fit_transform(rows)


def test_the_readers_who_gain_are_found_and_told_apart():
    groups = co.find_groups(NEW, fitted(table(0, n=1500)), reference=OLD)
    conditions = [part for one in groups.groups for part in one.conditions]
    assert {part.covariate for part in conditions} == {"age", "place"}
    cuts = [cut for part in conditions for cut in (part.above, part.up_to) if cut is not None]
    assert min(abs(cut - 45) for cut in cuts) < 4
    rows = table(1, n=1000)
    found = co.evaluate(
        NEW, rows, reference=OLD, groups=groups, population=DRAWN, estimators=["sndr"], draws=200
    ).groups
    assert found.frame["rows"].sum() == 1000  # the leaves are a partition
    gains = found.frame.set_index("group")
    best = gains["gain"].idxmax()
    assert "place = city" in best
    assert "age > 4" in best
    assert gains["ci_low"][best] > 0
    assert (gains["ci_high"].drop(best) < 0).any()
    assert found.heterogeneity < 0.01
    assert ReaderGroups.from_dicts(groups.to_dicts()).groups == groups.groups


def test_noise_makes_no_group_lose():
    """8 pairs of tables in which no text has an effect; at 5% each, three or more have probability 0.006."""
    losing = 0
    for seed in range(8):
        groups = co.find_groups(NEW, fitted(table(seed, n=300, effect=0.0)), reference=OLD)
        rows = table(100 + seed, n=300, effect=0.0)
        nuisances = co.PseudoOutcomeEstimator(outcome_model="ridge", assignment_model="randomized")
        settings = {"nuisances": nuisances, "estimators": ["sndr"], "draws": 100, "population": DRAWN}
        frame = co.evaluate(NEW, rows, reference=OLD, groups=groups, **settings).groups.frame
        losing += bool((frame["ci_high"] < 0).any())
    assert losing <= 2


def test_without_differences_there_is_no_group():
    """`ridge` without products knows no difference between readers: what is left is rounding."""
    ridge = co.PseudoOutcomeEstimator(outcome_model={"name": "ridge", "products": 0}, assignment_model="randomized")
    groups = co.find_groups(NEW, ridge.fit_transform(table(0)), reference=OLD)
    assert groups.groups == ()
    assert groups.notes == ("No division of the readers explains differences between their estimated gains.",)
    found = co.evaluate(
        NEW, table(1, n=300), reference=OLD, groups=groups, population=DRAWN, estimators=["dm"], draws=50
    ).groups
    assert len(found.frame) == 0
    assert found.heterogeneity is None


def test_with_prompts_each_rows_own_reader_responds():
    groups = co.find_groups(ExternalPolicy(), fitted(table(0, n=1500, prompts=True)), reference=LoggedPolicy())
    assert {part.covariate for one in groups.groups for part in one.conditions} >= {"age"}


def test_leaves_by_hand():
    covariates = pd.DataFrame({"age": np.repeat([20.0, 40.0, 60.0, 80.0], 100), "kind": ["a", "b", "c", None] * 100})
    gain = np.where(covariates["age"] > 50, np.where(covariates["kind"].isin(["a", "b"]), 3.0, 1.0), 0.0)
    names = [one.name for one in _leaves(covariates, gain, np.ones(400), 1.0, 0).groups]
    assert names[0] == "age <= 50"
    members = np.concatenate([one.rows(covariates) for one in _leaves(covariates, gain, np.ones(400), 1.0, 0).groups])
    assert sorted(members) == list(range(400))
    assert [one.name for one in _leaves(covariates, 1e-9 * gain, np.ones(400), 1e-9, 0).groups] == names
    assert _leaves(covariates.iloc[:70], gain[:70], np.ones(70), 1.0, 0).groups == ()
    assert _leaves(covariates, np.full(400, 0.3) + 1e-12 * gain, np.ones(400), 1.0, 0).groups == ()
