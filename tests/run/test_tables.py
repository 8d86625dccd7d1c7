"""The round after a deployment: the policy of an earlier run is asked for its log-probabilities of the table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from causalopt.backends.finite_policy import FinitePolicy
from causalopt.errors import DataError
from causalopt.run.config import parse_config
from causalopt.run.estimate import estimate_value
from causalopt.run.tables import read_dataset

TEXTS = ["give now", "help us", "join them"]
FIRST, SECOND = np.array([0.6, 0.3, 0.1]), np.array([0.1, 0.2, 0.7])


@pytest.fixture
def earlier_run(tmp_path: Path) -> Path:
    run = tmp_path / "runs" / "first"
    for name, share in (("reference", FIRST), ("policy", SECOND)):
        FinitePolicy(TEXTS, np.log(share), np.zeros((3, 1)), np.zeros(1), None).save(run / name)
    return run


def table(n: int = 300) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    deployed = rng.random(n) < 0.5
    text = np.where(deployed, rng.choice(3, n, p=SECOND), rng.choice(3, n, p=FIRST))
    return pd.DataFrame(
        {
            "text": [TEXTS[i] for i in text],
            "outcome": text + rng.normal(size=n),
            "round": 1 + deployed.astype(int),
            "log_q": np.log(FIRST[text]),
        }
    )


def settings(path: Path, run: Path, first: str):
    loggers = {1: first, 2: str(run)}
    return parse_config(
        {"data": {"path": str(path), "logger": "round", "loggers": loggers}, "estimate": {"policy": str(run)}}
    )


@pytest.mark.parametrize("first", ["log_q", "reference"])
def test_a_logger_may_be_a_column_or_a_saved_policy(tmp_path, earlier_run, first):
    frame = table()
    frame.loc[5, "text"] = None
    frame.to_csv(tmp_path / "t.csv", index=False)
    config = settings(tmp_path / "t.csv", earlier_run, first if first == "log_q" else str(earlier_run / first))
    with pytest.warns(UserWarning, match="1 of 300 rows left out: 1 with no text"):
        data = read_dataset(tmp_path / "t.csv", config.data)
    index = [TEXTS.index(text) for text in data.texts]
    share = np.mean(np.array(data.logger) == "2")
    np.testing.assert_allclose(np.exp(data.logged_log_prob), (1 - share) * FIRST[index] + share * SECOND[index])


def test_the_values_of_a_run_on_both_rounds(tmp_path, earlier_run):
    """The interval of the deployed policy's value, which is 1.6, covers; it fails to with probability 0.001."""
    table(1200).to_csv(tmp_path / "t.csv", index=False)
    found = estimate_value(settings(tmp_path / "t.csv", earlier_run, "log_q"))
    assert found["behavior_policy"] == "logged"
    value = found["value"]["policy"]
    assert abs(value["estimate"] - 1.6) < 3.3 * value["se"]


def test_neither_a_column_nor_a_folder_is_one_line(tmp_path, earlier_run):
    table(20).to_csv(tmp_path / "t.csv", index=False)
    config = settings(tmp_path / "t.csv", earlier_run, "runs/gone")
    with pytest.raises(DataError, match=r"t\.csv: there is no column 'runs/gone' for loggers"):
        read_dataset(tmp_path / "t.csv", config.data)
