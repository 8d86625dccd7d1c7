"""The judge that is a model of the outcome: it prefers what the truth prefers, in the direction of the outcome."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

import causalopt as co
from causalopt.errors import ConfigError, DataError
from causalopt.judges.contracts import Pair
from causalopt.judges.outcome_model import OutcomeModelJudge
from causalopt.judges.questions import Question
from causalopt.pseudo_outcome import PseudoOutcomes
from causalopt.testing import check_judge

QUESTION = Question("outcome", "Which text?")
TEXTS = [f"{a} {b} {c}" for a in ("help", "give", "act") for b in ("now", "soon", "please") for c in ("we", "you")]


def fitted(direction: str, prompts: bool = False) -> PseudoOutcomes:
    """Outcomes of 600 readers: 2 for the word please, plus a reader's age and noise."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"text": rng.choice(TEXTS, 600), "age": rng.normal(size=600)})
    frame["resp"] = 2.0 * frame["text"].str.contains("please") + frame["age"] + 0.3 * rng.normal(size=600)
    frame["question"] = [f"Who asks {i % 100}?" for i in range(600)]
    data = co.DirectOutcomeDataset.from_frame(
        frame, outcome="resp", covariates=["age"], direction=direction, prompt="question" if prompts else None
    )
    embedder = {"name": "tfidf-svd", "dimensions": 8}
    nuisances = co.PseudoOutcomeEstimator(embedder, outcome_model="ridge", assignment_model="randomized", folds=2)
    return nuisances.fit_transform(data)


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_it_prefers_what_does_better(direction: str) -> None:
    judge = OutcomeModelJudge(fitted(direction))
    pairs = [Pair(None, "help please we", "help now we"), Pair(None, "act soon you", "act please you"),
             Pair(None, "give now we", "give now we")]  # fmt: skip
    found = list(judge.compare(pairs, QUESTION))
    better = 1.0 if direction == "maximize" else 0.0
    assert [one.first for one in found] == [better, 1 - better, 0.5]
    g = json.loads(found[0].answer)
    assert g["g_first"] - g["g_second"] == pytest.approx(2.0, abs=0.3)
    assert judge.identity["direction"] == direction
    assert judge.identity["outcome"] == "resp"


def test_it_keeps_the_contract_of_judges() -> None:
    model, prompted = fitted("maximize"), fitted("maximize", prompts=True)
    check_judge(lambda: OutcomeModelJudge(model))
    pairs = [Pair("Who asks 1?", "help please we", "help now we"), Pair("Unheard of?", "help now we", "help please we")]
    assert [one.first for one in OutcomeModelJudge(prompted).compare(pairs, QUESTION)] == [1.0, 0.0]


def test_what_it_does_not_know() -> None:
    judge = OutcomeModelJudge(fitted("maximize", prompts=True))
    with pytest.raises(ConfigError, match="the outcome model reads prompts"):
        list(judge.compare([Pair(None, "a", "b")], QUESTION))
    with pytest.raises(ConfigError, match="knows no Likert scale"):
        list(judge.compare([Pair("Who asks 1?", "a", "b")], Question("outcome", "Which?", "likert")))
    with pytest.raises(DataError, match=r"judge\.score must be"):
        OutcomeModelJudge("runs/x")  # type: ignore[arg-type]
