"""Readers choose their prompts: that is no assignment, whatever it leaves in the residuals of text and reader."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from causalopt.errors import CausalOptWarning, OverlapWarning
from causalopt.nuisance.cross_fitting import cross_fit
from causalopt.nuisance.diagnostics import reassigned_pairs, warn_if_separated
from causalopt.nuisance.given_prompt import GivenPrompt
from causalopt.nuisance.rows import Rows


def asked(prompts: int, n: int, strength: float, seed: int):
    """Prompts with readers and texts of their own kinds; within one, the first of three slots follows the reader.

    Readers have a binary covariate, whose share is the prompt's, and a score about the prompt's mean. Three binary
    slots of a text lean as the prompt does; the log-odds of the first rise by ``strength`` with the binary covariate.
    Returns rows and the true log s(x, w) = log p(x | c) - log p(x | c, w).
    """
    rng = np.random.default_rng(seed)
    prompt = np.repeat(np.arange(prompts), n // prompts)
    n = len(prompt)
    embedding = rng.normal(size=(prompts, 4))
    share, lean = rng.uniform(0.1, 0.9, size=prompts)[prompt], rng.normal(size=(prompts, 3))[prompt]
    binary = (rng.random(n) < share).astype(float)

    def first_slot(reader):
        return 1 / (1 + np.exp(-lean[:, 0] - strength * (reader - 0.5)))

    chance = np.column_stack([first_slot(binary), 1 / (1 + np.exp(-lean[:, 1:]))])
    slots = (rng.random((n, 3)) < chance).astype(float)
    marginal = share * first_slot(1.0) + (1 - share) * first_slot(0.0)
    on = slots[:, 0] == 1
    log_s = np.log(np.where(on, marginal, 1 - marginal) / np.where(on, chance[:, 0], 1 - chance[:, 0]))
    x = np.column_stack([slots @ rng.normal(size=(3, 8)), embedding[prompt]])
    w = np.column_stack([binary, rng.normal(embedding[prompt, 0])])
    y = slots[:, 0] + slots[:, 1] * binary + w[:, 1] + embedding[prompt, 1] + rng.normal(size=n) / 2
    text = np.unique(np.column_stack([prompt, slots]), axis=0, return_inverse=True)[1]
    return Rows.of(x, w, y, group=np.arange(n), text_id=text, prompt_id=prompt, prompt_columns=4), log_s


def log_weights(rows: Rows, drawn: bool) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CausalOptWarning)
        fit = cross_fit(
            rows.x,
            rows.w,
            rows.y,
            group=rows.prompt_id if drawn else None,
            text_id=rows.text_id,
            prompt_id=rows.prompt_id,
            prompt_columns=rows.prompt_columns,
            outcome_model="ridge",
        )
    assert all(failure.nuisance == "outcome model" for failure in fit.failures)
    return np.log(fit.s)


@pytest.mark.parametrize("prompts", [4, 8, 200, 800])
@pytest.mark.parametrize("drawn", [False, True])
def test_prompts_with_readers_and_texts_of_their_own_leave_a_weight_of_one(prompts, drawn):
    """Over 24 samples of each of the 8 cases the root mean square of log s was 0.153 at most, 0.02 in the mean."""
    for seed in range(2):
        rows, log_s = asked(prompts, 800, strength=0.0, seed=seed)
        np.testing.assert_allclose(log_s, 0, atol=1e-12)
        assert np.sqrt(np.mean(log_weights(rows, drawn) ** 2)) < 0.25


@pytest.mark.parametrize("prompts", [8, 40])
@pytest.mark.parametrize("drawn", [False, True])
def test_what_readers_are_shown_within_a_prompt_is_found(prompts, drawn):
    """The mean squared error of log s is 0.16 to 0.20 of that of no weight at all, give or take 0.05 (four samples)."""
    errors, spreads = [], []
    for seed in range(4):
        rows, log_s = asked(prompts, 800, strength=2.0, seed=seed)
        errors.append(np.mean((log_weights(rows, drawn) - log_s) ** 2))
        spreads.append(np.mean(log_s**2))
    assert np.mean(errors) < 0.5 * np.mean(spreads)


class Products:
    """log p(x | w) / p(x) = x' M w, with whatever margins that has."""

    def fit(self, x, w, weight):
        self.matrix = np.random.default_rng(0).normal(size=(x.shape[1], w.shape[1]))
        return self

    def stabilized_weight(self, x, w):
        return np.exp(-1.0 - np.einsum("ij,jk,ik->i", x, self.matrix, w))


def test_weights_have_mean_one_over_the_readers_and_over_the_texts_of_every_prompt():
    rows, _ = asked(8, 800, strength=1.0, seed=0)
    everywhere = np.ones(len(rows), dtype=bool)
    within = GivenPrompt.of(rows, everywhere)
    model = Products().fit(within.text, within.reader, rows.weight)
    of_text, of_reader = within.log_margins(model, everywhere, np.random.default_rng(0))
    for prompt in range(8):
        here = np.flatnonzero(rows.prompt_id == prompt)
        i, k = np.repeat(here, len(here)), np.tile(here, len(here))
        s = model.stabilized_weight(within.text[i], within.reader[k]) * np.exp(of_text[i] + of_reader[k])
        ratio = (1 / s).reshape(len(here), len(here))
        np.testing.assert_allclose(ratio.mean(axis=0), 1, rtol=1e-4)
        np.testing.assert_allclose(ratio.mean(axis=1), 1, rtol=1e-4)


def test_readers_are_reassigned_within_their_prompt_and_each_row_counts_alike():
    prompt = np.array([7, 7, 7, 3, 3, 1, 2, 5])  # three are asked once
    text, reader = reassigned_pairs(8, np.random.default_rng(0), 6, prompt)
    assert (text != reader).all()
    apart = prompt[text] != prompt[reader]
    assert set(prompt[text[apart]]) == {1, 2, 5} == set(prompt[reader[apart]])
    np.testing.assert_array_equal(np.bincount(text), 6)
    np.testing.assert_array_equal(np.bincount(reader), 6)
    assert len(reassigned_pairs(1, np.random.default_rng(0), 6, prompt[:1])[0]) == 0


def test_readers_of_two_prompts_may_differ_and_those_of_one_may_not():
    rng = np.random.default_rng(0)
    text = rng.integers(4, size=400)
    prompt = text // 2
    by_prompt = prompt[:, None] + 0.01 * rng.normal(size=(400, 1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_if_separated(text, by_prompt, prompt)
    with pytest.warns(OverlapWarning, match="readers of 2 of the 4 texts"):
        warn_if_separated(text, by_prompt + (text == 3)[:, None], prompt)


class Nothing(Products):
    """A weight of zero for some pairs, which no assignment has."""

    def stabilized_weight(self, x, w):
        return np.where(w[:, 0] > 0, 0.0, super().stabilized_weight(x, w))


def test_a_weight_of_zero_is_a_failure_and_no_error():
    rows, _ = asked(8, 400, strength=1.0, seed=0)
    prompts = {"prompt_id": rows.prompt_id, "prompt_columns": 4, "text_id": rows.text_id}
    with pytest.warns(CausalOptWarning, match="are not positive and finite"):
        fit = cross_fit(rows.x, rows.w, rows.y, **prompts, outcome_model="ridge", assignment_model=Nothing())
    assert [failure.nuisance for failure in fit.failures] == ["assignment model"]
    assert (fit.s == 0).all()
