from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.coverage.__main__ import run
from benchmarks.coverage.generators import GENERATORS, NOISE
from benchmarks.coverage.laws import Law, Population
from benchmarks.coverage.oracle import all_knowing, strength
from benchmarks.coverage.replication import ESTIMATORS, HEADLINE, _Table
from benchmarks.coverage.summary import bars


def make(name: str, seed: int = 0) -> tuple[Law, Population]:
    law = GENERATORS[name].law(np.random.default_rng([seed, 0]))
    return law, Population(law, seed)


@pytest.mark.parametrize(
    "name", ["base", "count", "repeated prompts", "unique prompts", "crossed", "selected feedback", "bandit"]
)
def test_the_all_knowing_estimate_is_that_of_the_truth(name: str) -> None:
    """On 5,000 rows: within five standard errors of it, and of the population's (failure probability 6e-7 each)."""
    law, population = make(name)
    reference = population.logged
    policy = population.tilted(reference, law.score, 0.1)
    sample = law.sample(5_000, np.random.default_rng(3))
    if name == "selected feedback":
        assert 0.3 < sample.observed.mean() < 0.6
    value, se = all_knowing(law, sample, policy, reference, np.ones(5_000))
    truth = population.difference(policy, reference)
    assert abs(value - truth) < 5 * se + 0.01
    assert abs(population.kl(policy, reference) - 0.1) < 1e-4
    assert truth > 5 * se


@pytest.mark.parametrize("name", ["base", "repeated prompts"])
def test_gains_and_divergences_are_means_over_all_readers(name: str) -> None:
    law, population = make(name)
    policy = population.tilted(population.logged, law.score, 0.3)
    log_p, log_q = policy(population.readers), population.logged(population.readers)
    gain = ((np.exp(log_p) - np.exp(log_q)) * law.mean(population.readers)).sum(axis=1).mean()
    assert population.difference(policy, population.logged) == pytest.approx(gain, rel=1e-11)
    kl = (np.exp(log_p) * (log_p - log_q)).sum(axis=1).mean()
    assert population.kl(policy, population.logged) == pytest.approx(kl, rel=1e-11)
    assert kl == pytest.approx(0.3, abs=1e-5)


def test_outcomes_have_the_mean_that_the_law_says_and_texts_are_shown_as_it_says() -> None:
    """Over 6,000 rows, within five standard errors (failure probability 6e-7 each)."""
    for name in ("base", "binary", "count", "skewed", "exposure", "panel"):
        law, _ = make(name)
        sample = law.sample(6_000, np.random.default_rng(4))
        mean = law.mean(sample.readers)[np.arange(6_000), sample.text]
        error = sample.outcome - mean
        groups = pd.Series(error).groupby(sample.readers.get("who", pd.Series(np.arange(6_000)))).sum()
        assert abs(error.sum()) < 5 * np.sqrt((groups**2).sum()), name
        shown = np.bincount(sample.text, minlength=len(law.texts)) / 6_000
        expected = np.exp(law.log_shown(sample.readers)).mean(axis=0)
        assert np.all(np.abs(shown - expected) < 6 * np.sqrt(expected / 6_000) + 1e-4), name


def test_texts_that_a_language_model_writes_are_valued_by_the_same_formula() -> None:
    for name in ("language model", "language model, binary"):
        law, population = make(name)
        assert law.elsewhere is not None
        readers = population.readers[:50]
        np.testing.assert_allclose(law.elsewhere(law.texts[:7])(readers), law.mean(readers)[:, :7], atol=1e-12)
        value = population.value_of(law.texts * 4)  # more texts than are valued at a time
        assert np.isclose(value, population.mean.mean())
        assert np.isfinite(law.elsewhere(["unknown words", "river"])(readers)).all()


def test_the_policy_without_gain_has_none_and_the_others_do() -> None:
    for name in ("base", "minimise", "unique prompts"):
        law, population = make(name)
        table = _Table(GENERATORS[name], law, population, 0)
        built = table._built(population.logged, ("gain", "no gain", "loss"))
        gains = {key: population.difference(policy, population.logged) for key, policy in built.items()}
        sign = 1 if law.direction == "maximize" else -1
        assert sign * gains["gain"] > 0.05
        assert abs(gains["no gain"]) < 1e-12
        assert sign * gains["loss"] < -0.05
        assert population.kl(built["no gain"], population.logged) > 0.05


