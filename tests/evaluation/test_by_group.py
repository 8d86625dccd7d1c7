"""The gain by group of readers: texts of three words, one of which pleases some readers and annoys others."""

from __future__ import annotations

import functools
import itertools
import operator
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import causalopt as co
from causalopt.backends.finite_policy import FinitePolicy
from causalopt.data.population import DRAWN
from causalopt.data.reader_groups import Condition, ReaderGroup, ReaderGroups
from causalopt.errors import ConfigError, ModelError
from causalopt.evaluation import judge_groups
from causalopt.evaluation.by_group import gains_by_group
from causalopt.evaluation.policies import Draws, ExternalPolicy, LoggedPolicy, as_subject, context_rows
from causalopt.evaluation.terms import NO_DRAWS, policy_terms, with_balancing_weights
from causalopt.nuisance.guards import Failure
from causalopt.nuisance.riesz import PolicyTexts, balancing_weights

pytestmark = pytest.mark.filterwarnings("ignore::causalopt.errors.CausalOptWarning")

WORDS = [("give", "help", "join", "act"), ("now", "soon", "today", "please"), ("here", "there", "again", "often")]
TEXTS = [" ".join(parts) for parts in itertools.product(*WORDS)]
PLEASE, GIVE = (np.array([word in text for text in TEXTS], dtype=float) for word in ("please", "give"))
TILT = PLEASE + 0.6 * GIVE
P = np.exp(TILT) / np.exp(TILT).sum()
UNIFORM = np.full(64, 1 / 64)
PARTIES = ("left", "right", "centre")


def policy(probability, texts=TEXTS):
    return FinitePolicy(texts, np.log(probability), np.zeros((len(texts), 1)), np.zeros(1))


NEW, OLD = policy(P), policy(UNIFORM)


def table(seed, n=600, sway=1.5, chosen=0.0):
    """Readers of the left like "please" by ``sway`` and those of the right dislike it by as much; all like "give".

    With ``chosen`` the left are shown "please" exp(chosen) times as often, and the right as much more rarely. Returns
    the rows and the true gain of NEW over OLD by party.
    """
    rng = np.random.default_rng(seed)
    party = rng.choice(3, n, p=[0.4, 0.4, 0.2])
    slope = np.array([sway, -sway, 0.0])
    shown = np.exp(chosen * np.outer([1.0, -1.0, 0.0], PLEASE))
    shown /= shown.sum(axis=1, keepdims=True)
    text = np.array([rng.choice(64, p=shown[one]) for one in party])
    age = rng.normal(45, 12, n)
    y = GIVE[text] + slope[party] * PLEASE[text] + 0.03 * age + rng.normal(size=n)
    logged = np.bincount(party, minlength=3) @ shown / n
    frame = pd.DataFrame(
        {
            "text": [TEXTS[i] for i in text], "outcome": y, "party": [PARTIES[i] for i in party], "age": age,
            "q": np.log(logged[text]), "given": np.log(shown[party, text]), "p": np.log(P[text]),
            "drawn": [TEXTS[i] for i in rng.choice(64, n, p=P)],
        }
    )  # fmt: skip
    roles = {"behavior_log_prob": "q", "assignment_log_prob": "given", "policy_log_prob": "p", "policy_text": "drawn"}
    rows = co.DirectOutcomeDataset.from_frame(frame, covariates=["party", "age"], **roles)
    return rows, {
        f"party = {name}": float((P - UNIFORM) @ (GIVE + slope[k] * PLEASE)) for k, name in enumerate(PARTIES)
    }


def evaluated(rows, new=NEW, old=OLD, model="ridge", assignment="randomized", **settings):
    nuisances = co.PseudoOutcomeEstimator(outcome_model=model, assignment_model=assignment)
    settings = {"groups": ["party"], "estimators": ["sndr"], "draws": 200, "population": DRAWN, **settings}
    return co.evaluate(new, rows, reference=old, nuisances=nuisances, **settings)


