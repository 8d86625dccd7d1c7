import numpy as np
import pytest
from nuisance_laws import additive_and_crossed
from sklearn.linear_model import Ridge

from causalopt.nuisance.outcome.ridge import (
    DROPPED,
    NOTHING,
    BilinearDesign,
    Moments,
    Penalty,
    RidgeOutcome,
    Split,
    choose_penalty,
    held_out_fits,
)


def test_solution_is_scikit_learns():
    rng = np.random.default_rng(0)
    z, y, weight = rng.normal(size=(60, 4)), rng.normal(size=60), rng.random(60) + 0.1
    ours = Moments.of(z, y, weight).solve(np.full(4, 0.3))
    theirs = Ridge(alpha=0.3 * weight.sum()).fit(z, y, sample_weight=weight)
    np.testing.assert_allclose(ours, [theirs.intercept_, *theirs.coef_], atol=1e-7)


def test_held_out_loss_of_the_choice_is_what_refitting_gives():
    rng = np.random.default_rng(0)
    z, weight = rng.normal(size=(80, 3)), rng.random(80) + 0.1
    y = z[:, 0] + rng.normal(size=80)
    fold = np.arange(80) % 4
    splits = [
        Split(
            *(Moments.of(z[part], y[part], weight[part]) for part in (fold != k, fold == k)),
            np.zeros(3, int),
            np.ones(3),
        )
        for k in range(4)
    ]
    penalty, loss = choose_penalty(splits)
    total = 0.0
    for k in range(4):
        rest = fold != k
        model = Ridge(alpha=penalty.text * weight[rest].sum()).fit(z[rest], y[rest], sample_weight=weight[rest])
        total += weight[~rest] @ (y[~rest] - model.predict(z[~rest])) ** 2
    assert loss == pytest.approx(total / weight.sum(), rel=1e-6)


def test_marginal_and_reader_response_are_averages_over_all_pairs():
    law = additive_and_crossed(300, 6, seed=0)
    model = RidgeOutcome().fit(law.x, law.w, law.y, np.ones(300))
    assert np.abs(model.function_.table[1:, 1:]).max() > 0.1, "the law has products, and the fit must find them"
    weight = np.random.default_rng(1).random(50)
    table = np.array([model.predict(np.repeat(law.x[i : i + 1], 50, axis=0), law.w[:50]) for i in range(40)])
    np.testing.assert_allclose(model.marginal(law.x[:40], law.w[:50], weight), table @ weight / weight.sum())
    np.testing.assert_allclose(model.reader_response(law.x[:40], law.w[:50]), table.mean(axis=0))


def test_a_weight_of_two_is_a_row_twice():
    law = additive_and_crossed(200, 5, seed=0)
    twice = np.r_[np.arange(200), np.arange(100)]
    weight = np.r_[np.full(100, 2.0), np.ones(100)]
    weighted = RidgeOutcome().fit(law.x, law.w, law.y, weight)
    doubled = RidgeOutcome().fit(law.x[twice], law.w[twice], law.y[twice], np.ones(300))
    np.testing.assert_allclose(weighted.predict(law.x, law.w), doubled.predict(law.x, law.w), atol=1e-8)
    unweighted = RidgeOutcome().fit(law.x, law.w, law.y, np.ones(200))
    assert np.abs(weighted.predict(law.x, law.w) - unweighted.predict(law.x, law.w)).max() > 0.01


def test_confounders_keep_their_size_beside_many_useless_text_coordinates():
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(400, 200)), rng.normal(size=(400, 1))
    y = w[:, 0] + 0.5 * rng.normal(size=400)
    model = RidgeOutcome().fit(x, w, y, np.ones(400))
    response = model.reader_response(x, np.array([[0.0], [1.0]]))
    assert response[1] - response[0] == pytest.approx(1.0, abs=0.1)
    assert np.std(model.marginal(x, w, np.ones(400))) < 0.1