def test_the_strength_of_a_hidden_covariate_is_that_of_a_regression_on_it() -> None:
    """cf_y against the variances of 200,000 drawn outcomes, and a covariate that nothing depends on has no strength."""
    law, population = make("half-hidden confounding")
    policy = population.tilted(population.logged, law.score, 0.3)
    cf_y, cf_d = strength(law, population, policy, population.logged, NOISE**2)
    assert 0.01 < cf_y < 0.5
    assert 0.0 < cf_d < 0.9
    blind = replace(
        law, log_odds=lambda w: law.log_odds(w.assign(home="city")), mean=lambda w: law.mean(w.assign(home="city"))
    )
    np.testing.assert_allclose(strength(blind, population, policy, population.logged, NOISE**2), 0.0, atol=1e-9)


def test_weights_and_clusters_enter_the_all_knowing_error() -> None:
    law, population = make("panel")
    policy = population.tilted(population.logged, law.score, 0.3)
    sample = law.sample(400, np.random.default_rng(5))
    value, se = all_knowing(law, sample, policy, population.logged, np.ones(400))
    rows = replace(sample, readers=sample.readers.assign(who=np.arange(400)))
    again, of_rows = all_knowing(law, rows, policy, population.logged, np.ones(400))
    assert value == again
    assert se != of_rows


def test_a_run_leaves_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("400 rows", "half-hidden confounding"):
        monkeypatch.setitem(GENERATORS, name, replace(GENERATORS[name], rows=300))
    run(tmp_path, replications=1, generators=("400 rows",), jobs=1)
    pd.read_parquet(tmp_path / "results.parquet").assign(estimate=7.0).to_parquet(tmp_path / "results.parquet")
    found = run(tmp_path, replications=1, generators=("400 rows", "half-hidden confounding"), jobs=1)
    results = pd.read_parquet(tmp_path / "results.parquet")
    assert ((results["estimate"] == 7.0) == (results["generator"] == "400 rows")).all()  # not computed again
    assert set(results["policy"]) == {"learned", "no gain", "loss"}
    assert set(results["estimator"]) >= {*ESTIMATORS, "all-knowing"}
    assert {path.name for path in tmp_path.iterdir()} == {"results.parquet", "summary.json", "table.md", "plots.html"}
    assert len(found) >= 6


def test_bars_see_what_fails() -> None:
    numbers = {
        "truth": 0.2, "bias": 0.0, "sd": 0.05, "se": 0.05, "rmse": 0.05, "coverage": 0.95, "relative": 1.2,
        "warned": 0.0, "better": 0.02, "replications": 200,
    }  # fmt: skip
    good = pd.DataFrame(
        [
            {"generator": name, "policy": policy, "estimator": estimator, **numbers,
             "rmse": 0.05 if estimator == HEADLINE else 0.06, "headline": estimator == HEADLINE}
            for name in GENERATORS
            for policy in ("learned", "no gain", "loss")
            for estimator in (*ESTIMATORS, "sensitivity bounds")
        ]
    )  # fmt: skip
    assert all(bar.holds for bar in bars(good))
    ours = good["estimator"] == HEADLINE
    for column, value, where, failing in (
        ("coverage", 0.7, ours & (good["generator"] == "base") & (good["policy"] == "loss"), 1),
        ("coverage", 0.92, ours, 1),
        ("warned", 0.2, ours & (good["generator"] == "base"), 1),
        ("better", 0.2, ours & (good["policy"] == "no gain"), 1),
        ("relative", 2.5, ours, 1),
        ("rmse", 0.07, ours, 1),
        ("coverage", 0.9, good["estimator"] == "sensitivity bounds", 1),
    ):
        broken = good.copy()
        broken.loc[where, column] = value
        assert sum(not bar.holds for bar in bars(broken)) == failing, (column, value)
