"""Any two policies are compared: written lists of texts, draws, log-probabilities, the logs, in either place."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm

import causalopt as co
from causalopt.backends.listed_policy import ListedPolicy
from causalopt.data.population import DRAWN, FIXED
from causalopt.errors import DataError, MissingPartError, ModelError
from causalopt.evaluation.evaluate import leave_out
from causalopt.evaluation.policies import ExternalPolicy, LoggedPolicy, ScoredPolicy
from causalopt.evaluation.score import log_ratio
from causalopt.run.metrics import evaluation_metrics

pytestmark = pytest.mark.filterwarnings("ignore::causalopt.errors.CausalOptWarning")

NOTES = ["Mind the gap, please.", "Stand back!", "Stand back.", "The train is late today."]  # two alike but for a mark
RATIOS = ("snipw", "sndr", "dr")


def always(text: str) -> ListedPolicy:
    return ListedPolicy([text], [1.0])


def trial(n: int, arms: int, seed: int, *, confounding: float = 0.0) -> pd.DataFrame:
    """Waiting times after one of several notes; the effect of a note grows with the hour, and so may its share."""
    rng = np.random.default_rng(seed)
    hour = rng.normal(size=n)
    share = np.exp(confounding * np.outer(hour, np.linspace(-1, 1, arms)))
    arm = ((share / share.sum(axis=1, keepdims=True)).cumsum(axis=1) < rng.random(n)[:, None]).sum(axis=1)
    effect = np.array([0.0, 0.6, -0.4, 0.2])
    wait = effect[arm] + hour * (1 + 0.3 * arm) + rng.normal(size=n) * (1 + 0.4 * arm)
    return pd.DataFrame({"text": np.array(NOTES)[arm], "hour": hour, "wait": wait, "arm": arm})


def compared(
    frame: pd.DataFrame,
    policy: object,
    reference: object,
    *,
    covariates: tuple[str, ...] = (),
    weight: str | None = None,
    reader: str | None = None,
    **settings: object,
) -> co.Evaluation:
    data = co.DirectOutcomeDataset.from_frame(
        frame, outcome="wait", covariates=list(covariates), weight=weight, reader=reader
    )
    model = "gaussian" if covariates else "randomized"
    settings.setdefault("nuisances", co.PseudoOutcomeEstimator(outcome_model="ridge", assignment_model=model))
    return co.evaluate(policy, data, reference=reference, **settings)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("arms", [2, 4])
def test_of_two_texts_in_an_experiment_it_is_the_difference_in_means_with_the_error_of_regression(arms, weighted):
    """Ratios give the means; balancing weights are penalised, and m is that of other folds: a fraction of the error."""
    frame = trial(500, arms, 0)
    frame["shown"] = np.random.default_rng(1).uniform(0.5, 2.0, 500) if weighted else 1.0
    found = compared(
        frame, always(NOTES[1]), always(NOTES[0]), weight="shown", estimators=("balance", "sndr", "dr", "snipw", "ipw")
    )
    dummies = pd.get_dummies(frame["arm"], dtype=float).drop(columns=0)
    fit = sm.WLS(frame["wait"], sm.add_constant(dummies), weights=frame["shown"]).fit(cov_type="HC3")
    assert (found.behavior_policy, found.population) == ("frequency", FIXED)
    assert found.estimator == "balance"
    for name, estimate in found.estimates["difference"].items():
        exact = name in ("snipw", "ipw")
        assert estimate.value == pytest.approx(fit.params[1], abs=1e-9 if exact else 0.05 * fit.bse[1])
        assert estimate.se == pytest.approx(fit.bse[1], rel=0.05)
    assert found.barred == ()


def test_with_a_covariate_it_is_the_adjusted_difference():
    """Lin (2013): regression on arms, the centred covariate and their products; in an experiment of 600 rows."""
    frame = trial(600, 2, 3)
    found = compared(frame, always(NOTES[1]), always(NOTES[0]), covariates=("hour",))
    hour = frame["hour"] - frame["hour"].mean()
    design = np.column_stack([np.ones(600), frame["arm"], hour, frame["arm"] * hour])
    fit = sm.OLS(frame["wait"], design).fit(cov_type="HC3")
    for name in ("balance", "sndr"):
        assert abs(found.estimates["difference"][name].value - fit.params.iloc[1]) < 0.2 * fit.bse.iloc[1]
        assert found.estimates["difference"][name].se == pytest.approx(fit.bse.iloc[1], rel=0.06)


def test_readers_who_answer_often_are_clustered():
    rng = np.random.default_rng(4)
    frame = trial(600, 2, 4)
    frame["who"] = np.repeat(np.arange(100), 6)
    frame["wait"] += 3.0 * rng.normal(size=100)[frame["who"]] * frame["arm"]
    found = compared(frame, always(NOTES[1]), always(NOTES[0]), reader="who")
    fit = sm.OLS(frame["wait"], sm.add_constant(frame["arm"].astype(float))).fit(
        cov_type="cluster", cov_kwds={"groups": frame["who"]}
    )
    assert found.difference.clusters == (100,)
    assert found.difference.se == pytest.approx(fit.bse["arm"], rel=0.05)
    assert abs(fit.bse["arm"] / sm.OLS(frame["wait"], sm.add_constant(frame["arm"])).fit().bse["arm"] - 1) > 0.1


def test_it_covers_where_the_hour_drives_both_the_note_and_the_wait():
    """30 confounded tables of three notes. The truth is the difference of effects, 0.6, as E[hour] is 0.

    At a coverage of 0.95 fewer than 23 of 30 are hit with probability 8.5e-5, and the mean error is beyond four of its
    standard errors with probability 6e-5. The difference in means misses by 0.5 or so.
    """
    errors, hits, plain = [], 0, []
    for seed in range(30):
        frame = trial(300, 3, 100 + seed, confounding=0.7)
        found = compared(
            frame,
            always(NOTES[1]),
            always(NOTES[0]),
            covariates=("hour",),
            estimators=("balance",),
        )
        low, high = found.difference.confint()
        hits += low <= 0.6 <= high
        errors.append(found.difference.value - 0.6)
        means = frame.groupby("arm")["wait"].mean()
        plain.append(means[1] - means[0] - 0.6)
    assert hits >= 23
    assert abs(np.mean(errors)) < 4 * np.std(errors, ddof=1) / np.sqrt(30)
    assert np.mean(plain) > 0.35


@pytest.mark.parametrize("share", [1.0, 0.7, 0.2])
def test_a_text_that_was_never_logged_is_said_to_be_extrapolated_in_either_place(share):
    frame = trial(400, 2, 5)
    frame.loc[frame["arm"] == 1, "wait"] += 9.0  # a difference that nobody could miss
    unseen = ListedPolicy([NOTES[3], NOTES[1]], [share, 1 - share])
    for pair, who in (((unseen, always(NOTES[0])), "policy"), ((always(NOTES[0]), unseen), "reference")):
        found = compared(frame, *pair, covariates=("hour",))
        sentence = f"{share:.0%} of what the {who} writes was never logged"
        metrics = evaluation_metrics(found, co.DirectOutcomeDataset.from_frame(frame, outcome="wait"))
        assert metrics["unlogged"] == {who: pytest.approx(share)}
        assert sentence in metrics["verdict"].split(":")[0]
        if share > 0.5:
            assert found.barred
            assert metrics["outlook"] == "unclear"
        assert ("no overlap" in str(found.left_out)) == (share == 1.0)


def test_a_text_that_nobody_rated_is_as_unknown_as_one_that_was_never_logged():
    """q is logged here, and the text was shown some 130 times, without an outcome."""
    frame = trial(400, 3, 13).assign(log_q=np.log(1 / 3), rated=1)
    frame.loc[frame["arm"] == 2, ["wait", "rated"]] = np.nan, 0
    data = co.DirectOutcomeDataset.from_frame(
        frame, outcome="wait", covariates=["hour"], observed="rated", behavior_log_prob="log_q"
    )
    found = co.evaluate(always(NOTES[2]), data, reference=always(NOTES[0]))
    assert found.behavior_policy == "logged"
    assert "100% of what the policy writes was never logged" in found.barred[0]


def test_thin_overlap_of_the_reference_is_thin_overlap_of_the_difference():
    frame = trial(600, 2, 6)
    rare = frame[frame["arm"] == 1].head(12)
    frame = pd.concat([frame[frame["arm"] == 0], rare])
    for pair in ((always(NOTES[0]), always(NOTES[1])), (always(NOTES[1]), always(NOTES[0]))):
        found = compared(frame, *pair, covariates=("hour",))
        assert found.overlap.ess < 20


def test_swapped_policies_give_the_negative_whatever_they_are():
    frame = trial(400, 3, 7)
    rng = np.random.default_rng(7)
    drawn = ScoredPolicy(ExternalPolicy(list(rng.choice(NOTES[:3], size=200, p=[0.2, 0.5, 0.3]))))
    scored = ScoredPolicy(
        drawn.drawn, {(None, text): np.log(p) for text, p in zip(NOTES[:3], [0.2, 0.5, 0.3], strict=True)}
    )
    mixed = ListedPolicy(NOTES[:3], [0.2, 0.5, 0.3])
    for other, population, source in (
        (always(NOTES[0]), FIXED, "frequency"),
        (LoggedPolicy(), FIXED, "frequency"),
    ):
        settings = {"covariates": ("hour",), "estimators": ("balance", "dm")}
        one, two = compared(frame, mixed, other, **settings), compared(frame, other, mixed, **settings)
        assert (one.population, one.behavior_policy) == (population, source)
        for name in ("balance", "dm"):
            first, second = (each.estimates["difference"][name] for each in (one, two))
            assert first.value == pytest.approx(-second.value, abs=1e-9)
            assert first.se == pytest.approx(second.se, rel=1e-6)
    with pytest.raises(DataError, match="give the probability of each text"):  # three texts are no sample of texts
        compared(frame, mixed, drawn, covariates=("hour",))
    # Log-probabilities of the logged texts and draws are the list, but for the Monte Carlo error of 200 draws.
    exact = compared(frame, mixed, always(NOTES[0]), estimators=RATIOS, behavior_policy="frequency", population=FIXED)
    numbers = compared(
        frame, scored, always(NOTES[0]), estimators=RATIOS, behavior_policy="frequency", population=FIXED
    )
    assert numbers.estimates["difference"]["snipw"].value == pytest.approx(
        exact.estimates["difference"]["snipw"].value, abs=1e-9
    )
    same = compared(frame, mixed, mixed, covariates=("hour",))
    assert (same.difference.value, same.difference.se) == (0.0, 0.0)


def test_a_fixed_answer_to_each_prompt_is_valued_by_the_readers_of_the_prompt():
    """Shares of the texts given the prompt: the inverse-probability value is the mean of the cells' means."""
    rng = np.random.default_rng(8)
    prompt, text = rng.integers(3, size=600), rng.integers(2, size=600)
    frame = pd.DataFrame({"prompt": np.array(["When?", "Where?", "Why?"])[prompt], "text": np.array(NOTES[:2])[text]})
    frame["wait"] = prompt * (text - 0.5) + rng.normal(size=600)
    data = co.DirectOutcomeDataset.from_frame(frame, outcome="wait", prompt="prompt")
    nuisances = co.PseudoOutcomeEstimator(outcome_model="ridge", assignment_model="randomized")
    first = ListedPolicy([NOTES[0], NOTES[1], NOTES[1]], [1, 1, 1], ["When?", "Where?", "Why?"])
    second = ListedPolicy([NOTES[1], NOTES[0], NOTES[1]], [1, 1, 1], ["When?", "Where?", "Why?"])
    found = co.evaluate(
        first, data, reference=second, nuisances=nuisances, estimators=("ipw", "dm"), behavior_policy="frequency"
    )
    cells = frame.groupby(["prompt", "text"])["wait"].mean()
    share = frame["prompt"].value_counts(normalize=True)
    expected = share["When?"] * (cells["When?", NOTES[0]] - cells["When?", NOTES[1]])
    expected += share["Where?"] * (cells["Where?", NOTES[1]] - cells["Where?", NOTES[0]])
    pseudo = nuisances.fit_transform(data.with_population(FIXED))
    np.testing.assert_allclose(pseudo.xi, frame["wait"], atol=1e-12)
    assert found.estimates["difference"]["ipw"].value == pytest.approx(expected, abs=1e-9)
    rows = np.arange(600)
    answers = [[dict(zip(["When?", "Where?", "Why?"], texts, strict=True))[c] for c in frame["prompt"]] for texts in (
        [NOTES[0], NOTES[1], NOTES[1]], [NOTES[1], NOTES[0], NOTES[1]]
    )]  # fmt: skip
    direct = np.mean(pseudo.row_response(answers[0], rows) - pseudo.row_response(answers[1], rows))
    assert found.estimates["difference"]["dm"].value == pytest.approx(direct, abs=1e-9)
    # A mixture of the two answers, one of them three times as likely, is worth the mixture of their values.
    asked = ["When?", "When?", "Where?", "Where?", "Why?"]
    mixed = ListedPolicy([*NOTES[:2], *NOTES[:2], NOTES[1]], [0.75, 0.25, 0.25, 0.75, 1.0], asked)
    part = co.evaluate(mixed, pseudo, reference=second, estimators=("dm",), behavior_policy="frequency")
    assert part.difference.value == pytest.approx(0.75 * direct, abs=1e-9)


