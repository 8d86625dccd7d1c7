"""What the fitted models say of texts: of new ones, and of those that some of them were fitted on."""

import numpy as np
from nuisance_laws import additive_and_crossed
from nuisance_learners import Memory, Recorder

from causalopt.evaluation import dr
from causalopt.nuisance.cross_fitting import cross_fit
from causalopt.nuisance.fitted import distinct


def test_new_texts_are_averaged_over_folds_and_readers_are_answered_by_the_model_that_did_not_see_them():
    law = additive_and_crossed(100, 4, seed=0)
    new = law.x[:3] + 10
    weight = np.linspace(0.5, 2, 100)
    fit = cross_fit(law.x, law.w, law.y, weight, outcome_model=Recorder(), assignment_model="randomized")
    outside = [fit.fold[0] != k for k in range(5)]
    levels = [np.average(law.y[rows] + law.w[rows].sum(axis=1), weights=weight[rows]) for rows in outside]
    share = [weight[~rows].sum() for rows in outside]
    np.testing.assert_allclose(fit.dose_response(new), np.average(levels, weights=share))
    np.testing.assert_allclose(fit.reader_response(new), fit.m)
    ridge = cross_fit(law.x, law.w, law.y, weight, outcome_model="ridge", assignment_model="randomized")
    parts = [f.outcome.marginal(new, *ridge.readers.outside(0, k)) for k, f in enumerate(ridge.models[0])]
    np.testing.assert_allclose(ridge.dose_response(new), np.average(parts, axis=0, weights=share))


def test_a_logged_text_is_answered_by_the_model_that_held_it_out():
    law = additive_and_crossed(100, 4, seed=0)
    text = np.arange(100) // 4
    x = law.x[text]
    settings = {"outcome_model": "ridge", "assignment_model": "randomized"}
    fit = cross_fit(x, law.w, law.y, group=text, text_id=text, repeats=2, **settings)
    np.testing.assert_allclose(fit.dose_response(x, text), fit.g, rtol=1e-12)
    # Where the group is not the text, a text may lie in several folds, and each counts by its rows.
    by_reader = cross_fit(x, law.w, law.y, group=np.arange(100) % 25, text_id=text, **settings)
    np.testing.assert_allclose(by_reader.dose_response(x[:1], text[:1]), by_reader.g[text == 0].mean(), rtol=1e-12)


def test_new_texts_are_answered_to_the_last_bit_whatever_was_asked_before():
    """A run that is resumed asks about fewer texts first, so that the same texts get other numbers."""
    rng = np.random.default_rng(0)
    law = additive_and_crossed(100, 24, seed=0)
    fit = cross_fit(law.x, law.w, law.y, text_id=np.arange(100), outcome_model="ridge", assignment_model="randomized")
    new = rng.normal(size=(301, law.x.shape[1]))
    for numbers in (np.arange(100, 401), np.arange(400, 99, -1), 100 + rng.permutation(301)):
        assert fit.dose_response(new, numbers).tobytes() == fit.dose_response(new).tobytes()
    first, inverse = distinct(np.array([7, 3, 7, 5, 3]))
    assert first.tolist() == [0, 1, 3]
    assert inverse.tolist() == [0, 1, 0, 2, 1]


def test_the_effect_of_a_text_is_counted_once():
    """A doubly robust value with s = 1 of a policy over the logged texts, by a model that memorises them.

    One table: the exact value with the logged shares, and 5 standard errors, so that one in a million would fail. Were
    the plug-in value that of the models which saw the text, the value would be off by 0.3, 14 standard errors.
    """
    rng = np.random.default_rng(0)
    embedding, effect = rng.normal(size=(40, 4)), rng.normal(size=40)
    text = rng.integers(40, size=4000)
    y = effect[text] + 0.5 * rng.normal(size=4000)
    policy = np.exp(effect) / np.exp(effect).sum()
    fit = cross_fit(embedding[text], None, y, group=text, text_id=text, outcome_model=Memory())
    xi = fit.s * (y - fit.m) + fit.g
    log_ratio = np.log(policy[text] * len(y) / np.bincount(text)[text])
    value = dr(log_ratio, xi, fit.g, float(policy @ fit.dose_response(embedding, np.arange(40))))
    se = 0.5 * np.sqrt(np.sum(policy**2 / np.bincount(text)))
    assert abs(value.value - policy @ effect) < 5 * se
