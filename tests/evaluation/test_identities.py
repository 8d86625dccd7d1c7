"""What must hold exactly, from a table through `PseudoOutcomeEstimator` to every registered estimator."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import causalopt as co
from causalopt.estimators.names import ESTIMATORS
from causalopt.evaluation import dm, dr, dr_os, snipw
from causalopt.evaluation.evaluate import evaluate
from causalopt.evaluation.policies import ExternalPolicy, LoggedPolicy

pytestmark = pytest.mark.filterwarnings("ignore::causalopt.errors.CausalOptWarning")

TEXTS = [
    f"{a} {b} {c}" for a in ("help", "give", "act", "join") for b in ("now", "soon", "please") for c in ("we", "us")
]
WORDS = sorted({word for text in TEXTS for word in text.split()})
CODED = np.array([[float(word in text.split()) for word in WORDS] for text in TEXTS])
SCORE = np.array([1.0 * ("please" in text) - 0.5 * ("give" in text) for text in TEXTS])
POLICY = np.exp(0.7 * SCORE) / np.exp(0.7 * SCORE).sum()
DRAWN = tuple(np.random.default_rng(9).choice(TEXTS, 400, p=POLICY))


def table(n=400, seed=0):
    """Confounded: the old respond more, and see what works less."""
    rng = np.random.default_rng(seed)
    age = rng.normal(size=n)
    given = np.exp(-0.6 * np.outer(age, SCORE))
    given /= given.sum(axis=1, keepdims=True)
    shown = (rng.random((n, 1)) > given.cumsum(axis=1)[:, :-1]).sum(axis=1)
    frame = pd.DataFrame({"text": np.array(TEXTS)[shown], "age": age, "who": rng.integers(80, size=n), "row": range(n)})
    frame["exposure"] = rng.uniform(0.5, 2.0, n)
    frame["resp"] = SCORE[shown] + age + rng.normal(size=n)
    frame["log_q"], frame["log_f"] = np.log(given.mean(axis=0))[shown], np.log(POLICY)[shown]
    frame["fold"] = (rng.permutation(len(TEXTS)) % 4)[shown]
    return pd.concat([frame, pd.DataFrame(CODED[shown], columns=WORDS)], axis=1)


def dataset(frame, covariates=("age",)):
    return co.DirectOutcomeDataset.from_frame(
        frame, outcome="resp", covariates=list(covariates), weight="exposure", reader="who", attributes=WORDS,
        behavior_log_prob="log_q", policy_log_prob="log_f",
    )  # fmt: skip


def fitted(frame, **settings):
    """Coded texts: the directions of an embedding that is learnt would turn with the order of the rows."""
    parts = {"embedder": "attributes", "outcome_model": "ridge", "assignment_model": "gaussian", **settings}
    estimator = co.PseudoOutcomeEstimator(**parts)
    return estimator.fit_transform(dataset(frame), fold=frame["fold"].to_numpy())


def found(pseudo):
    evaluation = evaluate(ExternalPolicy(DRAWN), pseudo, reference=LoggedPolicy(), estimators=ESTIMATORS)
    assert not evaluation.left_out
    return evaluation.estimates["policy"]


@pytest.fixture(scope="module")
def frame():
    return table()


@pytest.fixture(scope="module")
def before(frame):
    return found(fitted(frame))


@pytest.fixture(scope="module")
def shifted(frame):
    return found(fitted(frame.assign(resp=frame["resp"] + 100.0)))


@pytest.fixture(scope="module")
def shuffled(frame):
    return found(fitted(frame.sample(frac=1, random_state=1)))


@pytest.mark.parametrize("assignment", ["randomized", "gaussian"])
@pytest.mark.parametrize("outcome", ["zero", "ridge"])
def test_without_covariates_the_pseudo_outcome_is_the_outcome(frame, assignment, outcome):
    data = dataset(frame, covariates=())
    pseudo = co.PseudoOutcomeEstimator(outcome_model=outcome, assignment_model=assignment).fit_transform(data)
    np.testing.assert_array_equal(pseudo.s, 1)
    np.testing.assert_array_equal(pseudo.xi, frame["resp"])


def test_there_are_weights_to_speak_of(frame):
    """Or the tests below would prove nothing of them."""
    assert np.std(fitted(frame).s) > 0.3


@pytest.mark.parametrize("name", ["snipw", "sndr", "mips", "mdr", "dr", "switch_dr", "dr_os", "balance", "dm"])
def test_a_shifted_outcome_shifts_the_value(before, shifted, name):
    """All but `ipw` and `clipped_ipw`, whose weights do not sum to one; errors and differences stay."""
    assert shifted[name].value == pytest.approx(before[name].value + 100.0, abs=1e-7)
    assert shifted[name].se == pytest.approx(before[name].se, rel=1e-6)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_the_order_of_rows_changes_nothing(before, shuffled, name):
    """With the folds given; `mips` and `mdr` to the tolerance of an iterative fit."""
    tolerance = 1e-5 if name in ("mips", "mdr") else 1e-9
    assert shuffled[name].value == pytest.approx(before[name].value, abs=tolerance)
    assert shuffled[name].se == pytest.approx(before[name].se, abs=tolerance)


def test_a_shift_of_the_log_probabilities_leaves_self_normalised_values(frame, before):
    after = found(fitted(frame.assign(log_f=frame["log_f"] - 7.0)))
    for name in ("snipw", "sndr", "mips", "mdr", "balance", "dm"):
        assert after[name].value == pytest.approx(before[name].value, abs=1e-10)
        assert after[name].se == pytest.approx(before[name].se, rel=1e-9)
    assert after["ipw"].value == pytest.approx(np.exp(-7.0) * before["ipw"].value)


def test_shrinkage_ends_at_the_direct_method_and_at_the_doubly_robust_value(frame):
    pseudo = fitted(frame)
    data = pseudo.dataset
    log_ratio, g_policy = data.policy_log_prob - data.behavior_log_prob, pseudo.dose_response(DRAWN)
    rows = {
        "reader_response": pseudo.reader_response(DRAWN), "weight": data.weight, "cluster": (data.group, data.reader)
    }  # fmt: skip
    for lam, end in ((0.0, dm(g_policy, **rows)), (np.inf, dr(log_ratio, pseudo.xi, pseudo.g, g_policy, **rows))):
        shrunk = dr_os(log_ratio, pseudo.xi, pseudo.g, g_policy, lam=lam, **rows)
        assert (shrunk.value, shrunk.se) == (end.value, end.se)


def test_the_registered_estimators_are_those_of_the_functions(frame, before):
    """`evaluate` adds nothing of its own: the same numbers from the arrays."""
    pseudo = fitted(frame)
    data = pseudo.dataset
    rows = {
        "reader_response": pseudo.reader_response(DRAWN), "weight": data.weight, "cluster": (data.group, data.reader)
    }  # fmt: skip
    direct = snipw(data.policy_log_prob - data.behavior_log_prob, pseudo.xi, **rows)
    assert (direct.value, direct.se) == (before["snipw"].value, before["snipw"].se)
