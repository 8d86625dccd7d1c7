"""A run of a small language model that answers prompts, and the command line in this process."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from causalopt.cli.main import main
from causalopt.errors import CausalOptWarning

PROMPTS = [f"{verb} for the {who}:" for verb in ("Ask", "Write", "Plead") for who in ("shelter", "library", "school")]
ANSWERS = [f"{a} {b} {c}." for a in ("Help", "Give") for b in ("now", "soon", "please") for c in ("today", "again")]
EFFECT = 2.0
"""Of the word please, on the outcome."""


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[object, str, str]]:
    """Run the command line in this process; returns exit code, standard output and standard error."""

    def run(*arguments: object) -> tuple[object, str, str]:
        monkeypatch.setattr(sys, "argv", ["causalopt", *map(str, arguments)])
        code: object = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code
        out, err = capsys.readouterr()
        return code, out, " ".join(err.split())

    return run


@pytest.fixture(scope="session")
def answering(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``chat.csv``, ``chat.yaml`` and its run, ``run``; nothing in it may be changed."""
    folder = tmp_path_factory.mktemp("answering")
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"question": rng.choice(PROMPTS, 300), "answer": rng.choice(ANSWERS, 300), "age": rng.normal(size=300)}
    )
    frame["resp"] = EFFECT * frame["answer"].str.contains("please") + frame["age"] + 0.1 * rng.normal(size=300)
    frame.to_csv(folder / "chat.csv", index=False)
    config = {
        "data": {
            "path": str(folder / "chat.csv"),
            "prompt": "question",
            "text": "answer",
            "outcome": "resp",
            "covariates": ["age"],
        },
        "embedder": {"name": "tfidf-svd", "dimensions": 8},
        "outcome_model": "ridge",
        "assignment_model": "gaussian",
        "cross_fitting": {"folds": 2},
        "choose": None,
        "samples": {"per_row": 1},
        "evaluation": {"estimators": ["dr"], "draws": 20, "benchmark": []},
        "backend": {
            "name": "huggingface",
            "model": "scratch:tiny",
            "reference": {"training": {"max_steps": 40}},
            "training": {"max_steps": 3, "learning_rate": 0.02},  # far enough to draw other texts
            "sampling": {"max_new_tokens": 16, "batch_size": 4},
        },
    }
    (folder / "chat.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    from causalopt.run.config import load_config
    from causalopt.run.pipeline import run
    from causalopt.run.plan import prepare

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CausalOptWarning)
        run(prepare(load_config(folder / "chat.yaml")), folder / "run")
    return folder