def gains(pseudo, estimator="sndr", new=NEW, old=OLD, groups=("party",)):
    """What `evaluate` computes by group, without the rest of an evaluation, for tests that repeat it."""
    data = pseudo.dataset
    row, behavior = context_rows(data, 200, 0), data.behavior_log_prob
    terms = [
        policy_terms(
            as_subject(one), pseudo, behavior, as_subject(one).draw(pseudo, 200, 0, row), marginal=False, seed=0
        )
        for one in (new, old)
    ]
    if estimator == "balance":
        terms = with_balancing_weights(*terms, pseudo)
    chosen = groups if isinstance(groups, ReaderGroups) else ReaderGroups.by(data, groups)
    found = gains_by_group(chosen, pseudo, *terms, estimator, level=0.95)
    return found, terms[0].estimate(estimator) - terms[1].estimate(estimator)


def fitted(rows, model="ridge", assignment="randomized"):
    return co.PseudoOutcomeEstimator(outcome_model=model, assignment_model=assignment).fit_transform(rows)


def everybody():
    return ReaderGroups((ReaderGroup("everybody", "all", ()),))


def test_all_groups_are_covered_at_once_and_the_losers_are_named():
    """10 tables; at a joint coverage of 0.95 fewer than 7 cover with probability 0.001."""
    covered, losers, differ = [], [], []
    for seed in range(10):
        rows, truth = table(seed)
        found, _ = gains(fitted(rows))
        by_name = found.frame.set_index("group")
        low, high = by_name["ci_low"], by_name["ci_high"]
        covered.append(all(low[name] <= gain <= high[name] for name, gain in truth.items()))
        outlooks = dict(zip(found.frame["group"], judge_groups(found.frame).outlooks, strict=True))
        losers.append([name for name, one in outlooks.items() if one == "loses"])
        differ.append(found.heterogeneity < 0.05)
    assert sum(covered) >= 7
    assert sum(one == ["party = right"] for one in losers) >= 7
    assert sum(differ) >= 8


def test_no_group_loses_and_none_differs_where_all_gain_alike():
    """8 tables; at 5% each, three or more of either have probability 0.006."""
    losers = differ = 0
    for seed in range(8):
        rows, truth = table(100 + seed, sway=0.0)
        assert len(set(truth.values())) == 1
        found, _ = gains(fitted(rows))
        losers += bool((found.frame["ci_high"] < 0).any())
        differ += found.heterogeneity < 0.05
    assert losers <= 2
    assert differ <= 2


def test_with_defaults_readers_who_choose_their_texts_are_told_apart():
    """At a level of 0.999 the three gains are covered with at least that probability."""
    rows, truth = table(0, chosen=0.5)
    settings = {"groups": ["party", "age"], "population": DRAWN, "level": 0.999}
    found = co.evaluate(NEW, rows, reference=OLD, **settings).groups.frame.set_index("group")
    assert all(found["ci_low"][name] <= gain <= found["ci_high"][name] for name, gain in truth.items())
    assert found["gain"]["party = right"] < 0.0 < found["gain"]["party = left"]
    assert len(found) == 6


@pytest.mark.parametrize("name", ["sndr", "dr", "snipw", "dm"])
def test_by_hand_without_an_outcome_model(name):
    """With m = 0 the gain is a weighted mean of outcomes of the group's rows: weights rho s, with logged p and s."""
    rows, _ = table(0, n=300, chosen=0.7)
    found, _ = gains(fitted(rows, "zero", "logged"), name)
    position = np.array([TEXTS.index(text) for text in rows.texts])
    s = np.exp(rows.behavior_log_prob - rows.assignment_log_prob)
    for party in PARTIES:
        chosen = (rows.covariates["party"] == party).to_numpy()
        y, at = rows.outcome[chosen], position[chosen]
        gain = 0.0
        for sign, law in ((1.0, P), (-1.0, UNIFORM)):
            weight = law[at] / np.exp(rows.behavior_log_prob[chosen]) * s[chosen]
            total = weight.sum() if name in ("sndr", "snipw") else chosen.sum()
            gain += 0.0 if name == "dm" else sign * weight @ y / total
        assert found.estimates[f"party = {party}"].value == pytest.approx(gain, abs=1e-9)


