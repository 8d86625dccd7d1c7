from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.balancing.__main__ import run
from benchmarks.balancing.replication import KLS, TEMPLATE
from benchmarks.balancing.sentences import CASES, SENTENCES, Case, draw
from benchmarks.balancing.summary import bars


def test_the_truth_is_the_mean_of_fresh_outcomes() -> None:
    """Without confounding and with all sentences shown, weighting rows by the policy's probabilities is unbiased.

    The mean of 30 tables is within four of its standard errors (failure probability 6e-5).
    """
    case = Case(rows=2000, sentences=len(SENTENCES), confounding=0.0)
    errors = []
    for seed in range(30):
        drawn = draw(case, seed)
        log_ratio = drawn.policy.log_prob(None, drawn.data.texts) - drawn.reference.log_prob(None, drawn.data.texts)
        errors.append(np.mean((np.exp(log_ratio) - 1) * drawn.data.outcome) - drawn.truth)
    assert abs(np.mean(errors)) < 4 * np.std(errors, ddof=1) / np.sqrt(30)


def test_readers_are_shown_what_they_like_and_policies_are_where_they_should_be() -> None:
    drawn = draw(CASES["a policy at 1.5 nats"], 0)
    log_prob = drawn.policy.distribution(None)[1]
    assert np.isclose(np.exp(log_prob) @ (log_prob + np.log(len(SENTENCES))), 1.5, atol=1e-6)
    words = pd.Series(drawn.data.texts).str.split().str[0]
    of_age = [drawn.data.covariates["age"].to_numpy()[words == word].mean() for word in words.unique()]
    assert np.ptp(of_age) > 0.3
    assert draw(CASES["five readings each"], 0).data.reader is not None


def test_a_run_leaves_its_files(tmp_path: Path) -> None:
    found = run(tmp_path, replications=1, cases=("50 sentences", "template"), jobs=1)
    results = pd.read_parquet(tmp_path / "results.parquet")
    assert set(results["case"]) == {"50 sentences", *(TEMPLATE.format(kl) for kl in KLS)}
    assert len(results) == 5 * 4
    assert {path.name for path in tmp_path.iterdir()} == {"results.parquet", "summary.json", "table.md", "plots.html"}
    assert len(found) == 8


def test_bars_see_what_fails() -> None:
    names = [*CASES, *(TEMPLATE.format(kl) for kl in KLS)]
    numbers = {"gain": 1.0, "bias": 0.01, "rmse": 0.05, "coverage": 0.95}
    good = pd.DataFrame(
        [
            {"case": case, "estimator": name, **numbers, "width": 0.2 if name == "balance" else 0.5}
            for case in names
            for name in ("balance", "sndr")
        ]
    )
    assert all(bar.holds for bar in bars(good))
    for column, value, failing in (("coverage", 0.5, 2), ("rmse", 0.06, 1), ("bias", -0.06, 1), ("width", 0.3, 1)):
        broken = good.copy()
        broken.loc[(broken["case"] == names[-2]) & (broken["estimator"] == "balance"), column] = value
        assert sum(not bar.holds for bar in bars(broken)) == failing
