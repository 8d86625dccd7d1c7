from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.long_texts.__main__ import run
from benchmarks.long_texts.language import TOKENS, LanguageModel, dose_response, embedding, models, true_value
from benchmarks.long_texts.summary import bars, gives_out


@pytest.mark.parametrize("which", [0, 1])
def test_texts_are_drawn_from_the_probabilities_that_are_reported(which: int) -> None:
    """Value of two-token texts, summed over all 4,096 of them, against draws: fails with probability 6e-7."""
    model = models()[which]
    texts = np.array(list(product(range(TOKENS), repeat=2)))
    log_prob = model.token_log_probs(texts).sum(axis=1)
    assert np.exp(log_prob).sum() == pytest.approx(1)
    exact = np.exp(log_prob) @ dose_response(embedding(texts))
    value, se = true_value(model, 2, 100_000, seed=1)
    assert abs(value - exact) < 5 * se
    drawn = model.sample(100_000, 2, np.random.default_rng(2))
    frequency = np.bincount(drawn[:, 0] * TOKENS + drawn[:, 1], minlength=TOKENS**2) / 100_000
    np.testing.assert_allclose(frequency, np.exp(log_prob), atol=5e-3)


def test_style_moves_no_reader() -> None:
    logging, policy = models()
    blocks = [np.exp(model.log_prob).reshape(TOKENS, 8, 8).sum(axis=2) for model in (logging, policy)]
    assert np.abs(blocks[0] - blocks[1]).max() < 0.05
    # Topics depend on the last topic alone, whatever its synonym.
    for block in blocks:
        np.testing.assert_allclose(block.reshape(8, 8, 8), block.reshape(8, 8, 8)[:, :1].repeat(8, axis=1))
    assert isinstance(logging, LanguageModel)


def test_a_run_leaves_its_files(tmp_path: Path) -> None:
    found = run(tmp_path, replications=2, lengths=(5, 10), n=300, true_texts=2000, jobs=1)
    results = pd.read_parquet(tmp_path / "results.parquet")
    assert len(results) == 2 * 2 * 6
    assert len(found) == 4
    assert "| 10 | mdr |" in (tmp_path / "table.md").read_text()
    assert (tmp_path / "plots.html").exists()


def test_the_length_at_which_it_gives_out() -> None:
    assert gives_out(np.array([900.0, 200.0, 99.0, 50.0]), 1000) == 3
    assert gives_out(np.array([900.0, 200.0]), 1000) == 0


def test_bars_see_an_interval_that_fails_and_an_error_that_grows() -> None:
    good = pd.DataFrame(
        [
            {"length": length, "estimator": name, "rmse": rmse, "coverage": 0.95, "ess": 1000 / length}
            for length in (1, 200)
            for name, rmse in (("snipw", 1.0), ("dr", 1.0), ("mips", 0.3), ("mdr", 0.1))
        ]
    )
    assert all(bar.holds for bar in bars(good))
    for estimator, column, value in (("mdr", "coverage", 0.9), ("mdr", "rmse", 0.6), ("mips", "rmse", 0.6)):
        broken = good.copy()
        broken.loc[broken["estimator"] == estimator, column] = value
        assert [bar.holds for bar in bars(broken)].count(False) == 1