def test_by_hand_with_an_outcome_model():
    """The plug-in part averages m over the group's readers, and so does g at the logged texts in `snipw`."""
    rows, _ = table(0, n=300)
    pseudo = fitted(rows)
    left = np.flatnonzero(rows.covariates["party"] == "left")
    of_left = pseudo.dose_response_of(left, TEXTS)
    position = np.array([TEXTS.index(text) for text in rows.texts])[left]
    by_readers = pseudo.row_response(TEXTS * len(left), np.repeat(left, 64)).reshape(len(left), 64)
    assert np.corrcoef(of_left, by_readers.mean(axis=0))[0, 1] > 0.9
    assert gains(pseudo, "dm")[0].estimates["party = left"].value == pytest.approx((P - UNIFORM) @ of_left, abs=1e-10)
    xi = rows.outcome[left] - pseudo.m[left] + of_left[position]
    weighted = P[position] @ xi / P[position].sum() - xi.mean()
    assert gains(pseudo, "snipw")[0].estimates["party = left"].value == pytest.approx(weighted, abs=1e-10)


def test_normalised_weights_of_a_group_have_the_expectation_of_its_gain():
    """Without m, readers who choose their texts: 8 tables of 2,000 rows, and the error of the mean is below 4 se.

    Weights normalised by rho alone, as in all rows, would be off by 0.3 for the left.
    """
    errors = []
    for seed in range(8):
        rows, truth = table(seed, n=2000, chosen=0.7)
        found, _ = gains(fitted(rows, "zero", "logged"))
        errors.append([found.estimates[name].value - gain for name, gain in truth.items()])
    mean, error = np.mean(errors, axis=0), np.std(errors, axis=0, ddof=1) / np.sqrt(8)
    assert (np.abs(mean) < 4 * error).all()
    assert (np.abs(mean) < 0.06).all()


def test_shares_of_the_groups_gains_add_up():
    """`dr` divides by the number of rows, so that the groups' gains, times their shares, sum to everybody's."""
    rows, _ = table(1, chosen=0.4)
    rng = np.random.default_rng(0)
    rows = type(rows)(**{**vars(rows), "weight": rng.uniform(0.5, 2.0, len(rows))})
    pseudo = fitted(rows, assignment="logged")
    for new, old in ((NEW, OLD), (NEW, LoggedPolicy()), (ExternalPolicy(), LoggedPolicy())):
        found, headline = gains(pseudo, "dr", new, old, ["party", "age"])
        alone = gains(pseudo, "dr", new, old, everybody())[0].estimates["everybody"]
        for _, part in found.frame.groupby("division"):
            each = [found.estimates[name] * share for name, share in zip(part["group"], part["share"], strict=True)]
            total = functools.reduce(operator.add, each)
            assert total.value == pytest.approx(alone.value, abs=1e-10)
            assert total.se == pytest.approx(alone.se, rel=0.1)
        # A group of everybody has the estimate of the headline, but for readers of the text's own fold in g.
        assert alone.value == pytest.approx(headline.value, abs=0.2 * headline.se)
        assert alone.se == pytest.approx(headline.se, rel=0.05)