def test_held_out_predictions_come_from_fits_without_the_row():
    # The outcome is noise that is the same for all rows of a text: who has seen the text knows it, nobody else.
    rng = np.random.default_rng(0)
    text = np.repeat(np.arange(100), 5)
    x, y = rng.normal(size=(100, 80))[text], rng.normal(size=100)[text]
    model = RidgeOutcome().fit(x, np.zeros((500, 0)), y, np.ones(500))
    assert np.corrcoef(model.held_out_, y)[0, 1] < 0.3
    assert np.mean((y - model.held_out_) ** 2) > 0.9 * y.var()


def test_more_coordinates_than_rows_and_constant_columns():
    rng = np.random.default_rng(0)
    x = np.hstack([rng.normal(size=(40, 100)), np.full((40, 1), 1e6)])
    w = np.hstack([rng.normal(size=(40, 1)), np.full((40, 1), 3.0)])
    y = x[:, 0] + w[:, 0]
    model = RidgeOutcome().fit(x, w, y, np.ones(40))
    far = np.hstack([rng.normal(size=(10, 1)), np.full((10, 1), 100.0)])
    assert np.isfinite(model.predict(x[:10], far)).all()
    np.testing.assert_allclose(model.predict(x[:10], far), model.predict(x[:10], np.c_[far[:, 0], np.zeros(10)]))


def test_a_single_text_leaves_the_readers():
    rng = np.random.default_rng(0)
    w = rng.normal(size=(50, 1))
    model = RidgeOutcome().fit(np.ones((50, 3)), w, 2 * w[:, 0], np.ones(50))
    assert model.penalty_ == Penalty()
    np.testing.assert_allclose(model.predict(np.ones((50, 3)), w), 2 * w[:, 0], atol=0.01)


def test_products_drop_out_where_there_are_none():
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(500, 5)), rng.normal(size=(500, 2))
    y = x[:, 0] + w[:, 0] + rng.normal(size=500)
    model = RidgeOutcome().fit(x, w, y, np.ones(500))
    assert np.abs(model.function_.table[1:, 1:]).max() < 0.05
    assert RidgeOutcome(products=0).fit(x, w, y, np.ones(500)).function_.design.crossed == 0


def test_design_columns_belong_to_their_blocks():
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(30, 4)), rng.normal(size=(30, 3))
    design = BilinearDesign.of(x, w, np.ones(30), products=7)
    assert design.crossed == 2
    z = design.matrix(x, w)
    assert z.shape == (30, 4 + 3 + 6) == (30, len(design.block))
    coefficients = rng.normal(size=14)
    function = design.function(coefficients)
    np.testing.assert_allclose(function.predict(x, w), coefficients[0] + z @ coefficients[1:])


def test_settings_are_chosen_as_blind_to_new_directions_as_the_fit_will_be():
    """Every text has a direction nearly its own, which other texts show a thousandth of; the outcome is noise.

    A fit to some of the texts scales their directions up, and those of the others by a thousand. Settings that were
    chosen in coordinates of all texts predict new ones at hundreds of standard deviations.
    """
    rng = np.random.default_rng(0)
    x = np.eye(120) + 1e-3 * rng.normal(size=(120, 120))
    w, y = rng.normal(size=(120, 1)), rng.normal(size=120)
    model = RidgeOutcome().fit(x[:80], w[:80], y[:80], np.ones(80))
    assert np.abs(model.predict(x[80:], w[80:])).max() < 2 * np.abs(y).max()
    assert np.mean(model.held_out_**2) < 0.5


def test_noise_leaves_the_mean():
    """The smallest of many held-out losses is below the mean's by chance: by less than a standard error it is noise.

    In the winner's favour a fit of noise passes one standard error in some 20% of the draws: 20 or more of 40 do with
    probability 4e-5 (binomial). Without the rule none of the fits is the mean.
    """
    excess, alone = [], 0
    for seed in range(40):
        rng = np.random.default_rng([6, seed])
        x, w, y = rng.normal(size=(550, 8)), rng.normal(size=(550, 1)), rng.normal(size=550)
        model = RidgeOutcome().fit(x[:50], w[:50], y[:50], np.ones(50))
        predicted = model.predict(x[50:], w[50:]) - y[:50].mean()
        excess.append(np.mean(predicted**2))
        alone += np.ptp(predicted) < 1e-4
    assert alone > 20
    assert np.median(excess) < 1e-9


