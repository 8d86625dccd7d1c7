"""`co.evaluate_with_judge`: what it adds to an evaluation, for every kind of policy, and its one-line errors."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest

import causalopt as co
from causalopt.backends.listed_policy import ListedPolicy
from causalopt.errors import ConfigError, DataError, MissingPartError, ModelError, OverlapError
from causalopt.evaluation.policies import ExternalPolicy, LoggedPolicy

pytestmark = pytest.mark.filterwarnings("ignore::causalopt.errors.CausalOptWarning")
TEXTS = [" ".join(parts) for parts in itertools.product(*[[f"{slot}{k}" for k in "abcd"] for slot in "pqr"])]
WORTH = np.array([0.4 * ("abcd".index(t[1]) + "abcd".index(t[4])) - 0.3 * "abcd".index(t[7]) for t in TEXTS])
BY_TEXT = dict(zip(TEXTS, WORTH, strict=True))
NUISANCES = co.PseudoOutcomeEstimator(
    embedder={"name": "tfidf-svd", "dimensions": 8}, outcome_model="ridge", assignment_model="randomized",
    observation_model="constant", folds=3,
)  # fmt: skip


def judge(prompts, texts):
    return np.exp(np.array([BY_TEXT[text] for text in texts]))


def listed(tilt: float) -> ListedPolicy:
    probability = np.exp(tilt * WORTH)
    return ListedPolicy(TEXTS, probability / probability.sum())


def rows(n: int = 400, seed: int = 0, rated: float = 0.3, prompts: bool = False) -> co.DirectOutcomeDataset:
    rng = np.random.default_rng(seed)
    text = rng.choice(len(TEXTS), n)
    age = rng.normal(size=n)
    frame = pd.DataFrame({"text": [TEXTS[i] for i in text], "age": age})
    frame["outcome"] = WORTH[text] + 0.8 * age + 0.5 * rng.normal(size=n)
    frame.loc[rng.random(n) > rated, "outcome"] = np.nan
    roles = {}
    if prompts:
        frame["asked"] = [f"question {k}" for k in rng.integers(0, 40, n)]
        roles["prompt"] = "asked"
    return co.DirectOutcomeDataset.from_frame(frame, covariates=["age"], on_missing="model", **roles)


TRUTH = float((np.exp(WORTH) / np.exp(WORTH).sum()) @ WORTH - WORTH.mean())


def evaluated(policy, data=None, **settings):
    settings = {"reference": listed(0.0), "nuisances": NUISANCES, "draws": 200, **settings}
    return co.evaluate_with_judge(policy, rows() if data is None else data, settings.pop("judge", judge), **settings)


def test_the_numbers_of_an_evaluation() -> None:
    found = evaluated(listed(1.0))
    low, high = found.difference.confint(0.999)
    assert low < TRUTH < high
    without = found.estimates["difference"]["balance"]
    assert found.difference.se < without.se  # the judge knows what there is to know
    plain = co.evaluate(listed(1.0), rows(), reference=listed(0.0), nuisances=NUISANCES, draws=200)
    assert plain.difference.value == pytest.approx(without.value, rel=1e-9)
    assert plain.difference.se == pytest.approx(without.se, rel=1e-9)
    assert plain.overlap == found.overlap
    raw = found.estimates["difference"]["raw_judge"]
    p = np.exp(WORTH) / np.exp(WORTH).sum()
    assert raw.value == pytest.approx((p - 1 / len(p)) @ np.exp(WORTH))
    assert raw.se == 0  # summed exactly over a list
    assert found.outcomes == int(rows().rated.sum())
    assert set(found.to_frame()["estimator"]) == {"calibrated_judge", "balance", "raw_judge"}
    assert f"calibrated to {found.outcomes} outcomes" in found.summary()
    assert found.transport["policy"].table["stratum"].iloc[0] == "overall"


@pytest.mark.parametrize("estimator", ["balance", "sndr", "dr"])
def test_a_policy_minus_itself_is_exactly_zero(estimator) -> None:
    found = evaluated(listed(1.0), reference=listed(1.0), estimator=estimator, behavior_policy="frequency")
    assert (found.difference.value, found.difference.se) == (0.0, 0.0)


def test_the_texts_as_logged_as_reference() -> None:
    """Against the logs the judge's scores of rows without an outcome are used: prediction-powered inference."""
    found = evaluated(listed(1.0), reference=LoggedPolicy())
    low, high = found.difference.confint(0.999)
    assert low < TRUTH < high
    assert list(found.transport) == ["policy"]


