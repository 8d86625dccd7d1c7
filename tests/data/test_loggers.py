"""Logs of two policies: the mixture as behavior policy, on a finite law whose value is a sum over 12 texts."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from causalopt import DirectOutcomeDataset, PseudoOutcomeEstimator, evaluate
from causalopt.backends.finite_policy import FinitePolicy
from causalopt.behavior import behavior_log_prob, behavior_source
from causalopt.errors import CausalOptWarning, ConfigError, DataError
from causalopt.evaluation import ipw
from causalopt.evaluation.policies import LoggedPolicy

TEXTS = [f"{verb} {noun}" for verb in ("give", "help", "join") for noun in ("today", "us", "now", "them")]
WORTH = np.linspace(-1.0, 2.0, 12)
# Each logger writes one half of the texts nearly always: their overlap is poor.
A = np.where(np.arange(12) < 6, 0.98 / 6, 0.02 / 6)
B = A[::-1]
POLICY = np.array([2.0] * 3 + [0.5] * 6 + [3.0] * 3) / 18
VALUE = float(POLICY @ WORTH)


def logs(seed: int, n: int = 600, share: float = 0.7, prompts: bool = False) -> pd.DataFrame:
    """Logger a answers a row with probability ``share``; with prompts, 0.9 of the rows of one and 0.1 of the other.

    With prompts the texts of the second one are worth 1 more.
    """
    rng = np.random.default_rng(seed)
    prompt = rng.integers(2, size=n)
    by_a = rng.random(n) < (np.where(prompt == 0, 0.9, 0.1) if prompts else share)
    text = np.where(by_a, rng.choice(12, n, p=A), rng.choice(12, n, p=B))
    worth = WORTH[text] + (prompt if prompts else 0)
    return pd.DataFrame(
        {
            "text": [TEXTS[i] for i in text],
            "outcome": worth + 0.5 * rng.normal(size=n),
            "who": np.where(by_a, "a", "b"),
            "q_a": np.log(A[text]),
            "q_b": np.log(B[text]),
            "own": np.log(np.where(by_a, A[text], B[text])),
            "policy": np.log(POLICY[text]),
            **({"prompt": np.array(["first?", "second?"])[prompt]} if prompts else {}),
        }
    )


def dataset(frame: pd.DataFrame, **roles) -> DirectOutcomeDataset:
    roles = {"logger": "who", "loggers": {"a": "q_a", "b": "q_b"}, "policy_log_prob": "policy", **roles}
    return DirectOutcomeDataset.from_frame(frame, **roles)


def test_the_mixture_is_the_law_of_the_texts():
    """By enumeration: with the shares of the rows, the mixture's probabilities of all texts sum to one."""
    frame = pd.DataFrame(
        {"text": TEXTS, "outcome": WORTH, "who": ["a"] * 9 + ["b"] * 3, "q_a": np.log(A), "q_b": np.log(B)}
    )
    data = DirectOutcomeDataset.from_frame(frame, logger="who", loggers={"a": "q_a", "b": "q_b"})
    np.testing.assert_allclose(np.exp(data.logged_log_prob), 0.75 * A + 0.25 * B, rtol=1e-12)
    assert behavior_source(data, None) == "logged"
    np.testing.assert_array_equal(behavior_log_prob(data, None), data.logged_log_prob)
    weighted = DirectOutcomeDataset.from_frame(
        frame.assign(views=[1.0] * 9 + [9.0] * 3), logger="who", loggers={"a": "q_a", "b": "q_b"}, weight="views"
    )
    np.testing.assert_allclose(np.exp(weighted.logged_log_prob), 0.25 * A + 0.75 * B, rtol=1e-12)


def test_ratios_to_the_mixture_are_unbiased_and_vary_less_than_those_to_the_own_logger():
    """200 tables of 600 rows. Both means are within 4 of their standard errors of the sum over texts (failure
    probability 1.3e-4); the standard deviations differ by a factor of 4 in expectation."""
    found = {"mixture": [], "own": []}
    for seed in range(200):
        frame = logs(seed)
        for name, data in (
            ("mixture", dataset(frame)),
            ("own", dataset(frame, loggers=None, behavior_log_prob="own")),
        ):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", CausalOptWarning)
                q = behavior_log_prob(data, None)
                found[name].append(ipw(data.policy_log_prob - q, data.outcome).value)
    for values in found.values():
        assert abs(np.mean(values) - VALUE) < 4 * np.std(values) / np.sqrt(200)
    assert np.std(found["mixture"]) < 0.4 * np.std(found["own"])


def test_loggers_that_depend_on_a_repeated_prompt_are_mixed_prompt_by_prompt():
    """200 tables. Shares over all rows would be 1/2 for both prompts, and the value wrong by 0.24."""
    values = []
    for seed in range(200):
        data = dataset(logs(seed, prompts=True), prompt="prompt")
        values.append(ipw(data.policy_log_prob - behavior_log_prob(data, None), data.outcome).value)
    assert abs(np.mean(values) - (VALUE + 0.5)) < 4 * np.std(values) / np.sqrt(200)


