# ruff: noqa: E501  (tables of calls and of what may be wrong with them)
"""Every public function and method with ill-formed arguments: a finite result, or one line of a `CausalOptError`.

`ENTRIES` holds a valid call of each. One argument at a time is replaced by what it should not be; a callable that becomes
public needs an entry here.
"""

from __future__ import annotations

import dataclasses
import importlib
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from scipy import sparse

import causalopt as co
from causalopt import evaluation as ev
from causalopt import simulation
from causalopt.backends import load_policy
from causalopt.backends.listed_policy import ListedPolicy
from causalopt.data.population import Population
from causalopt.embedding import CachedEmbedder, embed, embed_repeated
from causalopt.embedding.tfidf import TfidfSvdEmbedder
from causalopt.errors import CausalOptError, CausalOptWarning
from causalopt.executors import LocalExecutor
from causalopt.judges.answers import Answer, AnswerFile, Asked
from causalopt.run.survey import SurveyColumns, survey

MODULES = ("causalopt", "causalopt.evaluation", "causalopt.simulation", "causalopt.testing", "causalopt.embedding",
           "causalopt.backends", "causalopt.executors")  # fmt: skip
N, M, CLUSTERS = 24, 30, 12


def things() -> SimpleNamespace:
    """What valid calls are made of; small, so that thousands of calls take seconds."""
    rng = np.random.default_rng(0)
    texts = [f"{a} {b}" for a in ("help us", "give now", "join in", "do act") for b in ("please", "today", "soon")]
    frame = pd.DataFrame({"text": rng.choice(texts, 72), "age": rng.normal(size=72), "who": np.arange(72) // 2})
    frame["y"] = rng.normal(size=72)
    frame["other"] = rng.normal(size=72)
    data = co.DirectOutcomeDataset.from_frame(
        frame, text="text", outcome="y", covariates=["age"], reader="who", other_outcomes=["other"]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CausalOptWarning)
        nuisances = co.PseudoOutcomeEstimator(outcome_model="ridge", assignment_model="randomized", folds=2)
        pseudo = nuisances.fit_transform(data)
        listed = ListedPolicy(texts, np.arange(1.0, 13.0) / 78)
        uniform = ListedPolicy(texts, np.full(12, 1 / 12))
        log, xi = rng.normal(0, 0.4, N), rng.normal(size=N)
        estimate = ev.snipw(log, xi, cluster=np.arange(N) // 2)
        plain = ev.snipw(log, xi)
        difference = plain - ev.snipw(np.zeros(N), xi)
        overlap = ev.overlap(log)
        sensitivity = ev.sensitivity(plain, xi, np.exp(log))
        answered = ev.nonresponse(plain, log, np.zeros(N), np.ones(N), np.full(N, 0.7), spread=1.0)
        evaluated = co.evaluate(listed, pseudo, reference=uniform, estimators=["sndr"], draws=20)
        judge = co.JudgeScores({(None, text): float(i) for i, text in enumerate(texts)})
        judged = co.evaluate_with_judge(listed, pseudo, judge, reference=uniform, estimator="sndr", draws=20)
    return SimpleNamespace(
        rng=rng, texts=texts, frame=frame, data=data, pseudo=pseudo, nuisances=nuisances, listed=listed, uniform=uniform,
        log=log, xi=xi, g=np.linspace(0, 1, N), draws=np.linspace(0, 1, M), weight=np.linspace(1, 2, N),
        cluster=np.arange(N) // 2, estimate=estimate, plain=plain, difference=difference, overlap=overlap,
        sensitivity=sensitivity, answered=answered, evaluated=evaluated, judged=judged, judge=judge,
        calibrated=ev.calibrate_scores(xi, log), x=rng.normal(size=(N, 3)), w=rng.normal(size=(N, 2)),
    )  # fmt: skip


Call = tuple[Callable[..., Any], dict[str, Any]]


def of_arrays(name: str, *names: str, **more: Any) -> Callable[[SimpleNamespace], Call]:
    """Return a call of a function of `causalopt.evaluation`: arrays of 24 rows by the names of its arguments."""

    def entry(t: SimpleNamespace) -> Call:
        arrays = {
            "log_ratio": t.log, "log_ratio_reference": t.log / 2, "log_weight": t.log, "g_policy": t.draws,
            "weight": t.weight, "cluster": t.cluster, "s": np.exp(t.log), "pi": np.full(N, 0.7), "h": np.exp(t.log),
            "alpha": np.exp(t.log), "calibration_weight": t.weight, "fold": np.arange(N) % 2, "score_policy": t.draws,
            "observed": np.ones(N), "x": t.x, "w": t.w, "x_logged": t.x, "x_policy": t.x[::-1] + 0.1,
            "second_moment": np.exp(t.log), "unit": np.arange(N), "reader": np.arange(N), "group": t.cluster,
            "text": np.arange(2 * N), "length": np.arange(N), "sign": np.ones(N), "alpha_moment": np.full(N, 1.2),
            "estimate": t.plain,
        }  # fmt: skip
        return getattr(ev, name), {**{one: arrays.get(one, t.xi) for one in names}, **more}

    return entry


RATIO = ("log_ratio", "xi", "reader_response", "weight", "cluster")
DOUBLY = ("log_ratio", "xi", "g", "g_policy", "reader_response", "weight", "cluster")
FRAME = {"text": "text", "outcome": "y", "covariates": ["age"], "reader": "who", "direction": "maximize",
         "on_missing": "drop", "on_missing_covariate": "drop", "adaptive": False, "outcome_map": None,
         "missing_values": ["-99"], "decimal": None, "wide": None, "conversation": None, "role": "role",
         "credit": "last", "prompt": None, "tools": None, "observed": None, "weight": None, "group": None,
         "attributes": [], "behavior_log_prob": None, "logger": None, "loggers": None, "propensities": None,
         "assignment_log_prob": None, "policy_log_prob": None, "policy_text": None, "placebo_outcome": None,
         "time": None, "other_outcomes": [], "source": "a table"}  # fmt: skip
EVALUATE = {"estimators": ["sndr"], "draws": 20, "level": 0.9, "seed": 0, "population": None, "groups": None,
            "constraints": [], "behavior_policy": None, "behavior_reference": None, "nuisances": None,
            "reference_draws": None, "without": None}  # fmt: skip
TWO = {"draws": 20, "level": 0.9, "seed": 0, "population": None, "behavior_policy": None, "behavior_reference": None,
       "nuisances": None, "estimator": "sndr"}  # fmt: skip


def evaluated(t: SimpleNamespace) -> Call:
    return co.evaluate, {"policy": t.listed, "data": t.pseudo, "reference": t.uniform, **EVALUATE}


def judged(t: SimpleNamespace) -> Call:
    return co.evaluate_with_judge, {
        "policy": t.listed, "data": t.pseudo, "judge": t.judge, "reference": t.uniform, **TWO
    }  # fmt: skip


def groups_frame() -> pd.DataFrame:
    return pd.DataFrame({"group": ["a = 1", "a = 2"], "gain": [0.5, -0.4], "ci_low": [0.2, -0.7],
                         "ci_high": [0.8, -0.1], "ess": 80.0})  # fmt: skip


def method(thing: str, name: str, **arguments: Any) -> Callable[[SimpleNamespace], Call]:
    return lambda t: (getattr(getattr(t, thing), name), arguments)


def optimized(t: SimpleNamespace) -> Call:
    return co.optimize, {
        "pseudo": t.pseudo, "objective": "dr_cpo", "backend": co.FiniteBackend(t.texts), "reference": None, "behavior_policy": None,
        "per_row": 1, "choose": None, "target_kl": None, "constraints": [], "correlations": [0.2, -0.2], "seed": 0,
        "directory": None, "callbacks": [],
    }  # fmt: skip


ENTRIES: dict[str, Callable[[SimpleNamespace], Call]] = {
    "ipw": of_arrays("ipw", *RATIO),
    "snipw": of_arrays("snipw", *RATIO),
    "clipped_ipw": of_arrays("clipped_ipw", *RATIO, clip=2.0),
    "mips": of_arrays("mips", *RATIO),
    "dm": of_arrays("dm", "g_policy", "reader_response", "weight", "cluster"),
    "dr": of_arrays("dr", *DOUBLY),
    "sndr": of_arrays("sndr", *DOUBLY),
    "mdr": of_arrays("mdr", *DOUBLY),
    "switch_dr": of_arrays("switch_dr", *DOUBLY, tau=2.0),
    "dr_os": of_arrays("dr_os", *DOUBLY, lam=1.0),
    "balance": of_arrays(
        "balance", "alpha", "residual", "g_policy", "observed", "reader_response", "weight", "cluster"
    ),
    "adaptive_dr": of_arrays("adaptive_dr", "log_ratio", "residual", "plug_in", "h", "weight"),
    "stable_weights": of_arrays("stable_weights", "second_moment"),
    "calibrate_scores": of_arrays("calibrate_scores", "score", "xi", "fold", "observed", "weight", "cluster", seed=0),
    "calibrated_judge": of_arrays(
        "calibrated_judge",
        "alpha",
        "xi",
        "score",
        "score_policy",
        "fold",
        "observed",
        "calibration_weight",
        "reader_response",
        "weight",
        "cluster",
        seed=0,
    ),
    "CalibratedScores.at": method("calibrated", "at", score=np.zeros(3), alpha=np.ones(N), fold=None),
    "CalibratedScores.outside": method("calibrated", "outside", score=np.zeros(3)),
    "covariate_balance": of_arrays("covariate_balance", "x", "w", "s", "weight", "cluster", names=["a", "b"]),
    "weight_calibration": of_arrays("weight_calibration", "x", "w", "s", "weight", "cluster", names=["a", "b"]),
    "marginal_log_ratio": of_arrays(
        "marginal_log_ratio", "x_logged", "x_policy", "weight", "group", "text", classifier=None, folds=2, seed=0
    ),
    "nonresponse": of_arrays(
        "nonresponse", "estimate", "log_ratio", "log_ratio_reference", "s", "pi", "weight", spread=1.0, cluster=None
    ),
    "Nonresponse.at": method("answered", "at", delta=0.1),
    "Nonresponse.bounds": method("answered", "bounds", delta=0.1, level=0.9),
    "Nonresponse.tipping_point": method("answered", "tipping_point", level=0.9),
    "Nonresponse.worst_tipping_point": method("answered", "worst_tipping_point", level=0.9),
    "Nonresponse.to_frame": method("answered", "to_frame", level=0.9),
    "overlap": of_arrays("overlap", "log_ratio", "weight", "cluster", "sign", unit="texts"),
    "Overlap.to_dict": method("overlap", "to_dict"),
    "pareto_k": of_arrays("pareto_k", "log_weight"),
    "truncated_mass": of_arrays("truncated_mass", "log_ratio", "weight", clip=2.0),
    "placebo_assignment": of_arrays(
        "placebo_assignment", "log_ratio", "xi", "weight", unit=None, reader=None, cluster=None, repeats=20, seed=0
    ),
    "placebo_outcome": of_arrays("placebo_outcome", "log_ratio", "placebo", "s", "weight", "cluster"),
    "riesz_representer": of_arrays(
        "riesz_representer", "log_ratio", "s", "log_ratio_reference", "weight", self_normalize=True
    ),
    "sensitivity": of_arrays("sensitivity", "estimate", "residual", "alpha", "alpha_moment", "weight"),
    "Sensitivity.bounds": method("sensitivity", "bounds", cf_y=0.1, cf_d=0.1, rho=1.0, level=0.9),
    "Sensitivity.robustness_value": method("sensitivity", "robustness_value", null=0.0, level=0.9, rho=1.0),
    "Sensitivity.at_strengths": method("sensitivity", "at_strengths", strengths={"age": (0.1, 0.1)}, level=0.9),
    "Sensitivity.summary": method("sensitivity", "summary", level=0.9, null=0.0),
    "benchmark": lambda t: (ev.benchmark, {"long": t.sensitivity, "short": t.sensitivity}),
    "transport": of_arrays(
        "transport", "alpha", "residual", "score", "length", "observed", "weight", "cluster", level=0.9, seed=0
    ),
    "attribute_effects": lambda t: (
        ev.attribute_effects,
        {
            "attributes": pd.DataFrame({"polite": np.arange(N) % 2.0}),
            "xi": t.xi,
            "outcome": t.xi,
            "weight": t.weight,
            "cluster": t.cluster,
            "level": 0.9,
        },
    ),
    "simultaneous": lambda t: (
        ev.simultaneous,
        {"estimates": [t.plain, t.difference], "level": 0.9, "seed": 0, "draws": 500},
    ),
    "judge": lambda t: (
        ev.judge,
        {
            "difference": t.difference,
            "overlap": t.overlap,
            "outcome": "rating",
            "direction": "maximize",
            "level": 0.9,
            "robustness_value": 0.1,
            "reference": "the old one",
            "notes": [],
            "barred": [],
            "beside": [],
        },
    ),
    "verdict": lambda t: (ev.verdict, {"difference": t.difference, "overlap": t.overlap, "level": 0.9}),
    "thin_overlap": lambda t: (ev.thin_overlap, {"overlap": t.overlap}),
    "judge_groups": lambda t: (
        ev.judge_groups,
        {"frame": groups_frame(), "outcome": "y", "direction": "maximize", "level": 0.9, "barred": []},
    ),
    "Estimate": lambda t: (
        co.Estimate,
        {
            "value": 1.0,
            "influence": t.xi - t.xi.mean(),
            "cluster": (t.cluster,),
            "draws": {},
            "estimator": "mine",
            "details": {},
            "deletions": (),
        },
    ),
    "Estimate.confint": method("estimate", "confint", level=0.9),
    "Estimate.test": method("estimate", "test", null=0.0),
    "Estimate.bootstrap": method("estimate", "bootstrap", n=5, seed=0),
    "Estimate.check_same_rows": lambda t: (t.plain.check_same_rows, {"other": t.plain}),
    "Estimate.on_all_rows": lambda t: (t.plain.on_all_rows, {"rows": np.arange(N), "cluster": (), "n": N + 2}),
    "Estimate.to_frame": method("estimate", "to_frame", level=0.9),
    "Estimate.summary": method("estimate", "summary", level=0.9),
    "Constraint": lambda t: (co.Constraint, {"outcome": "other", "at_most": 0.5, "at_least": None}),
    "JudgeScores": lambda t: (co.JudgeScores, {"scores": {(None, "a"): 1.0}, "source": "scores"}),
    "JudgeScores.from_frame": lambda t: (
        co.JudgeScores.from_frame,
        {
            "frame": pd.DataFrame({"text": ["a", "b"], "score": [1.0, 2.0]}),
            "text": "text",
            "prompt": None,
            "score": "score",
            "source": "a table",
        },
    ),
    "JudgeScores.from_path": lambda t: (
        co.JudgeScores.from_path,
        {"path": t.scores_path, "text": "text", "prompt": None, "score": "y"},
    ),
    "JudgeScores.__call__": lambda t: (t.judge, {"prompts": None, "texts": t.texts[:3]}),
    "evaluate": evaluated,
    "Evaluation.summary_rows": method("evaluated", "summary_rows"),
    "Evaluation.plot": method("evaluated", "plot", quantity="difference"),
    "Evaluation.to_frame": method("evaluated", "to_frame"),
    "evaluate_with_judge": judged,
    "JudgedEvaluation.to_frame": method("judged", "to_frame"),
    "JudgedEvaluation.summary": method("judged", "summary"),
    "find_groups": lambda t: (
        co.find_groups,
        {"policy": t.listed, "train": t.pseudo, "reference": t.uniform, "draws": 20, "seed": 0},
    ),
    "optimize": optimized,
    "OptimizedPolicy": lambda t: (
        co.OptimizedPolicy,
        {"policy": t.listed, "reference": t.uniform, "seen": (), "end": None, "frontier": None},
    ),
    "OptimizedPolicy.log_prob": lambda t: (
        co.OptimizedPolicy(t.listed, t.uniform).log_prob,
        {"prompts": None, "texts": t.texts[:3]},
    ),
    "OptimizedPolicy.sample": lambda t: (
        co.OptimizedPolicy(t.listed, t.uniform).sample,
        {"prompts": None, "n": 3, "seed": 0},
    ),
    "OptimizedPolicy.save": lambda t: (t.optimized.save, {"directory": t.folder / "saved"}),
    "OptimizedPolicy.load": lambda t: (co.OptimizedPolicy.load, {"directory": t.policy_path}),
    "OptimizedPolicy.summary_rows": method("optimized", "summary_rows"),
    "load_policy": lambda t: (load_policy, {"source": t.policy_path, "cache": None}),
    "ChoiceSets.listed": lambda t: (co.ChoiceSets.listed, {"candidates": {"Storm": ["It hits", "Roofs fly"]}}),
    "ChoiceSets.logged": lambda t: (
        co.ChoiceSets.logged,
        {"prompts": ["a", "a", "b"], "texts": ["x", "y", "z"], "weight": np.array([1.0, 2.0, 0.5])},
    ),
    "Population": lambda t: (co.Population, {"texts": "drawn", "prompts": "fixed"}),
    "PseudoOutcomeEstimator": lambda t: (
        co.PseudoOutcomeEstimator,
        {
            "embedder": "tfidf-svd",
            "outcome_model": "ridge",
            "assignment_model": "randomized",
            "folds": 2,
            "repeats": 1,
            "max_weight": 20.0,
            "seed": 0,
            "observation_model": "logistic",
            "executor": "local",
        },
    ),
    "PseudoOutcomeEstimator.fit_transform": lambda t: (
        t.nuisances.fit_transform,
        {
            "dataset": t.data,
            "outcome_data": None,
            "m": t.pseudo.m,
            "g": t.pseudo.g,
            "s": t.pseudo.s,
            "fold": t.pseudo.fold,
            "pi": None,
        },
    ),
    "PseudoOutcomes.subset": lambda t: (t.pseudo.subset, {"index": np.arange(10)}),
    "PseudoOutcomes.dose_response": lambda t: (t.pseudo.dose_response, {"texts": t.texts[:3], "prompts": None}),
    "PseudoOutcomes.row_response": lambda t: (t.pseudo.row_response, {"texts": t.texts[:3], "row": np.arange(3)}),
    "PseudoOutcomes.dose_response_of": lambda t: (
        t.pseudo.dose_response_of,
        {"readers": np.arange(10), "texts": t.texts[:3]},
    ),
    "PseudoOutcomes.reader_response": lambda t: (t.pseudo.reader_response, {"texts": t.texts[:3]}),
    "PseudoOutcomes.summary_rows": method("pseudo", "summary_rows"),
    "PseudoOutcomes.to_frame": method("pseudo", "to_frame"),
    "PseudoOutcomes.fitted": method("pseudo", "fitted"),
    "PseudoOutcomes.save": lambda t: (t.pseudo.save, {"path": t.folder / "saved.parquet"}),
    "PseudoOutcomes.load": lambda t: (co.PseudoOutcomes.load, {"path": t.pseudo_path}),
    "DirectOutcomeDataset.from_frame": lambda t: (co.DirectOutcomeDataset.from_frame, {"frame": t.frame, **FRAME}),
    "DirectOutcomeDataset.from_hf": lambda t: (
        co.DirectOutcomeDataset.from_hf,
        {"dataset": t.hf, "source": "hf", "text": "text", "outcome": "y"},
    ),
    "DirectOutcomeDataset.subset": lambda t: (t.data.subset, {"index": np.arange(10)}),
    "DirectOutcomeDataset.with_outcome": lambda t: (t.data.with_outcome, {"name": "other", "direction": "minimize"}),
    "DirectOutcomeDataset.with_population": lambda t: (t.data.with_population, {"population": Population()}),
    "DirectOutcomeDataset.cluster": lambda t: (t.data.cluster, {"population": Population()}),
    "DirectOutcomeDataset.units": lambda t: (t.data.units, {"population": Population()}),
    "DirectOutcomeDataset.unit_count": lambda t: (t.data.unit_count, {"population": Population()}),
    "DirectOutcomeDataset.split": lambda t: (t.data.split, {"test_size": 0.3, "seed": 0, "by": "group"}),
    "FiniteBackend": lambda t: (
        co.FiniteBackend,
        {
            "candidates": t.texts,
            "embedder": "tfidf-svd",
            "reference": None,
            "l2": 0.01,
            "max_kl": 1.0,
            "max_iterations": 20,
        },
    ),
    "FiniteBackend.with_candidates": lambda t: (co.FiniteBackend().with_candidates, {"texts": t.texts, "sets": None}),
    "HuggingFaceBackend": lambda t: (
        co.HuggingFaceBackend,
        {
            "model": "scratch:tiny",
            "lora": {"r": 2},
            "training": {"max_steps": 1},
            "reference": {},
            "sampling": {},
            "dtype": "auto",
            "max_length": 64,
            "on_long_text": "error",
            "chat_template": "auto",
            "system_prompt": None,
            "chat_template_kwargs": None,
            "tokenization": "apart",
            "attn_implementation": None,
            "refresh": None,
            "quantization": None,
            "callbacks": [],
            "tokenizer": None,
            "min_updates": None,
            "trainer_class": None,
        },
    ),
    "embed": lambda t: (embed, {"embedder": t.embedder, "prompts": None, "texts": t.texts}),
    "embed_repeated": lambda t: (embed_repeated, {"embedder": t.embedder, "prompts": None, "texts": t.texts}),
    "CachedEmbedder": lambda t: (CachedEmbedder, {"embedder": "tfidf-svd", "directory": t.folder / "cache"}),
    "CachedEmbedder.fit": lambda t: (CachedEmbedder("tfidf-svd", t.folder / "cache").fit, {"texts": t.texts}),
    "CachedEmbedder.transform": lambda t: (
        CachedEmbedder("tfidf-svd", t.folder / "cache").fit(t.texts).transform,
        {"texts": t.texts},
    ),
    "LocalExecutor": lambda t: (LocalExecutor, {"processes": 1, "retries": 1}),
}
for _from in ("path", "csv", "tsv", "jsonl", "parquet"):
    ENTRIES[f"DirectOutcomeDataset.from_{_from}"] = lambda t, _from=_from: (
        getattr(co.DirectOutcomeDataset, f"from_{_from}"),
        {"path": t.files[_from], "text": "text", "outcome": "y", "covariates": ["age"]},
    )
_WORLDS: dict[str, dict[str, Any]] = {
    "FiniteWorld": {"texts": 20, "dimensions": 2, "covariates": 1, "readers": 10, "confounding": 0.7, "nonlinear": 0.5,
                    "heterogeneity": 0.3, "noise": 1.0, "seed": 0},
}  # fmt: skip
for _name, _settings in _WORLDS.items():
    ENTRIES[_name] = lambda t, _name=_name, _settings=_settings: (getattr(simulation, _name), _settings)


def prepared(folder: Path) -> SimpleNamespace:
    """`things`, and the files that readers read."""
    t = things()
    t.folder = folder
    t.files = {"path": folder / "a.csv", "csv": folder / "a.csv", "tsv": folder / "a.tsv",
               "jsonl": folder / "a.jsonl", "parquet": folder / "a.parquet"}  # fmt: skip
    t.frame.to_csv(t.files["csv"], index=False)
    t.frame.to_csv(t.files["tsv"], index=False, sep="\t")
    t.frame.to_json(t.files["jsonl"], orient="records", lines=True)
    t.frame.to_parquet(t.files["parquet"])
    t.scores_path = folder / "scores.csv"
    t.frame.drop_duplicates("text").to_csv(t.scores_path, index=False)
    t.pseudo_path = folder / "pseudo.parquet"
    t.pseudo.save(t.pseudo_path)
    t.answers_path = folder / "answers.jsonl"
    for k, order in enumerate(("AB", "BA") * 3):
        answer = Answer(k / 5, "A, as it is warmer – ü")
        AnswerFile(t.answers_path, pairs=3).add(Asked("outcome", k // 2, order), answer)
    t.survey_path = folder / "survey.csv"
    votes = [(item, rater, "AB"[(item + rater) % 2]) for item in range(6) for rater in range(3)]
    pd.DataFrame(votes, columns=["item", "rater", "answer"]).to_csv(t.survey_path, index=False)
    t.chats_path = folder / "chats.jsonl"
    asked = [{"role": "user", "content": "Is it warm?"}]
    chats = [{"messages": [*asked, {"role": "assistant", "content": text}], "stars": k} for k, text in enumerate("abc")]
    pd.DataFrame(chats).to_json(t.chats_path, orient="records", lines=True)
    t.turns_path = folder / "turns.csv"
    turns = [(k, role, f"turn {k}", k) for k in range(4) for role in ("user", "assistant")]
    pd.DataFrame(turns, columns=["conversation", "role", "text", "outcome"]).to_csv(t.turns_path, index=False)
    t.hf = t.frame
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CausalOptWarning)
        t.optimized = co.optimize(t.pseudo, backend=co.FiniteBackend(t.texts), per_row=1)
    t.policy_path = folder / "policy"
    t.optimized.save(t.policy_path)
    t.embedder = TfidfSvdEmbedder().fit(t.texts)
    return t


class Odd:
    """An object of no use anywhere."""


PLAIN: dict[str, Callable[[], Any]] = {
    "None": lambda: None, "a word": lambda: "high", "an empty string": lambda: "", "bytes": lambda: b"x",
    "markup": lambda: "[/red]\x1b[31m\x00é😀\n<b>", "half a character": lambda: "\ud800", "a path": lambda: Path("none/x"),
    "zero": lambda: 0, "minus one": lambda: -1, "3.5": lambda: 3.5, "nan": lambda: float("nan"),
    "inf": lambda: float("inf"), "1e308": lambda: 1e308, "1e-300": lambda: 1e-300, "10**40": lambda: 10**40,
    "True": lambda: True, "complex": lambda: 1 + 2j, "an empty list": list, "an empty mapping": dict,
    "a ragged list": lambda: [1, [2]], "strings": lambda: ["a", "a"], "a mapping": lambda: {1: 2},
    "a list of None": lambda: [None, None], "an object": Odd, "a class": lambda: Odd, "a function": lambda: len,
    "a 0-d array": lambda: np.array(3.0), "a matrix": lambda: np.zeros((2, 2)), "a NaT": lambda: pd.NaT,
    "an NA": lambda: pd.NA, "a generator": lambda: (i for i in range(3)), "a frame": lambda: pd.DataFrame({"a": [1]}),
    "a tuple": lambda: (1, 2, 3), "a set": lambda: {1, 2},
}  # fmt: skip


def _set(values: np.ndarray, to: Any) -> np.ndarray:
    changed = np.array(values, dtype=np.float64)
    changed[(0,) * changed.ndim] = to
    return changed


ARRAYS: dict[str, Callable[[np.ndarray], Any]] = {
    "of objects": lambda a: a.astype(object), "with a string": lambda a: np.array(["a", *a.ravel()[1:]], dtype=object),
    "of strings": lambda a: a.astype(str), "complex": lambda a: a + 1j, "boolean": lambda a: a > 0,
    "float32": lambda a: a.astype(np.float32), "float16": lambda a: a.astype(np.float16),
    "int8": lambda a: a.astype(np.int8), "times": lambda a: np.zeros(a.shape, "datetime64[s]"),
    "durations": lambda a: np.zeros(a.shape, "timedelta64[s]"), "2-d": lambda a: a[..., None], "0-d": lambda a: a.sum(),
    "short": lambda a: a[:-1], "long": lambda a: np.concatenate([a, a[:1]]), "empty": lambda a: a[:0],
    "one row": lambda a: a[:1], "two rows": lambda a: a[:2], "with nan": lambda a: _set(a, np.nan),
    "with inf": lambda a: _set(a, np.inf), "with -inf": lambda a: _set(a, -np.inf), "with 1e308": lambda a: _set(a, 1e308),
    "with -1e308": lambda a: _set(a, -1e308), "all 1e308": lambda a: np.full(a.shape, 1e308),
    "all 1e-300": lambda a: np.full(a.shape, 1e-300), "all 1e200": lambda a: np.full(a.shape, 1e200),
    "with 1e-300": lambda a: _set(a, 1e-300), "negative": lambda a: -np.abs(a) - 1, "zero": lambda a: np.zeros(a.shape),
    "constant": lambda a: np.ones(a.shape), "all nan": lambda a: np.full(a.shape, np.nan),
    "huge": lambda a: [10**400] * len(a), "masked": lambda a: np.ma.masked_array(a, mask=np.arange(a.size).reshape(a.shape) == 0),
    "a Series": lambda a: pd.Series(list(a), index=range(5, 5 + len(a))),
    "a nullable Series": lambda a: pd.Series([None, *range(1, len(a))], dtype="Int64"),
    "a category": lambda a: pd.Series(list(map(str, a))).astype("category"),
    "pyarrow": lambda a: pa.array(a.ravel().tolist()),
    "a list": lambda a: a.tolist(), "torch": lambda a: torch.tensor(a), "bfloat16": lambda a: torch.tensor(a).bfloat16(),
    "torch with gradient": lambda a: torch.tensor(a, dtype=torch.float64, requires_grad=True),
    "sparse": lambda a: sparse.csr_array(np.atleast_2d(a)), "not contiguous": lambda a: np.repeat(a, 2, axis=0)[::2],
    "read-only": lambda a: _locked(a), "big-endian": lambda a: a.astype(">f8"), "a frame": lambda a: pd.DataFrame(a),
    "None within": lambda a: [None, *a.tolist()[1:]], "a set": lambda a: set(a.ravel()),
}  # fmt: skip


def _locked(values: np.ndarray) -> np.ndarray:
    values = values.copy()
    values.flags.writeable = False
    return values


FRAMES: dict[str, Callable[[pd.DataFrame], Any]] = {
    "empty": lambda f: f.iloc[:0], "one row": lambda f: f.iloc[:1], "no columns": lambda f: f.iloc[:, :0],
    "names twice": lambda f: pd.concat([f, f], axis=1), "pyarrow": pa.Table.from_pandas,
    "a mapping": lambda f: f.to_dict("list"), "records": lambda f: f.to_dict("records"), "numpy": lambda f: f.to_numpy(),
    "of objects": lambda f: f.astype(object), "all missing": lambda f: pd.DataFrame(None, f.index, f.columns, dtype=object),
    "a column of numbers": lambda f: f.rename(columns={f.columns[0]: 3}), "index of names": lambda f: f.set_index(f.columns[0]),
    "index twice": lambda f: f.set_index(np.zeros(len(f))), "markup": lambda f: f.rename(columns={f.columns[-1]: "[/red]\n"}),
    "columns of two levels": lambda f: f.set_axis(pd.MultiIndex.from_product([["a"], f.columns]), axis=1),
    "strings": lambda f: f.astype(str), "1e308": lambda f: f.assign(**{f.columns[-1]: 1e308}),
}  # fmt: skip


def mutations(valid: Any) -> Iterator[tuple[str, Callable[[], Any]]]:
    """What may be given in place of a valid argument."""
    yield from PLAIN.items()
    if isinstance(valid, np.ndarray):
        for name, change in ARRAYS.items():
            yield f"array {name}", lambda change=change: change(valid.copy())
    if isinstance(valid, pd.DataFrame):
        for name, change in FRAMES.items():
            yield f"frame {name}", lambda change=change: change(valid.copy())
    if isinstance(valid, list) and valid and isinstance(valid[0], str):
        for name, value in {"twice": valid * 2, "a number within": [*valid[1:], 3], "None within": [*valid[1:], None],
                            "an empty one within": [*valid[1:], ""], "half a character within": [*valid[1:], "\ud800"],
                            "an array": np.array(valid), "a Series": pd.Series(valid, index=range(5, 5 + len(valid))),
                            "unknown": [*valid[1:], "nobody wrote this"], "a tuple": tuple(valid)}.items():  # fmt: skip
            yield f"list {name}", lambda value=value: value


def not_finite(result: Any, depth: int = 0) -> bool:
    """Whether a number of a result is nan (or infinite, for a value, error or interval)."""
    if isinstance(result, co.Estimate):
        return not np.isfinite([result.value, result.se, *result.confint()]).all()
    if isinstance(result, tuple | list) and depth < 3:
        return any(not_finite(one, depth + 1) for one in result)
    if isinstance(result, float):
        return bool(np.isnan(result))
    if isinstance(result, np.ndarray) and result.dtype.kind == "f":
        return bool(np.isnan(result).any())
    if isinstance(result, Mapping) and depth < 3:
        return any(not_finite(one, depth + 1) for one in result.values())
    if dataclasses.is_dataclass(result) and not isinstance(result, type) and depth < 3:
        return any(not_finite(getattr(result, one.name), depth + 1) for one in dataclasses.fields(result))
    return False


def frozen(value: Any) -> Any:
    """A copy of what a call must not change."""
    if isinstance(value, np.ndarray | pd.DataFrame | pd.Series | list | dict):
        return value.copy()
    return None


def fault(call: Callable[..., Any], arguments: Mapping[str, Any]) -> str | None:
    """What is wrong with how a call ends; None if nothing is."""
    before = {name: frozen(value) for name, value in arguments.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", CausalOptWarning)
        try:
            result = call(**arguments)
            endless = not_finite(result)
        except CausalOptError as error:
            said = str(error)
            if len(said) > 600 or not said.strip():
                return f"a message of {len(said)} characters"
            if isinstance(error, UnicodeError) or "Traceback" in said:
                return f"a message that is no line: {said[:100]}"
            return None
        except Warning as warning:
            return f"{type(warning).__name__}: {warning}"
        except Exception as error:
            return f"{type(error).__name__}: {str(error)[:150]}"
        except BaseException as error:
            return f"{type(error).__name__}"
    for name, value in arguments.items():
        kept = before[name]
        if (
            isinstance(value, np.ndarray)
            and value.dtype.kind == "f"
            and not np.array_equal(kept, value, equal_nan=True)
        ):
            return f"{name} was changed"
        if isinstance(value, pd.DataFrame) and not kept.equals(value):
            return f"{name} was changed"
    return "a result that is not finite" if endless else None


NOT_WALKED = {
    **dict.fromkeys(
        [
            "Benchmark",
            "Bounds",
            "CalibratedScores",
            "Evaluation",
            "GroupVerdict",
            "JudgedEvaluation",
            "Nonresponse",
            "Overlap",
            "PlaceboAssignment",
            "PseudoOutcomes",
            "SampledValue",
            "Sensitivity",
            "SimultaneousIntervals",
            "TTest",
            "Transport",
            "TrueValue",
            "Verdict",
        ],
        "what functions return",
    ),
    **dict.fromkeys(
        [
            "AnyTextWorld",
            "Embedder",
            "EnumeratedWorld",
            "Executor",
            "OpenWorld",
            "SimulatedWorld",
            "TwoSampleWorld",
            "World",
        ],
        "a contract, or the base of what meets one",
    ),
    **dict.fromkeys(
        [
            "ContaminatedWorld",
            "LanguageModelWorld",
            "LoggedTrafficWorld",
            "SemiSyntheticWorld",
            "TemplateWorld",
            "VoluntaryFeedbackWorld",
            "value_of_all_texts",
        ],
        "the settings of worlds are walked in test_signatures.py",
    ),
    **dict.fromkeys(
        [
            "check_assignment_model",
            "check_attribute_coder",
            "check_backend",
            "check_embedder",
            "check_executor",
            "check_judge",
            "check_objective",
            "check_observation_model",
            "check_open_world",
            "check_outcome_model",
            "check_world",
        ],
        "raises AssertionError with what is wrong",
    ),
    "DirectOutcomeDataset": "made by from_frame and from_path",
    "ChoiceSets": "made by listed and logged",
    "EXECUTOR": "a constant",
    "IN_PROCESS": "a constant",
}
SLOW = (
    "HuggingFaceBackend", "PseudoOutcomeEstimator.fit_transform", "evaluate", "evaluate_with_judge", "find_groups",
    "load_policy", "marginal_log_ratio", "optimize", "transport",
)  # fmt: skip
"""Entries whose calls take long when they succeed: a few mutations of each argument."""
TELLING = ("a word", "markup", "minus one", "nan", "10**40", "a matrix", "an object", "array complex", "array short",
           "array with nan", "array huge", "array masked")  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    return prepared(tmp_path_factory.mktemp("entries"))


def test_every_public_callable_has_an_entry() -> None:
    public = {
        name
        for module in MODULES
        for name in importlib.import_module(module).__all__
        if callable(getattr(importlib.import_module(module), name))
    }
    walked = {name.split(".")[0] for name in ENTRIES}
    assert public - walked - set(NOT_WALKED) == set()


@pytest.mark.parametrize("name", ENTRIES)
def test_what_is_ill_formed_is_one_line(name: str, made: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(made.folder)
    call, valid = ENTRIES[name](made)
    assert fault(call, valid) is None
    found = []
    for argument, value in valid.items():
        for kind, make in mutations(value):
            if name in SLOW and kind not in TELLING:
                continue
            call, arguments = ENTRIES[name](made)
            wrong = fault(call, {**arguments, argument: make()})
            if wrong is not None:
                found.append(f"{argument} is {kind}: {wrong}")
    assert not found, "\n".join(found)


@pytest.mark.parametrize(("file", "read"), [
    ("pseudo_path", co.PseudoOutcomes.load),
    ("scores_path", lambda path: co.JudgeScores.from_path(path, score="y")),
    ("answers_path", lambda path: AnswerFile(path, pairs=3)),
    ("survey_path", lambda path: survey(path, SurveyColumns(item="item"))),
    ("chats_path", lambda path: co.DirectOutcomeDataset.from_jsonl(path, text="messages", outcome="stars")),
    ("turns_path", lambda path: co.DirectOutcomeDataset.from_csv(path, conversation="conversation")),
])  # fmt: skip
def test_a_damaged_file_is_one_line(
    file: str, read: Callable[[Path], Any], made: SimpleNamespace, tmp_path: Path
) -> None:
    whole = getattr(made, file).read_bytes()
    rng = np.random.default_rng(0)
    place = tmp_path / getattr(made, file).name
    for number in range(60):
        content = bytearray(whole)
        at = int(rng.integers(len(content)))
        if number % 3 == 0:
            content[at] ^= int(rng.integers(1, 256))
        elif number % 3 == 1:
            content = content[:at]
        else:
            content[at : at + 20] = rng.bytes(20)
        place.write_bytes(bytes(content))
        wrong = fault(read, {"path": place})
        assert wrong is None, f"change {number} at byte {at}: {wrong}"
