"""An evaluation counts in the units that were drawn, from the data set to the verdict."""

import numpy as np
import pandas as pd
import pytest

import causalopt as co
from causalopt.backends.finite import FinitePolicy
from causalopt.data.population import DRAWN, FIXED
from causalopt.errors import OverlapWarning
from causalopt.run.metrics import evaluation_metrics

TEXTS = ["A short reminder.", "A long explanation of the same thing."]


def always(index):
    """Write one text of two."""
    logits = np.full(2, -60.0)
    logits[index] = 0.0
    return FinitePolicy(TEXTS, logits, np.zeros((2, 1)), np.zeros(1))


@pytest.mark.parametrize("column", ["reader", "group"])
def test_readers_who_answer_many_items_on_one_text(column):
    """120 readers, each shown one of two texts and asked 15 items: readers are counted, permuted and clustered by."""
    rng = np.random.default_rng(0)
    who = np.repeat(np.arange(120), 15)
    arm, age = (rng.random(120) < 0.5).astype(int), rng.normal(size=120)
    frame = pd.DataFrame(
        {
            "text": [TEXTS[i] for i in arm[who]],
            "who": who,
            "age": age[who],
            "log_q": np.log(0.5),
            "outcome": rng.normal(size=120)[who] + rng.normal(size=len(who)),
        }
    )
    data = co.DirectOutcomeDataset.from_frame(frame, covariates=["age"], behavior_log_prob="log_q", **{column: "who"})
    data = data.with_population(FIXED)
    pseudo = co.PseudoOutcomeEstimator(outcome_model="ridge", assignment_model="randomized").fit_transform(data)
    found = co.evaluate(always(1), pseudo, reference=always(0), estimators=["sndr"])
    assert found.difference.clusters == (120,)
    assert (found.overlap.unit, found.overlap.clusters) == (f"{column}s", 120)
    assert found.overlap.ess == pytest.approx(arm.sum(), rel=1e-6)  # readers of the policy's text
    assert found.overlap.ess_rows == pytest.approx(15 * arm.sum(), rel=1e-6)
    assert found.evidence.placebo is not None
    assert found.evidence.placebo.permuted == "readers"
    assert found.evidence.balance is not None
    chance = found.evidence.balance.loc[0, "chance_before"]
    assert chance == pytest.approx(120**-0.5, rel=0.15)  # squares of 120 normal ages: a relative error of 6%
    metrics = evaluation_metrics(found, data)
    assert metrics["finding"] in metrics["verdict"]
    assert (metrics["thin"], metrics["outlook"], metrics["reasons"], metrics["barred"]) == (False, "unclear", [], [])
    assert metrics["overlap"]["clusters"] == 120


def test_one_text_that_carries_all_the_weight_is_no_estimate_and_no_crash():
    """Six texts of 40 rows, a sample; a policy that always writes one of them has the outcome model alone to go by."""
    rng = np.random.default_rng(1)
    texts = [f"Text {word} of six." for word in ("one", "two", "three", "four", "five", "six")]
    which = np.repeat(np.arange(6), 40)
    frame = pd.DataFrame(
        {
            "text": [texts[i] for i in which],
            "log_q": np.log(1 / 6),
            "age": rng.normal(size=240),
            "outcome": rng.normal(size=240) + which,
        }
    )
    logits = np.where(np.arange(6) == 2, 0.0, -60.0)
    policy = FinitePolicy(texts, logits, np.zeros((6, 1)), np.zeros(1))
    reference = FinitePolicy(texts, np.zeros(6), np.zeros((6, 1)), np.zeros(1))
    data = co.DirectOutcomeDataset.from_frame(frame, covariates=["age"], behavior_log_prob="log_q")
    nuisances = co.PseudoOutcomeEstimator(outcome_model="ridge", assignment_model="randomized", folds=3)
    with pytest.warns(OverlapWarning):
        found = co.evaluate(
            policy, data, reference=reference, estimators=["sndr", "dm"], nuisances=nuisances, population=DRAWN
        )
    assert "one of 6 clusters carries the whole weight" in found.left_out["sndr"]
    assert found.estimator == "dm"
    assert found.evidence.placebo is None
    metrics = evaluation_metrics(found, data)
    assert (metrics["thin"], metrics["outlook"]) == (True, "unclear")
    assert metrics["evidence"]["placebo_p_value"] is None
    assert metrics["reasons"][0] == "Overlap is thin: 6 logged texts (240 rows) count as 1 for this policy."