def test_the_value_by_the_default_path():
    """20 tables of 600 rows, texts fixed: at a coverage of 0.95 fewer than 16 cover with probability 0.003."""
    policy = FinitePolicy(TEXTS, np.log(POLICY), np.zeros((12, 1)), np.zeros(1), None)
    covered, widths = 0, []
    for seed in range(20):
        found = evaluate(policy, dataset(logs(seed)), reference=LoggedPolicy(), estimators=["dr"])
        assert found.behavior_policy == "logged"
        low, high = found.policy.confint()
        covered += low <= VALUE <= high
        widths.append(high - low)
    assert covered >= 16
    assert np.mean(widths) < 0.5


def test_one_log_probability_a_row_is_used_and_said():
    frame = logs(0, n=100)
    with pytest.warns(CausalOptWarning, match=r"own logger \(2 in column 'who'\).*data\.loggers"):
        found = behavior_log_prob(dataset(frame, loggers=None, behavior_log_prob="own"), None)
    np.testing.assert_array_equal(found, frame["own"])


@pytest.mark.parametrize(
    ("change", "roles", "message"),
    [
        (
            {"who": ["a", "c"]},
            {},
            "t.csv: column 'who', row 2 is 'c': data.loggers has no column of log-probabilities ",
        ),
        ({"q_b": [-1.0, -np.inf]}, {}, "t.csv: column 'who', row 2 is 'b', under which its log-probability is -inf"),
        ({"q_a": [-np.inf, -1.0], "who": ["b", "b"], "q_b": [0.5, -1]}, {}, "column 'q_b', row 1 is 0.5: a log-pro"),
        ({}, {"loggers": {"a": "q_a", "b": "log_b"}}, "t.csv: there is no column 'log_b' for loggers"),
    ],
)
def test_what_cannot_be_used_is_named(change, roles, message):
    frame = pd.DataFrame({"text": ["x", "y"], "outcome": [1.0, 2.0], "who": ["a", "b"], "q_a": -1.0, "q_b": -2.0})
    with pytest.raises(DataError) as error:
        dataset(frame.assign(**change), source="t.csv", policy_log_prob=None, **roles)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("roles", [{"logger": None}, {"behavior_log_prob": "own"}])
def test_loggers_need_labels_and_replace_the_single_column(roles):
    with pytest.raises(ConfigError, match=r"data\.loggers needs data\.logger"):
        dataset(logs(0, n=20), **roles)


def test_a_text_that_one_logger_never_writes():
    frame = pd.DataFrame(
        {"text": ["x", "y"], "outcome": [1.0, 2.0], "who": ["a", "b"], "q_a": [-1.0, -np.inf], "q_b": [-2.0, -3.0]}
    )
    data = dataset(frame, policy_log_prob=None)
    assert data.logged_log_prob[1] == pytest.approx(-3.0 - np.log(2))


def test_labels_may_be_numbers_and_the_columns_keep_through_subset_restore_and_save(tmp_path):
    frame = logs(0, n=100).assign(who=lambda t: (t["who"] == "b").astype(int) + 1)
    frame.to_csv(tmp_path / "t.csv", index=False)
    read = DirectOutcomeDataset.from_csv(tmp_path / "t.csv", logger="who", loggers={1: "q_a", "2": "q_b"})
    data = DirectOutcomeDataset.from_frame(frame, logger="who", loggers={1: "q_a", 2: "q_b"})
    assert read.fingerprint() == data.fingerprint()
    assert set(data.logger) == {"1", "2"}
    assert data.subset([3, 5]).loggers.equals(data.loggers.iloc[[3, 5]].reset_index(drop=True))
    again = DirectOutcomeDataset.restore(data.to_frame(), data.row, data.about())
    assert again.fingerprint() == data.fingerprint()
    np.testing.assert_array_equal(again.logged_log_prob, data.logged_log_prob)
    swapped = DirectOutcomeDataset.from_frame(frame, logger="who", loggers={1: "q_b", 2: "q_a"})
    assert swapped.fingerprint() != data.fingerprint()
    assert replace(data, logger=None).logged_log_prob is None
    pseudo = PseudoOutcomeEstimator(outcome_model="ridge").fit_transform(data)
    pseudo.save(tmp_path / "p.parquet")
    loaded = type(pseudo).load(tmp_path / "p.parquet")
    np.testing.assert_array_equal(loaded.dataset.logged_log_prob, data.logged_log_prob)


def test_the_logger_may_be_a_covariate_too():
    data = dataset(logs(0, n=50), covariates=["who"])
    assert set(data.covariates["who"]) == set(data.logger) == {"a", "b"}