def test_a_worthless_and_an_opposite_judge() -> None:
    rng = np.random.default_rng(3)
    noise = dict(zip(TEXTS, rng.normal(size=len(TEXTS)), strict=True))
    worthless = evaluated(listed(1.0), judge=lambda prompts, texts: np.array([noise[text] for text in texts]))
    low, high = worthless.difference.confint(0.999)
    assert low < TRUTH < high
    opposite = evaluated(listed(1.0), judge=lambda prompts, texts: -judge(prompts, texts))
    assert opposite.difference.value == pytest.approx(evaluated(listed(1.0)).difference.value, rel=1e-6)
    assert worthless.difference.se > opposite.difference.se


def test_prompts_and_texts_known_from_elsewhere() -> None:
    data = rows(prompts=True)
    drawn = [TEXTS[i] for i in np.random.default_rng(1).choice(len(TEXTS), 300, p=np.exp(WORTH) / np.exp(WORTH).sum())]
    asked: list[int] = []

    def counting(prompts, texts):
        assert prompts is not None
        asked.append(len(texts))
        assert len(set(zip(prompts, texts, strict=True))) == len(texts)
        return judge(prompts, texts)

    questions = [data.prompts[i % len(data)] for i in range(300)]
    found = evaluated(ExternalPolicy(drawn, questions), data, reference=LoggedPolicy(), judge=counting)
    low, high = found.difference.confint(0.999)
    assert low < TRUTH < high
    pairs = {*zip(questions, drawn, strict=True), *zip(data.prompts, data.texts, strict=True)}
    assert sum(asked) == len(pairs)  # each pair once


def test_rows_without_an_outcome_are_not_scored_unless_they_are_needed() -> None:
    data = rows()
    rated = {text for text, one in zip(data.texts, data.rated, strict=True) if one}
    seen: set[str] = set()

    def counting(prompts, texts):
        seen.update(texts)
        return judge(prompts, texts)

    drawn = ExternalPolicy(sorted(rated)[:40] * 3)
    evaluated(drawn, data, reference=ExternalPolicy(sorted(rated) * 3), judge=counting)
    assert seen <= rated


def test_scores_from_a_file(tmp_path) -> None:
    path = tmp_path / "scores.csv"
    pd.DataFrame({"text": TEXTS, "stars": judge(None, TEXTS)}).to_csv(path, index=False)
    found = evaluated(listed(1.0), judge=co.JudgeScores.from_path(path, score="stars"))
    assert found.difference.value == pytest.approx(evaluated(listed(1.0)).difference.value, rel=1e-9)
    with pytest.raises(DataError, match="no column 'score'; there are: text, stars"):
        co.JudgeScores.from_path(path)
    path.write_text("text,score\nhello,1\nhello,2\n")
    with pytest.raises(DataError, match="row 2: 'hello' has two different scores"):
        co.JudgeScores.from_path(path)
    path.write_text("text,score\nhello,1\nworld,\n")
    with pytest.raises(DataError, match="row 2 has no score"):
        co.JudgeScores.from_path(path)
    path.write_text("text,score\nhello,high\n")
    with pytest.raises(DataError, match="column 'score', row 1"):
        co.JudgeScores.from_path(path)
    path.write_text("text,score\nhello,1\n")
    with pytest.raises(DataError, match="has no score of the text"):
        evaluated(listed(1.0), judge=co.JudgeScores.from_path(path))


def test_errors() -> None:
    with pytest.raises(ConfigError, match="needs reference="):
        evaluated(listed(1.0), reference=None)
    with pytest.raises(ConfigError, match="estimator must be 'balance', 'sndr'"):
        evaluated(listed(1.0), estimator="snipw")
    with pytest.raises(ConfigError, match="judge must be a function"):
        evaluated(listed(1.0), judge=3)
    with pytest.raises(ConfigError, match="draws must be a whole number"):
        evaluated(listed(1.0), draws=1)
    with pytest.raises(ModelError, match="is not a finite number"):
        evaluated(listed(1.0), judge=lambda prompts, texts: np.full(len(texts), np.nan))
    with pytest.raises(ModelError, match=r"scores of shape \(3,\)"):
        evaluated(listed(1.0), judge=lambda prompts, texts: np.zeros(3))
    with pytest.raises(MissingPartError, match="needs texts drawn"):
        evaluated(ExternalPolicy(), rows(), reference=LoggedPolicy(), behavior_policy="embedding")
    with pytest.raises(DataError, match="have an outcome: at least 10 are needed"):
        evaluated(listed(1.0), rows(300, rated=0.02))


def test_a_policy_whose_scores_were_never_seen_with_an_outcome() -> None:
    far = ListedPolicy(["praise praise praise"], [1.0])

    def fond(prompts, texts):
        return np.array([99.0 if text.startswith("praise") else np.exp(BY_TEXT[text]) for text in texts])

    with pytest.raises(OverlapError, match="100% of the texts that the policy writes have scores unlike"):
        evaluated(far, judge=fond)