def test_minus_infinity_is_weight_zero_and_nothing_else_is():
    one = np.array([-np.inf, -np.inf, -1.0, 0.0])
    other = np.array([-np.inf, -2.0, -np.inf, -1.0])
    np.testing.assert_array_equal(log_ratio(one, other), [0.0, -np.inf, np.inf, 1.0])
    with pytest.raises(ModelError, match="of text 1 is not a number"):
        log_ratio(np.array([0.0, np.nan]), np.zeros(2))
    frame = trial(300, 3, 9)
    found = compared(frame, always(NOTES[2]), always(NOTES[1]), covariates=("hour",))
    json.dumps(evaluation_metrics(found, co.DirectOutcomeDataset.from_frame(frame, outcome="wait")), allow_nan=False)
    assert found.kl is None  # infinite


def test_bounds_under_hidden_confounding_by_hand():
    """Two arms, no covariate and no outcome model: alpha is 1 / share of the arm, signed, and the residual is y."""
    frame = trial(400, 2, 10)
    data = co.DirectOutcomeDataset.from_frame(frame, outcome="wait")
    nuisances = co.PseudoOutcomeEstimator(outcome_model="zero", assignment_model="randomized")
    found = co.evaluate(always(NOTES[1]), data, reference=always(NOTES[0]), nuisances=nuisances, estimators=["sndr"])
    means, share = frame.groupby("arm")["wait"].mean(), frame["arm"].value_counts(normalize=True)
    size = np.mean(frame["wait"] ** 2) * (1 / share[0] + 1 / share[1])
    rows = found.evidence.bounds()
    strengths = {"1% of each": (0.01, 0.01), "5% of each": (0.05, 0.05), "10% of each": (0.1, 0.1)}
    strengths["as in benchmarks/coverage"] = (0.08, 0.7)
    assert [row["confounder"] for row in rows] == list(strengths)
    for row, (outcome, assignment) in zip(rows, strengths.values(), strict=True):
        bias = np.sqrt(size * outcome * assignment / (1 - assignment))
        assert row["low"] == pytest.approx(means[1] - means[0] - bias, abs=1e-9)
        assert row["high"] == pytest.approx(means[1] - means[0] + bias, abs=1e-9)
        assert row["ci_low"] < row["low"] < row["high"] < row["ci_high"]


