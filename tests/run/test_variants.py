"""Choosing among logged variants: the one that works is found, and not the one with the best ratings."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from causalopt.backends.saved import load_policy
from causalopt.cli.init import init
from causalopt.data.proposal import among_variants, propose
from causalopt.errors import DataError
from causalopt.run.config import load_config
from causalopt.run.pipeline import run
from causalopt.run.plan import prepare

ROOT = Path(__file__).parents[2]
EFFECTS = {"terse-v2": 0.0, "friendly-v1": 0.7, "long": -0.2, "other model": 0.1}


def log(n: int, seed: int) -> pd.DataFrame:
    """Newcomers, who rate low, get the friendly variant; those of long tenure the terse one."""
    rng = np.random.default_rng(seed)
    tenure, language = rng.exponential(size=n), rng.choice(["en", "de"], n)
    odds = np.exp(np.outer(tenure - 1, [0.8, -0.8, 0.3, 0.0]))
    shown = ((odds / odds.sum(axis=1, keepdims=True)).cumsum(axis=1) < rng.random(n)[:, None]).sum(axis=1)
    rating = 3 + np.array([*EFFECTS.values()])[shown] + tenure + 0.3 * (language == "de") + rng.normal(size=n)
    return pd.DataFrame(
        {
            "variant": np.array([*EFFECTS])[shown],
            "question": [f"how do I do {rng.integers(10**9)}?" for _ in range(n)],
            "answer": [f"you do it by {rng.integers(10**9)} at a time" for _ in range(n)],
            "rating": rating,
            "tenure": tenure,
            "language": language,
            "user": rng.integers(0, n // 3, n),
        }
    )


def test_the_configuration_finds_the_variant_that_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = log(1500, seed=1)
    naive = frame.groupby("variant")["rating"].mean()
    assert naive["terse-v2"] > naive["friendly-v1"]
    frame.to_csv(tmp_path / "variants.csv", index=False)
    monkeypatch.chdir(tmp_path)
    run(prepare(load_config(ROOT / "configs" / "variants.yaml")), tmp_path / "run")
    texts, log_prob = load_policy(tmp_path / "run" / "policy").distribution(None)
    chosen = dict(zip(texts, np.exp(log_prob), strict=True))
    assert max(chosen, key=lambda text: chosen[text]) == "friendly-v1"
    found = json.loads((tmp_path / "run" / "metrics.json").read_text())["value"]["difference"]
    shown = frame["variant"].value_counts(normalize=True)
    truth = sum((chosen[text] - shown[text]) * effect for text, effect in EFFECTS.items())
    assert found["ci_low"] > 0
    assert found["ci_low"] < truth < found["ci_high"]


def test_init_proposes_it(tmp_path: Path) -> None:
    log(400, seed=2).to_csv(tmp_path / "log.csv", index=False)
    written = tmp_path / "made.yaml"
    init(tmp_path / "log.csv", arms="variant", yes=True, out=written)
    assert yaml.safe_load(written.read_text())["data"] == {
        "path": str(tmp_path / "log.csv"),
        "text": "variant",
        "outcome": "rating",
        "reader": "user",
        "covariates": ["tenure", "language"],
        "direction": "maximize",
    }
    assert len(prepare(load_config(written)).train) > 200


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ("answer", "has 400 values in 400 rows"),
        ("model", "there is no column 'model'"),
        ("same", "has 1 values in 400"),
    ],
)
def test_what_is_no_column_of_variants_is_refused(column: str, message: str) -> None:
    frame = log(400, seed=3).assign(same="one")
    with pytest.raises(DataError, match=message):
        among_variants(propose(frame, {}, "log"), column, frame, "log")
