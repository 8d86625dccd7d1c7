"""Exact log-probabilities against a product of conditionals written out, and against the model's own samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import chisquare

from causalopt.backends.contracts import Policy
from causalopt.errors import DataError, ModelError
from causalopt.simulation.phrase_model import PhraseModel

PROMPTS = ["Open?", "Closed?"]
SLOTS = {"a": ("Yes,", "No,", "Well,"), "b": ("it is", "one hopes"), "c": ("now.", "today.", "soon.", "ever.")}


@pytest.fixture(scope="module")
def model() -> PhraseModel:
    rng = np.random.default_rng(0)
    return PhraseModel(PROMPTS, SLOTS, [rng.normal(size=shape) for shape in ((2, 1, 3), (2, 3, 2), (2, 2, 4))])


def test_it_is_a_policy_whose_probabilities_sum_to_one(model: PhraseModel) -> None:
    assert isinstance(model, Policy)
    assert len(set(model.texts)) == 24
    np.testing.assert_allclose(np.exp(model.log_prob_table).sum(1), 1, atol=1e-12)


def test_log_prob_is_the_product_of_the_conditionals() -> None:
    rng = np.random.default_rng(1)
    raw = [rng.normal(size=shape) for shape in ((2, 1, 3), (2, 3, 2), (2, 2, 4))]
    model = PhraseModel(PROMPTS, SLOTS, raw)

    def conditional(row: np.ndarray, chosen: int) -> float:
        return float(np.exp(row[chosen]) / np.exp(row).sum())

    expected = conditional(raw[0][1, 0], 2) * conditional(raw[1][1, 2], 0) * conditional(raw[2][1, 0], 3)
    assert np.exp(model.log_prob(["Closed?"], ["Well, it is ever."]))[0] == pytest.approx(expected, rel=1e-12)
    assert model.log_prob(["Open?"], ["Maybe."])[0] == -np.inf


def test_samples_follow_the_law(model: PhraseModel) -> None:
    """Chi-square of 24 counts for each prompt: failure probability 2e-6; same seed, same texts."""
    n = 40_000
    for i, prompt in enumerate(PROMPTS):
        drawn = model.sample([prompt] * n, n, seed=i)
        counts = np.bincount([model.texts.index(text) for text in drawn], minlength=24)
        assert chisquare(counts, n * np.exp(model.log_prob_table[i])).pvalue > 1e-6
    assert model.sample(PROMPTS, 2, seed=5) == model.sample(PROMPTS, 2, seed=5)


def test_a_saved_model_gives_the_same_numbers(model: PhraseModel, tmp_path: Path) -> None:
    model.save(tmp_path)
    again = PhraseModel.load(tmp_path)
    np.testing.assert_allclose(again.log_prob_table, model.log_prob_table, atol=1e-12)
    assert again.sample(PROMPTS, 2, seed=1) == model.sample(PROMPTS, 2, seed=1)


def test_bad_input(model: PhraseModel, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="give one for each text"):
        model.log_prob(None, ["Yes, it is now."])
    with pytest.raises(DataError, match=r"'Why\?'"):
        model.log_prob(["Why?"], ["Yes, it is now."])
    with pytest.raises(DataError, match="shapes"):
        PhraseModel(PROMPTS, SLOTS, [np.zeros((2, 1, 3))])
    with pytest.raises(DataError, match="distinct"):
        PhraseModel(["a", "a"], {"x": ("b", "c")}, [np.zeros((2, 1, 2))])
    with pytest.raises(ModelError, match="no phrase model"):
        PhraseModel.load(tmp_path)
