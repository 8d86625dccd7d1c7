"""A small run directory, written as data that a report must show; nothing here is a result."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

HOSTILE = "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 2'> & \"quoted\""


def interval(estimate: float, half: float, **more: Any) -> dict[str, Any]:
    return {"estimate": estimate, "se": half / 1.96, "ci_low": estimate - half, "ci_high": estimate + half, **more}


def small_metrics() -> dict[str, Any]:
    return {
        "outcome": "rating",
        "direction": "maximize",
        "value": {
            "reference": interval(3.1, 0.2, estimator="sndr"),
            "policy": interval(3.6, 0.3, estimator="sndr"),
            "difference": interval(0.5, 0.25, estimator="sndr"),
        },
    }


def full_metrics() -> dict[str, Any]:
    truth = {"reference": 3.0, "policy": 3.55, "best": 3.7, "gain_share": 0.786, "kl": 1.1}
    naive_truth = {"reference": 3.0, "policy": 2.8, "best": 3.6, "gain_share": -0.33, "kl": 0.9}
    return small_metrics() | {
        "estimator": "sndr",
        "level": 0.95,
        "objective": "dr_cpo",
        "verdict": "Overlap is thin. The policy is better than the reference: it would move rating by +0.5.",
        "finding": "The policy is better than the reference: it would move rating by +0.5.",
        "outlook": "better",
        "thin": True,
        "reasons": ["Overlap is thin."],
        "barred": [],
        "behavior_policy": "reference",
        "warnings": [f"the outcome model explains little {HOSTILE}"],
        "data": {
            "source": "survey.csv",
            "train_rows": 1400,
            "test_rows": 600,
            "train_groups": 1300,
            "test_groups": 560,
            "dropped": {"no text": 6},
            "covariates": ["age", HOSTILE],
        },
        "estimates": [
            {"quantity": quantity, "estimator": estimator, **interval(centre + shift, 0.25)}
            for estimator, shift in (("sndr", 0.0), ("dr", 0.1), ("snipw", -0.4), ("dm", 0.05))
            for quantity, centre in (("reference", 3.1), ("policy", 3.6), ("difference", 0.5))
        ],
        "overlap": {
            "n": 600,
            "unit": "texts",
            "clusters": 560,
            "ess": 311.2,
            "ess_fraction": 0.519,
            "ess_rows": 344.0,
            "max_weight_share": 0.021,
            "pareto_k": 0.31,
        },
        "population": {"texts": "drawn", "prompts": "fixed", "sentence": "The prompts are fixed; the texts a sample."},
        "behavior_fit": {"auc": 0.621, "auc_low": 0.554, "auc_high": 0.688, "judgement": "questionable"},
        "support": {"clusters": 560, "effective_clusters": 187.4, "mean_ratio": 0.9, "outside": 0.034, "draws": 1000},
        "frontier": {
            "sentence": "Of 3 policies the one at 0.4 nats was chosen.",
            "chosen": 0.5,
            "level": 0.9,
            "rows": 280,
            "rows_needed": 40,
            "points": [
                {
                    "factor": 0.5,
                    "kl": 0.4,
                    "kl_se": 0.01,
                    "gain": 0.42,
                    "se": 0.1,
                    "ci_low": 0.2,
                    "ci_high": 0.64,
                    "bound": 0.25,
                    "ess": 151.0,
                    "outside": 0.02,
                    "barred": None,
                    "chosen": True,
                },
                {
                    "factor": 1.0,
                    "kl": 1.3,
                    "kl_se": 0.1,
                    "gain": 0.7,
                    "se": 0.4,
                    "ci_low": -0.2,
                    "ci_high": 1.6,
                    "bound": 0.1,
                    "ess": 44.0,
                    "outside": 0.31,
                    "barred": f"Too far {HOSTILE}",
                    "chosen": False,
                },
                {
                    "factor": 1.5,
                    "kl": 4.0,
                    "kl_se": 0.5,
                    "gain": None,
                    "se": None,
                    "ci_low": None,
                    "ci_high": None,
                    "bound": None,
                    "ess": 0.0,
                    "outside": None,
                    "barred": "one row has all the weight",
                    "chosen": False,
                },
            ],
        },
        "kl": 1.2,
        "attributes": {
            "sentence": "The responses, summarised linearly in the attributes.",
            "written": True,
            "left_out": {"length": "is the same in all rows"},
            "effects": [
                {
                    "attribute": name,
                    "adjusted": interval(0.2, 0.1),
                    "naive": interval(-0.4, 0.1),
                    "direction": "better",
                    "reference": 0.4,
                    "policy": 0.6,
                }
                for name in ("bravery", HOSTILE)
            ],
        },
        "constraints": [
            {
                "outcome": "length",
                "at_most": 40.0,
                "at_least": None,
                "holds": True,
                "policy": {"estimate": 31.2, "ci_low": 29.0, "ci_high": 33.4},
                "reference": None,
                "sentence": "length stays at most 40.",
            },
            {
                "outcome": "offence",
                "at_most": None,
                "at_least": 0.1,
                "holds": None,
                "policy": None,
                "reference": None,
                "sentence": "offence stays at least 0.1.",
            },
        ],
        "groups": {
            "sentence": "No group of readers can be shown to gain or to lose.",
            "notes": [HOSTILE],
            "heterogeneity_p_value": 0.21,
            "level": 0.95,
            "estimator": "sndr",
            "gains": [
                {
                    "group": f"age = {name}",
                    "rows": 300,
                    "clusters": 280,
                    "ess": 90.0,
                    "gain": gain,
                    "ci_low": None if gain is None else gain - 0.4,
                    "ci_high": None if gain is None else gain + 0.4,
                    "reason": "too few rows" if gain is None else None,
                    "thin": False,
                    "outlook": "unclear",
                }
                for name, gain in (("young", 0.3), (HOSTILE, None))
            ],
        },
        "evidence": {
            "robustness_value": 0.123,
            "robustness_value_interval": 0.0456,
            "max_bias": 1.7,
            "placebo_p_value": 0.005,
            "placebo_rejections": 0.052,
            "placebo_outcome": interval(-0.07, 0.21, estimator="sndr") | {"p_value": 0.514},
            "benchmarks": [
                {"covariate": "age", "outcome_share": 0.081, "assignment_share": 0.027, "rho": 0.9, "change": -0.312},
                {"covariate": HOSTILE, "outcome_share": 0.0, "assignment_share": 0.004, "rho": 0.1, "change": 0.011},
            ],
            "balance": [{"covariate": "age", "before": 0.313, "after": 0.0427, "chance_after": 0.0617}],
            "calibration": None,
        },
        "nuisance": {
            "train": {"outcome_r2": 0.42, "truncated_mass": 0.003, "weight_max": 14.2},
            "test": {"outcome_r2": 0.38, "truncated_mass": 0.0, "weight_max": 9.7},
        },
        "truth": {**truth, "mass_reference": 0.97, "mass_policy": 0.96},
        "comparisons": {
            "naive": {"value": {"difference": interval(-0.1, 0.2)}, "kl": 0.9, "truth": naive_truth},
            HOSTILE: {"value": {"difference": interval(0.2, 0.3)}, "kl": 0.4, "truth": None},
        },
    }


@pytest.fixture
def small_run(tmp_path: Path) -> Path:
    """Only what a run must leave."""
    directory = tmp_path / "small"
    directory.mkdir()
    (directory / "metrics.json").write_text(json.dumps(small_metrics()))
    (directory / "manifest.json").write_text(json.dumps({"versions": {"causalopt": "0.1.0"}, "seed": 0}))
    (directory / "config.yaml").write_text("data: {path: survey.csv}\nbehavior_policy: null\n")
    rng = np.random.default_rng(0)
    rows = pd.DataFrame({"row": range(40), "fold": np.arange(40) % 5, "s": 1.0, "g": rng.normal(3, 1, 40)})
    rows.assign(xi=rows["g"], m=rows["g"], residual=0.0).to_parquet(directory / "pseudo_outcomes.parquet")
    return directory


@pytest.fixture
def full_run(small_run: Path) -> Path:
    """Everything a run in a simulated world may leave, with hostile names and texts."""
    directory = small_run.rename(small_run.with_name("full"))
    (directory / "metrics.json").write_text(json.dumps(full_metrics()))
    stages = [{"name": "pseudo_outcomes", "seconds": 3.2, "peak_memory_mb": 812}, {"name": "optimize", "seconds": 81.0}]
    manifest = {"versions": {"causalopt": "0.1.0", "torch": "2.13.0"}, "seed": 0, "fingerprint": "ab12" * 16}
    (directory / "manifest.json").write_text(json.dumps(manifest | {"device": "cpu", "stages": stages}))
    (directory / "config.yaml").write_text(f"behavior_policy: reference\ndata:\n  path: survey.csv\n# {HOSTILE}\n")
    rng = np.random.default_rng(1)
    n = 400
    rows = pd.DataFrame({"row": range(n), "fold": np.arange(n) % 5, "g": rng.normal(3, 1, n)})
    rows = rows.assign(s=np.exp(rng.normal(-0.3, 0.8, n)), m=rows["g"], residual=0.0, xi=rows["g"], outcome=3.0)
    rows.assign(text="a text").to_parquet(directory / "pseudo_outcomes.parquet")
    words = ["Dear neighbour, ", "this winter ", "a small gift ", "keeps someone warm ", "and costs little. "]
    samples = []
    for policy, shift in (("reference", 0.0), ("policy", 0.6), ("naive", -0.2)):
        g = 3 + shift + rng.normal(0, 0.5, 120)
        texts = ["".join(rng.choice(words, 7)) for _ in range(119)] + [HOSTILE]
        g[-1] = 9.0 if policy == "policy" else g[-1]
        samples.append(
            pd.DataFrame({"policy": policy, "text": texts, "prompt": "Ask for help", "g": g, "truth": g - 0.1})
        )
    pd.concat(samples).to_parquet(directory / "samples.parquet")
    log = [{"step": step, "loss": 1.0 / step, "kl": 0.1 * step, "learning_rate": 1e-3} for step in range(1, 30)]
    (directory / "training.jsonl").write_text("\n".join(map(json.dumps, log)) + "\n")
    return directory