def with_prompts(seed, n=400):
    """Each reader asks one of 40 prompts; the policy's own text is logged beside."""
    rng = np.random.default_rng(seed)
    text, party, drawn = rng.integers(64, size=n), rng.integers(2, size=n), rng.choice(64, n, p=P)
    y = GIVE[text] + 1.5 * (1 - 2 * party) * PLEASE[text] + rng.normal(size=n)
    frame = pd.DataFrame(
        {
            "prompt": [f"what to say {k}" for k in rng.integers(40, size=n)], "text": [TEXTS[i] for i in text],
            "outcome": y, "party": [PARTIES[k] for k in party], "q": np.log(UNIFORM[text]), "p": np.log(P[text]),
            "drawn": [TEXTS[i] for i in drawn],
        }
    )  # fmt: skip
    roles = {"prompt": "prompt", "behavior_log_prob": "q", "policy_log_prob": "p", "policy_text": "drawn"}
    return co.DirectOutcomeDataset.from_frame(frame, covariates=["party"], **roles)


@pytest.mark.parametrize("name", ["sndr", "dr", "balance", "dm"])
def test_with_prompts_a_group_of_everybody_is_the_headline(name):
    pseudo = fitted(with_prompts(0))
    found, headline = gains(pseudo, name, ExternalPolicy(), LoggedPolicy(), everybody())
    alone = found.estimates["everybody"]
    assert alone.value == pytest.approx(headline.value, abs=1e-10)
    assert alone.se == pytest.approx(headline.se, rel=1e-9)
    assert alone.df == pytest.approx(headline.df, rel=1e-9)
    parts, _ = gains(pseudo, name, ExternalPolicy(), LoggedPolicy())
    left, right = (parts.estimates[f"party = {one}"] for one in ("left", "right"))
    assert left.value > right.value + 2 * (left - right).se
    if name in ("dr", "dm"):
        assert (parts.frame["share"] * parts.frame["gain"]).sum() == pytest.approx(headline.value, abs=1e-10)


def test_balancing_weights_are_those_of_the_groups_rows_alone():
    rows, _ = table(2, n=300)
    pseudo = fitted(rows, "zero")
    found, _ = gains(pseudo, "balance")
    models = pseudo.fitted()
    x, candidates = models.embed(None, rows.texts), models.embed(None, TEXTS)
    chosen = (rows.covariates["party"] == "left").to_numpy()
    laws = [PolicyTexts(candidates, P), PolicyTexts(candidates, UNIFORM)]
    weights = balancing_weights(
        x[chosen], models.cross_fit.w[chosen], laws, rows.weight[chosen], pseudo.fold[chosen]
    ).alpha
    value = float(np.mean((weights[0] - weights[1]) * rows.outcome[chosen]))
    assert found.estimates["party = left"].value == pytest.approx(value, abs=1e-10)
    # Overlap is counted in these weights too: one text is one cluster.
    of_text = pd.Series(np.abs(weights[0])).groupby(np.array(rows.texts)[chosen]).sum()
    assert found.frame.set_index("group").loc["party = left", "ess"] == pytest.approx(
        of_text.sum() ** 2 / (of_text**2).sum()
    )


def test_a_policy_gains_nothing_over_itself_in_any_group():
    rows, _ = table(3, n=300)
    found = evaluated(rows, old=NEW).groups
    assert set(found.frame["gain"]) == {0.0}
    assert set(found.frame["se"]) == {0.0}
    assert found.heterogeneity == 1.0


def test_twelve_texts_conclude_nothing_and_say_so():
    rng = np.random.default_rng(0)
    texts = [TEXTS[i] for i in rng.choice(64, 12, replace=False)]
    text, party = rng.integers(12, size=400), rng.integers(2, size=400)
    y = 3.0 * (1 - 2 * party) * np.arange(12)[text] / 12 + rng.normal(size=400)
    frame = pd.DataFrame({"text": [texts[i] for i in text], "outcome": y, "party": [PARTIES[k] for k in party]})
    rows = co.DirectOutcomeDataset.from_frame(frame, covariates=["party"])
    weights = np.exp(np.arange(12) / 6)
    found = evaluated(rows, policy(weights / weights.sum(), texts), policy(np.full(12, 1 / 12), texts)).groups
    assert found.frame["thin"].all()
    assert set(found.frame["clusters"]) == {12}
    assert set(judge_groups(found.frame).outlooks) == {"unclear"}
    assert (found.frame["ci_high"] > found.frame["ci_low"]).all()


