import numpy as np
import pytest

from causalopt.nuisance.assignment.arms import ArmsAssignment
from causalopt.nuisance.assignment.auto import AutoAssignment
from causalopt.nuisance.assignment.gaussian import GaussianAssignment
from causalopt.nuisance.cross_fitting import cross_fit


def shown(n, texts, seed, strength=0.8):
    """Texts by a multinomial logit of one covariate: rows' texts, covariate, true log s."""
    rng = np.random.default_rng([8, seed])
    w = rng.normal(size=(n, 1))
    p = np.exp(strength * w * np.linspace(-1, 1, texts))
    p /= p.sum(axis=1, keepdims=True)
    text = np.array([rng.choice(texts, p=row) for row in p])
    return text, w, np.log(p.mean(axis=0)[text] / p[np.arange(n), text])


@pytest.mark.parametrize("texts", [2, 3])
def test_weights_of_few_texts_are_those_of_the_law_whichever_model_is_chosen(texts):
    text, w, log_s = shown(600, texts, seed=texts)
    x = np.random.default_rng(0).normal(size=(texts, 5))[text]
    model = AutoAssignment().fit(x, w, np.ones(600), text)
    s = model.stabilized_weight(x, w)
    assert np.corrcoef(np.log(s), log_s)[0, 1] > 0.95
    assert 0.8 < s.mean() < 1.25
    chosen = {"arms": ArmsAssignment(), "gaussian": GaussianAssignment()}[model.chosen_]
    np.testing.assert_array_equal(s, chosen.fit(x, w, np.ones(600)).stabilized_weight(x, w))


def test_arms_are_chosen_where_no_line_orders_them():
    """Which of three texts a reader gets bends in w, so that no slope of the embedding times w foresees it."""
    rng = np.random.default_rng(1)
    w = rng.choice([-1.0, 0.0, 1.0], size=(900, 1))
    given = {-1.0: [0.8, 0.1, 0.1], 0.0: [0.1, 0.8, 0.1], 1.0: [0.8, 0.1, 0.1]}
    text = np.array([rng.choice(3, p=given[v]) for v in w[:, 0]])
    x = np.array([[0.0], [0.1], [1.0]])[text]
    assert AutoAssignment().fit(x, w, np.ones(900), text).chosen_ == "arms"


def test_texts_that_are_many_or_new_are_not():
    rng = np.random.default_rng(0)
    w = rng.normal(size=(400, 1))
    x = 0.5 * w + rng.normal(size=(400, 3))
    model = AutoAssignment().fit(x, w, np.ones(400))
    gaussian = GaussianAssignment().fit(x, w, np.ones(400))
    assert model.chosen_ == "gaussian"
    np.testing.assert_array_equal(model.stabilized_weight(x, w), gaussian.stabilized_weight(x, w))
    text, w, _ = shown(400, 2, seed=0)
    arms = np.eye(3)[text]
    model = AutoAssignment().fit(arms, w, np.ones(400), text)
    gaussian = GaussianAssignment().fit(arms, w, np.ones(400), text)
    model.chosen_, model.challenger_ = "arms", ArmsAssignment().fit(arms, w, np.ones(400))
    new = np.eye(3)[np.full(400, 2)]
    np.testing.assert_array_equal(model.stabilized_weight(new, w), gaussian.stabilized_weight(new, w))


@pytest.mark.filterwarnings("ignore:.*% of the readers hardly ever get some text")
def test_arms_that_hold_no_product_of_text_and_reader_lose_to_a_gaussian_that_does():
    """Twelve texts on a line, 20 to 30 rows each: a multinomial logit has 11 slopes to learn, the Gaussian model one.

    Whichever is chosen, the error of log s is at most half as large again as the Gaussian model's, over five draws.
    """
    errors = []
    for seed in range(5):
        text, w, log_s = shown(420, 12, seed, strength=1.5)
        if np.bincount(text).min() < 20:
            continue
        x = np.linspace(-1, 1, 12)[text, None]
        model = AutoAssignment(seed=seed).fit(x, w, np.ones(420), text)
        errors.append([np.std(np.log(m.stabilized_weight(x, w)) - log_s) for m in (model, model.gaussian_)])
    assert errors
    assert np.mean(errors, axis=0)[0] < 1.5 * np.mean(errors, axis=0)[1]


def test_texts_that_are_one_to_the_embedding_are_no_arms():
    rng = np.random.default_rng(0)
    text = np.arange(100) % 2
    model = AutoAssignment().fit(np.zeros((100, 3)), rng.normal(size=(100, 1)), np.ones(100), text)
    assert model.chosen_ == "gaussian"
    np.testing.assert_array_equal(model.stabilized_weight(np.zeros((4, 3)), np.zeros((4, 1))), 1)


def bent(n, seed):
    """Texts of which a product of two directions draws a reader, from 2,000 candidates: rows, covariate, true log s."""
    rng = np.random.default_rng([3, seed])
    candidates = rng.uniform(-1.5, 1.5, size=(2000, 4))
    w = rng.choice([-1.0, 1.0], size=(n, 1))
    p = np.exp(w * candidates[:, 0] * candidates[:, 1])
    p /= p.sum(axis=1, keepdims=True)
    text = (p.cumsum(axis=1) > rng.random((n, 1))).argmax(axis=1)
    return candidates[text], w, text, np.log(p.mean(axis=0)[text] / p[np.arange(n), text])


def test_the_classifier_is_chosen_where_no_slope_foresees_the_text_and_brings_weights_nearer_to_the_law():
    x, w, text, log_s = bent(1500, seed=0)
    model = AutoAssignment().fit(x, w, np.ones(1500), text)
    assert model.chosen_ == "classifier"
    assert model.losses_["classifier"] < model.losses_["gaussian"]
    errors = [np.std(np.log(m.stabilized_weight(x, w)) - log_s) for m in (model, model.gaussian_)]
    assert errors[0] < 0.8 * errors[1]


def test_a_gaussian_law_keeps_the_gaussian_model():
    """Of 8 draws at most 3 may choose another; with the measured 1 in 24 that more do has probability 0.001."""
    chosen = []
    for seed in range(8):
        rng = np.random.default_rng([5, seed])
        w = rng.normal(size=(600, 1))
        x = 0.6 * w + rng.normal(size=(600, 3))
        chosen.append(AutoAssignment(seed=seed).fit(x, w, np.ones(600)).chosen_)
    assert chosen.count("gaussian") >= 5


def test_the_table_of_scores_names_what_was_chosen():
    rng = np.random.default_rng(0)
    w = rng.normal(size=(300, 1))
    x = rng.normal(size=(300, 3))
    fit = cross_fit(x, w, rng.normal(size=300), outcome_model="ridge", assignment_model="auto", folds=3)
    assert set(fit.scores.loc[fit.scores["nuisance"] == "assignment", "model"]) == {"auto (gaussian)"}


def test_a_rare_arm_is_known_to_a_comparison_on_a_sample_of_the_rows():
    text = np.concatenate([np.arange(8000) % 2, np.full(20, 2)])
    w = np.random.default_rng(0).normal(size=(8020, 1)) + 0.5 * text[:, None]
    model = AutoAssignment().fit(np.eye(3)[text], w, np.ones(8020), text)
    assert set(model.losses_) == {"gaussian", "arms", "classifier"}
