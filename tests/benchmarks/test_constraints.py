from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize
from scipy.special import expit, log_softmax

from benchmarks.constraints import replication
from benchmarks.constraints.summary import bars, table, write_table
from benchmarks.constraints.world import SLOTS, best_feasible, sample, texts, truth


def test_the_truth_is_the_mean_over_readers() -> None:
    gain, complaint = truth()
    first = texts().index("Attention decide today now")
    w = np.random.default_rng(0).standard_normal(400_000)
    assert gain[first] == pytest.approx(1.0 + 0.6 + 0.1 + 0.2)
    assert complaint[first] == pytest.approx(expit(-1.6 + 0.9 - 0.2 - 0.75 + 0.5 * w).mean(), abs=1e-3)
    data = sample(20_000, 1)
    shown = pd.Series(data.texts).str.startswith("Attention").to_numpy()
    w = data.covariates["w"].to_numpy()
    odds = {word: pd.Series(data.texts).str.startswith(word).to_numpy() for word in SLOTS[0]}
    p = np.exp(-0.4 * w[:, None] * np.array([-1.0, -0.6, -0.2, 0.2, 0.6, 1.0]))
    p = p / p.sum(axis=1, keepdims=True)
    assert shown.mean() == pytest.approx(p[:, 5].mean(), abs=0.013)  # five standard errors
    assert w[shown].mean() == pytest.approx((p[:, 5] * w).sum() / p[:, 5].sum(), abs=0.09)
    assert sum(odds.values()).min() == 1


@pytest.mark.parametrize(("above", "kl"), [(0.02, 0.5), (-0.02, 0.5), (0.5, 0.5), (0.0, 0.1)])
def test_the_best_feasible_policy_is_that_of_a_general_solver(above: float, kl: float) -> None:
    rng = np.random.default_rng(2)
    log_base, g = log_softmax(rng.normal(size=6)), rng.normal(size=6)
    c = np.clip(0.3 + 0.15 * g + 0.05 * rng.normal(size=6), 0.01, 0.99)
    bound = float(np.exp(log_base) @ c) + above
    rules = [
        {"type": "eq", "fun": lambda p: p.sum() - 1},
        {"type": "ineq", "fun": lambda p: bound - p @ c},
        {"type": "ineq", "fun": lambda p: kl - p @ (np.log(p) - log_base)},
    ]
    solved = minimize(lambda p: -p @ g, np.exp(log_base), bounds=[(1e-9, 1)] * 6, constraints=rules, method="SLSQP")
    assert all(rule["fun"](solved.x) > -1e-6 for rule in rules[1:])
    assert best_feasible(log_base, g, c, bound, kl) == pytest.approx(-solved.fun, abs=1e-4)


def test_a_bound_out_of_reach_has_no_best_policy() -> None:
    log_base, c = np.log(np.full(3, 1 / 3)), np.array([0.1, 0.2, 0.3])
    assert best_feasible(log_base, c, c, 0.12, 0.01) is None
    assert best_feasible(log_base, c, c, 0.12, 10.0) == pytest.approx(0.12, abs=1e-6)


def test_a_replication_grades_the_policy_that_was_chosen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(replication, "TRAIN", 900)
    monkeypatch.setattr(replication, "CHOOSE", 600)
    (plain,) = replication.replicate("conflict", False, 7)
    made_up = (("conflict", 0.24, 0.1), ("conflict", 0.2, 0.9), ("reference fails", 0.2, 0.5))
    rows = [plain] + [
        plain | {"cell": cell, "penalised": True, "complaints": complaints, "is_reference": False, "gain": gain}
        for cell, complaints, gain in made_up
    ]
    results = pd.DataFrame(rows)
    results.loc[results["cell"] == "reference fails", ["bound", "said_of_reference"]] = [0.18, True]
    first = results.iloc[0]
    assert first["kl"] <= 1.02
    assert 0.19 < first["complaints_of_reference"] < 0.22
    assert 0.9 < first["best_feasible_gain"] < 1.2
    cells = table(results).set_index(["cell", "penalised"])
    assert cells.loc[("conflict", True), "keeps"] == 0.5
    assert cells.loc[("conflict", True), "share"] == pytest.approx(0.5 / first["best_feasible_gain"])
    found = {bar.name.split(",")[0]: (bar.value, bar.holds) for bar in bars(results)}
    assert found["share of runs whose policy keeps the bound"] == (0.5, False)
    assert found["share of runs that say that the reference fails"] == (1.0, True)
    assert found["share of runs that break the bound and do not say so"] == (1.0, False)
    write_table(table(results), tmp_path / "table.md")
    assert (tmp_path / "table.md").read_text().count("\n") == 5
