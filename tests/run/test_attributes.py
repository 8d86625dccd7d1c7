"""What a run records for its report: effects of attributes, and the logged texts nearest to its samples."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from causalopt.run.config import parse_config
from causalopt.run.pipeline import run
from causalopt.run.plan import prepare

pytestmark = pytest.mark.filterwarnings("ignore::causalopt.errors.CausalOptWarning")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pd.DataFrame]:
    """Keen readers respond by 4 more, and are shown bold texts three times in four; boldness itself takes 1 away."""
    folder = tmp_path_factory.mktemp("attributes")
    rng = np.random.default_rng(0)
    words = ["help", "winter", "coat", "meal", "warm", "gift", "street", "night", "child", "town"]
    texts = [" ".join(rng.choice(words, 4, replace=False)) + (" now!" if i % 2 else "") for i in range(60)]
    keen = rng.integers(2, size=600)
    bold = rng.random(600) < np.where(keen == 1, 0.75, 0.25)
    which = 2 * rng.integers(30, size=600) + bold
    table = pd.DataFrame({"text": [texts[i] for i in which], "keen": keen, "bold": bold.astype(int)})
    table["resp"] = 10 + 4.0 * keen - 1.0 * bold + rng.normal(0, 1, 600)
    table.to_csv(folder / "table.csv", index=False)
    settings = {
        "data": {
            "path": str(folder / "table.csv"),
            "outcome": "resp",
            "covariates": ["keen"],
            "attributes": ["bold"],
            "population": {"texts": "fixed"},
        },
        "embedder": {"name": "tfidf-svd", "dimensions": 8},
        "cross_fitting": {"folds": 2},
        "outcome_model": "ridge",
        "assignment_model": "gaussian",
        "backend": "finite",
        "choose": None,
        "evaluation": {"draws": 50, "estimators": ["sndr"]},
    }
    run(prepare(parse_config(settings)), folder / "run")
    return folder / "run", table


def test_the_naive_comparison_is_misled_and_the_adjusted_one_is_not(finished: tuple[Path, pd.DataFrame]) -> None:
    directory, _ = finished
    found = json.loads((directory / "metrics.json").read_text())["attributes"]
    (bold,) = found["effects"]
    assert bold["naive"]["ci_low"] > 0  # + 2 from the readers, - 1 from boldness
    # Six standard errors: the test fails by chance less than once in a million.
    assert abs(bold["adjusted"]["estimate"] + 1) < 6 * bold["adjusted"]["se"]
    assert bold["adjusted"]["ci_high"] < 0
    assert bold["direction"] == "worse"
    assert found["written"]
    assert bold["policy"] < bold["reference"]
    page = (directory / "report.html").read_text()
    assert "adjusted for who read which text" in page
    assert '<th scope="row" rowspan="2">bold</th><td>adjusted</td>' in page


def test_neighbours_of_samples_are_logged_texts_with_their_mean_response(
    finished: tuple[Path, pd.DataFrame],
) -> None:
    directory, table = finished
    samples = pd.read_parquet(directory / "samples.parquet")
    shown = samples[samples["neighbour"].notna()]
    assert set(shown["policy"]) == {"policy"}
    assert len(shown) == 50
    assert (shown["neighbour"] == shown["text"]).all()  # the policy is over the logged texts
    np.testing.assert_allclose(shown["similarity"], 1.0)
    means = table.groupby("text")["resp"].mean()
    np.testing.assert_allclose(shown["neighbour_outcome"], means.loc[shown["neighbour"]], rtol=1e-9)
    assert "Nearest logged text, observed" in (directory / "report.html").read_text()
