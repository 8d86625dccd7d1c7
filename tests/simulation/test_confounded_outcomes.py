"""A table made confounded on purpose: what the confounder adds, and whom it misleads."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

import causalopt as co
from causalopt.errors import ConfigError
from causalopt.run.config import parse_config
from causalopt.run.plan import prepare
from causalopt.simulation.confounded_outcomes import confound


def letters(n: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    coded = rng.integers(0, 2, (n, 2))
    texts = [f"{'dear ' * a}{'now ' * b}letter {i}" for i, (a, b) in enumerate(coded)]
    return pd.DataFrame({"text": texts, "outcome": rng.normal(size=n), "warm": coded[:, 0], "rushed": coded[:, 1]})


def test_the_confounder_follows_its_formula() -> None:
    """40,000 rows: the mean shift of each cell is beta (2 expit(.) - 1), within 5 standard errors (p = 2e-6)."""
    data = co.DirectOutcomeDataset.from_frame(letters(40_000, seed=0), attributes=["warm", "rushed"])
    added = (confound(data, {"warm": 2.0, "rushed": -1.0}, beta=3.0, strength=0.5, seed=1).outcome - data.outcome) / 3
    assert set(added.round(9)) == {-1.0, 1.0}
    coded = data.attributes.to_numpy()
    for cell in ((0, 0), (0, 1), (1, 0), (1, 1)):
        mine = (coded == cell).all(axis=1)
        p = expit(0.5 * (np.array(cell) - coded.mean(axis=0)) @ [2.0, -1.0])
        assert added[mine].mean() == pytest.approx(2 * p - 1, abs=5 * 2 * np.sqrt(p * (1 - p) / mine.sum()))


def test_it_is_reached_from_a_configuration_and_spares_the_first_data_set(tmp_path) -> None:
    letters(200, seed=2).to_csv(tmp_path / "letters.csv", index=False)
    raw = {
        "data": {"path": str(tmp_path / "letters.csv"), "attributes": ["warm", "rushed"]},
        "outcome_data": {
            "path": str(tmp_path / "letters.csv"),
            "confounding": {"beta": 50, "attributes": {"warm": 1.0}},
        },
        "backend": "finite",
    }
    plan = prepare(parse_config(raw))
    assert plan.outcome_rows.train is not None
    assert np.abs(plan.outcome_rows.train.outcome).min() > 40
    assert np.abs(plan.train.outcome).max() < 10
    raw["outcome_data"]["confounding"]["attributes"] = {"cold": 1.0}
    with pytest.raises(ConfigError, match=r"'cold' is not among data\.attributes, which are: warm, rushed"):
        prepare(parse_config(raw))