def test_a_hidden_confounder_as_strong_as_the_one_that_is_left_out_reaches_the_estimate_with_it():
    """The bounds around the estimate without a covariate, at its own strength, hold the estimate with it."""
    frame = trial(800, 2, 11, confounding=0.7)
    data = co.DirectOutcomeDataset.from_frame(frame, outcome="wait", covariates=["hour"]).with_population(FIXED)
    nuisances = co.PseudoOutcomeEstimator(outcome_model="ridge", assignment_model="gaussian")
    pair = {"policy": always(NOTES[1]), "reference": always(NOTES[0])}
    without = leave_out(nuisances, data)
    long = co.evaluate(pair["policy"], data, reference=pair["reference"], nuisances=nuisances, without=without)
    short = co.evaluate(pair["policy"], without["hour"], reference=pair["reference"])
    one = long.evidence.benchmarks["hour"]
    bounds = short.evidence.sensitivity.bounds(one.outcome_share, one.assignment_share)
    assert bounds.low <= long.difference.value <= bounds.high
    named = {row["confounder"]: row for row in long.evidence.bounds()}["as strong as hour"]
    assert named["outcome_share"] == one.outcome_share > 0.1
    assert named["assignment_share"] == one.assignment_share > 0.05
    # As strong again: the same bias once more, to either side of the estimate with it.
    assert named["low"] < long.difference.value < named["high"]


