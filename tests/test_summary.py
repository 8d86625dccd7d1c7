"""What objects show in a console and in a notebook."""

from __future__ import annotations

import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

import causalopt as co
from causalopt.data.population import FIXED
from causalopt.errors import ConfigError, DroppedRowsWarning


@pytest.fixture(scope="module")
def objects() -> tuple[co.DirectOutcomeDataset, co.PseudoOutcomes, co.OptimizedPolicy, co.Evaluation]:
    rng = np.random.default_rng(0)
    texts = [f"{a} {b}" for a in ("Hello", "<b>Dear</b>") for b in ("all", "friend", "you", "reader")]
    shown = rng.integers(0, 8, 400)
    frame = pd.DataFrame({"text": np.array(texts)[shown], "rating": (shown >= 4) + rng.normal(size=400)})
    frame["age"], frame["who"] = rng.integers(18, 80, 400), np.arange(400)
    frame.loc[3, "rating"] = np.nan
    with pytest.warns(DroppedRowsWarning):
        data = co.DirectOutcomeDataset.from_frame(frame, outcome="rating", covariates=["age"], reader="who")
    train, test = data.with_population(FIXED).split(seed=0)
    estimator = co.PseudoOutcomeEstimator(outcome_model="ridge", assignment_model="gaussian")
    policy = co.optimize(estimator.fit_transform(train), backend={"name": "finite", "candidates": texts})
    return data, estimator.fit_transform(test), policy, co.evaluate(policy, estimator.fit_transform(test), draws=50)


def test_they_show_what_matters(objects) -> None:
    data, pseudo, policy, evaluation = objects
    assert re.search(r"rows +399, 1 left out: .*\n +texts +8, 49.9 readings each", repr(data))
    assert "covariates  age" in repr(data)
    assert "R^2 0." in repr(pseudo)
    assert "FinitePolicy" in repr(policy)
    low, high = evaluation.difference.confint()
    assert f"{evaluation.difference.value:.4g} (95% interval {low:.4g} to {high:.4g})" in repr(evaluation)
    for one in objects:
        assert all(len(line) < 130 for line in repr(one).splitlines())
        assert one._repr_html_().startswith("<table><caption>" + type(one).__name__)


def test_texts_in_a_notebook_are_escaped(objects) -> None:
    renamed = objects[0].__class__(**{**vars(objects[0]), "source": "<script>alert(1)</script>"})
    assert "<script>" not in renamed._repr_html_()
    assert "&lt;script&gt;" in renamed._repr_html_()


def test_describe_counts(objects) -> None:
    found = objects[0].describe()
    assert found.loc["text", ["count", "distinct"]].tolist() == [399, 8]
    assert found.loc["rating", "mean"] == pytest.approx(objects[0].outcome.mean())
    assert list(found.index) == ["text", "rating", "age"]


def test_plot_draws_each_estimator_with_its_interval(objects) -> None:
    evaluation = objects[3]
    (trace,) = evaluation.plot().data
    assert list(trace.y) == list(evaluation.estimates["difference"])
    low, high = evaluation.difference.confint()
    assert trace.x[0] - trace.error_x.arrayminus[0] == pytest.approx(low)
    assert trace.x[0] + trace.error_x.array[0] == pytest.approx(high)
    with pytest.raises(ConfigError, match="there is no quantity 'gain'"):
        evaluation.plot("gain")


def test_only_what_is_public_is_listed() -> None:
    code = "import causalopt as co; print(set(dir(co)) ^ {*co.__all__, '__version__'})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