def test_groups_without_rows_or_clusters_are_said():
    rows, _ = table(4, n=300)
    green = ReaderGroup.of("party", [Condition("party", levels=("green",))])
    left = ReaderGroup.of("party", [Condition("party", levels=("left",))])
    first = ReaderGroup.of("one", [Condition("age", up_to=float(np.sort(rows.covariates["age"])[0]))])
    found, _ = gains(fitted(rows), groups=ReaderGroups((green, left, first)))
    assert found.frame["reason"].tolist() == ["no rows", None, "one row"]
    assert found.frame["gain"].isna().tolist() == [True, False, True]
    assert list(found.estimates) == ["party = left"]
    assert found.heterogeneity is None
    assert judge_groups(found.frame).outlooks[0] == "unclear"


def test_without_a_stabilized_weight_a_group_has_the_plug_in_alone():
    rows, _ = table(5, n=300)
    pseudo = fitted(rows)
    failed = replace(
        pseudo, s=np.zeros(len(rows)), failures=(Failure("assignment model", "x", "its weights collapse"),)
    )
    found, _ = gains(failed)
    plug_in, _ = gains(pseudo, "dm")
    np.testing.assert_allclose(found.frame["gain"], plug_in.frame["gain"], atol=1e-12)


def test_clear_lines_for_what_cannot_be_grouped(tmp_path):
    rows, _ = table(6, n=200)
    with pytest.raises(ConfigError, match="'gender' is not a covariate, so readers cannot be grouped by it"):
        evaluated(rows, groups=["gender"])
    with pytest.raises(ConfigError, match=r"pass groups=co\.find_groups"):
        evaluated(rows, groups="found")
    bare = co.DirectOutcomeDataset.from_frame(pd.DataFrame({"text": rows.texts, "outcome": rows.outcome}))
    with pytest.raises(ConfigError, match="groups of readers need covariates, and none are named"):
        evaluated(bare, groups=["age"])
    with pytest.raises(ConfigError, match="groups of readers need covariates, and none are named"):
        co.find_groups(NEW, co.PseudoOutcomeEstimator().fit_transform(bare), reference=OLD)
    pseudo = fitted(rows)
    pseudo.save(tmp_path / "saved.parquet")
    loaded = type(pseudo).load(tmp_path / "saved.parquet")
    with pytest.raises(ModelError, match="fit again"):
        co.evaluate(
            ExternalPolicy(),
            loaded,
            reference=LoggedPolicy(),
            estimators=["snipw"],
            groups=["party"],
            behavior_policy="logged",
        )


def test_a_group_without_texts_in_its_prompts_says_so():
    """Two texts are drawn, in the contexts of two rows of one fold: too few for their group, and none for another."""
    rows, _ = table(6, n=300)
    asked = replace(rows, prompts=[f"say {i % 3}" for i in range(300)])
    pseudo = fitted(asked)
    few = np.flatnonzero((rows.covariates["party"] == "left").to_numpy() & (pseudo.fold == 0))[:2]
    texts, prompts = TEXTS[:2], [asked.prompts[i] for i in few]
    drawn = Draws(texts, prompts, pseudo.row_response(texts, few), few)
    terms = [
        policy_terms(as_subject(one), pseudo, asked.behavior_log_prob, drawn, marginal=False, seed=0)
        for one in (ExternalPolicy(), LoggedPolicy())
    ]
    terms = [replace(one, balancing=NO_DRAWS) for one in terms]
    parties = [ReaderGroup.of("party", [Condition("party", levels=(name,))]) for name in ("left", "right")]
    found = gains_by_group(ReaderGroups(tuple(parties)), pseudo, *terms, "balance", level=0.95)
    reasons = found.frame.set_index("group")["reason"]
    assert "no text in the context" in reasons["party = right"]
    assert "no penalty can be chosen" in reasons["party = left"]
    assert found.estimates == {}
