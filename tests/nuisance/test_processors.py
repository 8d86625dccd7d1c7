"""The same table gives the same folds and the same numbers, whichever kernels the processor makes numpy choose."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPT = """
import json, sys, warnings
import numpy as np, pandas as pd
import causalopt as co
from causalopt.evaluation import snipw
from causalopt.data.folds import inner_folds

warnings.simplefilter("ignore")
rng = np.random.default_rng(7)
who, what = ["a nurse", "the mayor", "my aunt", "a vet"], ["asks", "begs", "urges", "dares", "bids"]
texts = [f"{a} {b} us to {c}" for a in who for b in what for c in ("plant trees", "save water", "walk more")]
n = 500
age = rng.normal(size=n)
shown = np.minimum((rng.random(n) * 60 * (1 + 0.2 * np.tanh(age)) / 1.2).astype(int), 59)
y = shown % 3 + 0.4 * (shown % 5) * age + rng.normal(size=n)
frame = pd.DataFrame({"text": [texts[i] for i in shown], "age": age, "outcome": y})
data = co.DirectOutcomeDataset.from_frame(frame, covariates=["age"])
found = {}
for name in ("ridge", "ridge-lightgbm"):
    pseudo = co.PseudoOutcomeEstimator(outcome_model=name).fit_transform(data)
    value = snipw(0.2 * (shown % 3), pseudo.xi, cluster=data.group)
    found[name] = {
        "fold": pseudo.fold.tolist(), "value": value.value, "se": value.se,
        **{part: getattr(pseudo, part).tolist() for part in ("m", "g", "s")},
    }
    ids = pseudo.fitted().index.ids(None, data.texts)
found["inner"] = inner_folds(ids, 5, 0).tolist()
json.dump(found, sys.stdout)
"""
FLAGS = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
KERNELS = {"Prescott": "sse3", "Haswell": "avx2", "Zen": "avx2", "SkylakeX": "avx512f"}
"""Core types of OpenBLAS, each with the instruction set that it needs."""


def run(**environment: str) -> dict:
    kept = {name: value for name, value in os.environ.items() if name != "OPENBLAS_CORETYPE"}
    finished = subprocess.run(
        [sys.executable, "-c", SCRIPT], env={**kept, **environment}, capture_output=True, text=True, check=True
    )
    return json.loads(finished.stdout)


@pytest.fixture(scope="module")
def here():
    return run()


@pytest.mark.parametrize("core", KERNELS)
def test_another_core_type_gives_the_same_numbers(here, core):
    if not {"sse3": {"sse3", "pni"}}.get(KERNELS[core], {KERNELS[core]}) & set(FLAGS.split()):
        pytest.skip(f"this processor has no {KERNELS[core]}")
    there = run(OPENBLAS_CORETYPE=core)
    assert there["inner"] == here["inner"]
    for name in ("ridge", "ridge-lightgbm"):
        assert there[name]["fold"] == here[name]["fold"]
    for part in ("m", "g", "s"):
        np.testing.assert_allclose(there["ridge"][part], here["ridge"][part], atol=1e-6)
    # A split of a tree may fall on the other side of a rounding; the estimate hardly moves.
    trees = here["ridge-lightgbm"]
    assert abs(there["ridge-lightgbm"]["value"] - trees["value"]) < 0.1 * trees["se"]