@pytest.mark.parametrize(
    ("texts", "probability", "prompts", "said"),
    [
        (["a", "b"], [0.5, 0.6], None, r"sum to 1\.1 and not to 1"),
        (["a", "b"], [1.5, -0.5], None, "row 1: 1.5 is not a probability"),
        (["a", "b"], [np.nan, 1.0], None, "row 1: nan is not a probability"),
        (["a", "a"], [0.5, 0.5], None, "row 2: 'a' is listed twice"),
        (["a", "b"], [1.0, 0.5], ["c", "d"], "for the prompt 'd' sum to 0.5"),
        ([], [], None, "needs one probability"),
    ],
)
def test_a_list_that_is_no_distribution_is_refused_in_a_line(texts, probability, prompts, said):
    with pytest.raises(DataError, match=said):
        ListedPolicy(texts, probability, prompts)


def test_a_list_without_an_answer_to_a_logged_prompt_is_refused(tmp_path):
    policy = ListedPolicy(["a", "b"], [1.0, 1.0], ["c", "d"])
    with pytest.raises(DataError, match="no text is listed for the prompt 'e'"):
        policy.log_prob(["c", "e"], ["a", "a"])
    with pytest.raises(DataError, match="answers prompts, and there are none"):
        policy.log_prob(None, ["a"])
    policy.save(tmp_path)
    again = ListedPolicy.load(tmp_path)
    np.testing.assert_array_equal(again.log_prob(["c", "d"], ["a", "a"]), [0.0, -np.inf])
    texts, log_prob = policy.distribution(["d", "c"])
    assert texts == ["b", "a"]
    np.testing.assert_array_equal(np.exp(log_prob), np.eye(2))


