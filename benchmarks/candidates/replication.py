"""One table: a policy from 70% of its tests, its gain, and that of a ridge regression of click rates."""

from __future__ import annotations

import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.linear_model import RidgeCV

from benchmarks.candidates.headlines import draw
from benchmarks.running import Record
from causalopt.backends.conditional_logit import ConditionalLogitPolicy
from causalopt.backends.contracts import Progress
from causalopt.data.choice_sets import ChoiceSets
from causalopt.data.population import CHOICE
from causalopt.errors import CausalOptWarning
from causalopt.evaluation.evaluate import evaluate
from causalopt.optimization.optimize import fit_policy
from causalopt.optimization.problem import draw_samples
from causalopt.run.config import parse_config
from causalopt.run.pipeline import run
from causalopt.run.plan import Plan, prepare
from causalopt.typing import Float64

PROMPTS, FRESH = 2000, 8000
"""Tests in a table, and new tests on which the true value of a fitted policy is computed."""
COLUMNS = {"prompt": "test", "text": "headline", "outcome": "click_rate", "weight": "impressions"}
GREEDY: dict[str, Any] = {
    "backend": {"name": "finite", "l2": 1e-6, "max_kl": None},
    "objective": {"name": "dr_cpo", "kl": 0.0, "forward_kl": 0.0},
    "outcome_model": {"name": "sklearn", "estimator": "sklearn.dummy.DummyRegressor"},
    "evaluation": {"estimators": ["sndr"]},
}
"""configs/headlines.yaml, with the mean outcome as outcome model: `sndr` does not depend on it here."""
PENALTIES = 10.0 ** np.arange(-3.0, 7.0)


def replicate(method: str, seed: int) -> list[Record]:
    """Fit and evaluate; ``method`` is "greedy" (with the ridge beside it) or "default", a run with all defaults."""
    frame = draw(PROMPTS, seed)
    fresh = draw(FRESH, seed + 100_000)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", CausalOptWarning)
        path = Path(folder) / "headlines.csv"
        frame.drop(columns="truth").to_csv(path, index=False)
        start = time.process_time()
        settings = GREEDY if method == "greedy" else {"backend": "finite"}
        plan = prepare(parse_config({"data": {"path": str(path), **COLUMNS}, **settings}))
        policy, found = _fitted(plan) if method == "greedy" else _run(plan, Path(folder) / "run")
        seconds = time.process_time() - start
    new = ChoiceSets.logged(fresh["test"].tolist(), fresh["headline"].tolist(), fresh["impressions"].to_numpy(float))
    truth = fresh["truth"].to_numpy()
    of_fresh = policy.embedding.of(new.texts)
    shown = new.exposure / _sums(new, new.exposure)
    moved = ConditionalLogitPolicy(new, np.log(shown), of_fresh, policy.theta, policy.embedding)

    def gain(probability: Float64) -> float:
        """Mean over all readers of the new tests, minus that of the headlines as they were shown."""
        return float(_sums(new, new.exposure) @ ((probability - shown) * truth) / new.exposure.sum())

    records = [
        {
            "method": method,
            "seed": seed,
            "gain": gain(moved.probability),
            "first": gain(_first(new, moved.probability)),
            **found,
            "seconds": seconds,
        }
    ]
    if method == "greedy":
        coefficients = _ridge(policy, frame, set(plan.train.prompts or ()))
        chosen = _first(new, of_fresh @ coefficients)
        records.append({"method": "ridge", "seed": seed, "gain": gain(chosen), "first": gain(chosen)})
        best = _first(new, truth)
        records.append({"method": "best", "seed": seed, "gain": gain(best), "first": gain(best)})
    return records


def _fitted(plan: Plan) -> tuple[ConditionalLogitPolicy, Record]:
    """Do what a run does, without its files and report."""
    train, test = (plan.main.nuisances.fit_transform(rows) for rows in (plan.train, plan.test))
    data, seed = plan.train, plan.config.seed
    reference = plan.backend.reference(data.prompts, data.texts, data.weight, seed=seed, progress=Progress())
    samples = draw_samples(reference, data, plan.config.samples.per_row, seed)
    policy = fit_policy(
        train, plan.main.objective, plan.backend, reference, samples,
        behavior_policy=None, seed=seed, progress=Progress(),
    )  # fmt: skip
    result = evaluate(
        policy, test, reference=reference, estimators=plan.config.evaluation.estimators, population=CHOICE, seed=seed
    )
    low, high = result.difference.confint(0.95)
    assert isinstance(policy, ConditionalLogitPolicy)
    assert result.kl is not None
    return policy, {"estimate": result.difference.value, "ci_low": low, "ci_high": high, "kl": result.kl.kl}


def _run(plan: Plan, directory: Path) -> tuple[ConditionalLogitPolicy, Record]:
    metrics = run(plan, directory)
    value = metrics["value"]["difference"]
    policy = ConditionalLogitPolicy.load(directory / "policy")
    found = {name: value[name] for name in ("estimate", "ci_low", "ci_high")}
    return policy, {**found, "kl": metrics["kl"]}


def _ridge(policy: ConditionalLogitPolicy, frame: pd.DataFrame, train: set[str]) -> Float64:
    """Regress click rates on the same embeddings, both centred within tests, weighted by impressions."""
    known = frame[frame["test"].isin(train)]
    sets = ChoiceSets.logged(known["test"].tolist(), known["headline"].tolist(), known["impressions"].to_numpy(float))
    x, y = policy.embedding.of(sets.texts), known["click_rate"].to_numpy()
    total = _sums(sets, sets.exposure)
    x = x - np.stack([_sums(sets, sets.exposure * column) for column in x.T], axis=1) / total[:, None]
    y = y - _sums(sets, sets.exposure * y) / total
    weight = sets.exposure / sets.exposure.mean()
    return np.asarray(RidgeCV(PENALTIES).fit(x, y, sample_weight=weight).coef_)


def _sums(sets: ChoiceSets, values: Float64) -> Float64:
    """Sum over the candidates of each prompt, given to each candidate, shape [N]."""
    return np.bincount(sets.segment, weights=values)[sets.segment]


def _first(sets: ChoiceSets, score: Float64) -> Float64:
    """Probability one for the candidate of each prompt with the largest score."""
    order = np.lexsort((score, sets.segment))
    chosen = np.zeros(len(sets))
    chosen[order[sets.start[1:] - 1]] = 1.0
    return chosen