def test_dropped_columns_are_not_there():
    rng = np.random.default_rng(0)
    z, y, weight = rng.normal(size=(30, 4)), rng.normal(size=30), rng.random(30) + 0.1
    penalty = np.array([0.3, DROPPED, 0.1, 2 * DROPPED])
    found = Moments.of(z, y, weight).solve(penalty)
    alone = Moments.of(z[:, [0, 2]], y, weight).solve(penalty[[0, 2]])
    np.testing.assert_array_equal(found[[2, 4]], 0.0)
    np.testing.assert_allclose(found[[0, 1, 3]], alone, rtol=1e-12)


@pytest.mark.parametrize("moving", [[0, 1, 2], [3], [0, 2, 3, 4, 5], []])
@pytest.mark.parametrize("collinear", [False, True])
def test_penalties_solved_together_are_dense_solutions(moving, collinear):
    """Some columns keep their penalty, the others take each of five, and the last of these drops them."""
    rng = np.random.default_rng(0)
    z, y, weight = rng.normal(size=(40, 6)), rng.normal(size=40), rng.random(40) + 0.1
    if collinear:
        z[:, 3] = z[:, 0] - z[:, 4]
    penalties = np.tile(rng.random(6), (5, 1))
    penalties[:, moving] *= np.array([1e-4, 0.1, 1.0, 30.0, 10 * DROPPED])[:, None]
    moments = Moments.of(z, y, weight)
    found = moments.solve_each(penalties)
    design = np.c_[np.ones(40), z]
    for coefficients, penalty in zip(found, penalties, strict=True):
        kept = np.r_[0, 1 + np.flatnonzero(penalty < DROPPED)]
        added = weight.sum() * (np.r_[0.0, penalty] + 1e-9)
        system = (design.T * weight) @ design + np.diag(added)
        expected = np.zeros(7)
        expected[kept] = np.linalg.solve(system[np.ix_(kept, kept)], (design.T @ (weight * y))[kept])
        np.testing.assert_allclose(coefficients, expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(moments.loss(found), (y - found @ design.T) ** 2 @ weight, rtol=1e-9)


def test_a_system_that_is_not_positive_definite_has_its_solution_of_smallest_norm():
    rng = np.random.default_rng(0)
    z, y = rng.normal(size=(40, 3)), rng.normal(size=40)
    moments = Moments.of(z, y, np.ones(40))
    penalties = np.array([[-2.0, 1.0, 1.0], [-3.0, 1.0, 1.0], [-3.0, 1.0, 2.0]])
    design = np.c_[np.ones(40), z]
    for rows in ([0], [0, 1], [1, 2]):  # negative among the columns that differ, and among those that do not
        for found, penalty in zip(moments.solve_each(penalties[rows]), penalties[rows], strict=True):
            system = design.T @ design + 40 * np.diag(np.r_[0.0, penalty])
            np.testing.assert_allclose(found, np.linalg.solve(system, design.T @ y), rtol=1e-6)


def test_outcomes_fitted_together_are_those_fitted_alone():
    law = additive_and_crossed(200, 5, seed=0)
    noise = np.random.default_rng(1).normal(size=200)
    weight, text = np.random.default_rng(2).random(200) + 0.5, np.arange(200) // 2
    outcomes = np.column_stack([law.y, noise, law.y + 100 * law.w[:, 0]])
    together = held_out_fits(law.x, law.w, outcomes, weight, text, products=64)
    for y, (penalty, held_out) in zip(outcomes.T, together, strict=True):
        alone = RidgeOutcome(products=64).fit(law.x, law.w, y, weight, text)
        assert alone.penalty_ == penalty
        np.testing.assert_allclose(alone.held_out_, held_out, rtol=1e-9, atol=1e-9)
    assert together[1][0] == NOTHING
    np.testing.assert_allclose(together[1][1], np.average(noise, weights=weight))