def test_texts_alone_against_logged_log_probabilities_need_no_setting():
    """A system known by its texts has no ratio to the logged log-probabilities: its ratio is one of embeddings."""
    rng = np.random.default_rng(12)
    words = [f"{a} {b}" for a in ("go", "wait", "look", "stop") for b in ("left", "right", "here", "there")]
    frame = pd.DataFrame({"text": rng.choice(words, size=400), "log_q": np.log(1 / 16)})
    frame["wait"] = 2.0 * frame["text"].str.startswith("go") + rng.normal(size=400)
    data = co.DirectOutcomeDataset.from_frame(frame, outcome="wait", behavior_log_prob="log_q")
    texts = ExternalPolicy([words[i] for i in rng.integers(8, size=300)])
    found = co.evaluate(ScoredPolicy(texts), data, reference=LoggedPolicy())
    assert found.behavior_policy == "embedding"
    low, high = found.difference.confint()
    assert found.population == DRAWN
    assert low < 0.5 < high  # half of its texts go, a quarter of the logged ones
    turned = co.evaluate(LoggedPolicy(), data, reference=ScoredPolicy(texts))
    assert turned.difference.value == pytest.approx(-found.difference.value, abs=1e-9)
    assert turned.difference.se == pytest.approx(found.difference.se, rel=1e-6)
    listed = co.evaluate(ListedPolicy(words, np.full(16, 1 / 16)), data, reference=ScoredPolicy(texts))
    assert listed.population == DRAWN  # one of the two is a sample of texts
    with pytest.raises(MissingPartError, match="no log-probabilities"):
        co.evaluate(ScoredPolicy(texts), data, reference=LoggedPolicy(), behavior_policy="logged")
    with pytest.raises(DataError, match="has no log-probability of the logged text"):
        co.evaluate(ScoredPolicy(texts, {(None, "go left"): -1.0}), data, reference=LoggedPolicy())


def test_uniform_q_is_that_of_a_list_shown_equally() -> None:
    """With q = 1 / 4, the value of "always A" is 4 mean(1[x = A] y); with frequencies it is the mean of A's rows."""
    frame = trial(400, 4, seed=5)
    first, second = (always(note) for note in NOTES[:2])
    found = compared(frame, first, second, estimators=("ipw",), behavior_policy="uniform", population=FIXED)
    y, arm = frame["wait"].to_numpy(), frame["arm"].to_numpy()
    by_hand = 4 * np.mean((arm == 0) * y) - 4 * np.mean((arm == 1) * y)
    assert found.difference.value == pytest.approx(by_hand, rel=1e-9)
    # Prompts have lists of their own: four texts answer the first and two the second.
    listed = ListedPolicy.equally([*NOTES, "Yes.", "No.", "No."], ["a"] * 4 + ["b"] * 3)
    assert listed.log_prob(["a", "b"], ["Stand back!", "No."]) == pytest.approx(np.log([0.25, 0.5]))
