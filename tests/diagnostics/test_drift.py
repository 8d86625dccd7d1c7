"""Drift of logs in time: who reads, what is written, how it is received."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import linregress

import causalopt as co
from causalopt.backends.finite_policy import FinitePolicy
from causalopt.diagnostics.drift import Part, drift
from causalopt.errors import DataError
from causalopt.run.metrics import evaluation_metrics


def test_the_trend_is_the_least_squares_line_over_the_whole_time():
    rng = np.random.default_rng(0)
    time, y, residual = rng.uniform(5, 9, 200), rng.normal(size=200), rng.normal(size=200)
    found = drift(time, y, residual, {})
    for trend, values in ((found.outcome, y), (found.residual, residual)):
        line = linregress(time, values)
        assert trend.value == pytest.approx(line.slope * np.ptp(time), rel=1e-9)
        assert trend.se == pytest.approx(line.stderr * np.ptp(time), rel=0.2)
    weight = rng.integers(1, 4, 200)
    repeated = linregress(np.repeat(time, weight), np.repeat(y, weight))
    assert drift(time, y, residual, {}, weight=weight).outcome.value == pytest.approx(repeated.slope * np.ptp(time))


def test_the_interval_of_a_trend_is_clustered():
    """Texts with effects of standard deviation 1, each shown in 10 rows at one time; no trend. 300 tables of 40 texts.

    At a coverage of 0.95 fewer than 270 cover with probability 3e-4; without clusters 53% did.
    """
    covered = 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        text = np.repeat(np.arange(40), 10)
        y = rng.normal(size=40)[text] + 0.5 * rng.normal(size=400)
        low, high = drift(rng.uniform(size=40)[text], y, y, {}, cluster=text).outcome.confint()
        covered += low <= 0 <= high
    assert covered >= 270


def parts(rng: np.random.Generator, time: np.ndarray, shift: float) -> dict[str, Part]:
    later = time > np.median(time)
    n, text = len(time), rng.integers(60, size=len(time))
    return {
        "texts": Part(rng.normal(size=(60, 6))[text], text),
        "readers": Part(rng.normal(size=(n, 2)) + shift * later[:, None], np.arange(n)),
    }


def test_a_classifier_is_at_chance_where_nothing_changes_and_sees_what_does():
    """Where nothing changes, an interval excludes chance with probability 0.025 on the upper side; of 8, more than 2
    do with probability 9e-4. A shift of one standard deviation in two covariates has an area of 0.84."""
    above = 0
    for seed in range(4):
        rng = np.random.default_rng(seed)
        time = rng.uniform(size=400)
        y = rng.normal(size=400)
        same = drift(time, y, y, parts(rng, time, 0.0))
        above += sum(fit.auc_low > 0.5 for fit in same.parts.values())
    assert above <= 2
    changed = drift(time, y, y, parts(rng, time, 1.0))
    assert changed.parts["readers"].auc == pytest.approx(0.84, abs=0.06)
    assert changed.drifting == ("readers",)
    assert "The logs drift in readers" in changed.sentence


def test_texts_that_are_shown_at_one_time_each_are_not_taken_for_drift():
    """Each text is shown ten times at one time: rows of held-out texts can only be told apart by their coordinates."""
    above = 0
    for seed in range(4):
        rng = np.random.default_rng(seed)
        text = np.repeat(np.arange(60), 10)
        x, time = rng.normal(size=(60, 5))[text], rng.permutation(60)[text].astype(float)
        y = rng.normal(size=600)
        above += drift(time, y, y, {"texts": Part(x, text)}).parts["texts"].auc_low > 0.5
    assert above <= 1  # more with probability 4e-3


def test_few_units_and_one_time():
    y = np.arange(20.0)
    assert drift(y, y, y, {"texts": Part(y[:, None], np.arange(20) % 4)}).parts == {}
    with pytest.raises(DataError, match="all rows are of one time"):
        drift(np.ones(20), y, y, {})


def test_an_evaluation_reports_it():
    """Readers grow older and the outcome rises by 2 standard deviations: both are said in the verdict."""
    rng = np.random.default_rng(0)
    texts = [f"{a} {b}" for a in ("give", "help", "join", "come") for b in ("now", "us", "today", "them")]
    n = 500
    day = np.sort(rng.integers(100, size=n))
    frame = pd.DataFrame(
        {
            "text": rng.choice(texts, n),
            "outcome": rng.normal(size=n) + 0.03 * day,
            "age": rng.normal(size=n) + 0.02 * day,
            "when": pd.Timestamp("2026-01-01") + pd.to_timedelta(day, unit="D"),
        }
    )
    policy, uniform = (
        FinitePolicy(texts, np.log(share / share.sum()), np.zeros((16, 1)), np.zeros(1), None)
        for share in (np.arange(1.0, 17), np.ones(16))
    )
    nuisances = co.PseudoOutcomeEstimator(outcome_model="ridge", assignment_model="randomized")
    for column, drifting in (("when", {"readers", "the outcome"}), (None, None)):
        data = co.DirectOutcomeDataset.from_frame(frame, covariates=["age"], time=column)
        found = co.evaluate(policy, data, reference=uniform, nuisances=nuisances, estimators=["sndr"])
        metrics = evaluation_metrics(found, data)
        if drifting is None:
            assert metrics["evidence"]["drift"] is None
            continue
        assert drifting <= set(metrics["evidence"]["drift"]["drifting"])
        assert metrics["evidence"]["drift"]["sentence"] in metrics["verdict"]
        assert "\n" not in metrics["evidence"]["drift"]["sentence"]
