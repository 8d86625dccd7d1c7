"""Balancing weights against closed forms, a dense solve, another package, and what they are for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from genriesz.functionals import CallableFunctional
from genriesz.generators import SquaredGenerator
from genriesz.glm import GRRGLM

from causalopt.errors import DataError
from causalopt.nuisance.riesz import LARGEST, PENALTIES, PolicyTexts, balancing_weights


def sample(n: int, d: int = 3, p: int = 2, seed: int = 0):
    rng = np.random.default_rng(seed)
    w = rng.normal(size=(n, p))
    x = rng.normal(size=(n, d)) + 0.5 * w[:, :1]
    return x, w, rng.uniform(0.5, 2.0, size=n), np.arange(n) % 5


def policies(d: int = 3, seed: int = 1):
    rng = np.random.default_rng(seed)
    share = rng.dirichlet(np.ones(7))
    return [
        PolicyTexts(rng.normal(0.4, 1.0, size=(7, d)), share),
        PolicyTexts(rng.normal(size=(50, d)), np.full(50, 0.02)),
    ]


def features(x, w, weight, leading=None):
    """The features of the docstring, written once more from its words: four blocks of total variance one."""
    share = weight / weight.sum()

    def standard(columns):
        columns = columns - share @ columns
        return columns / np.sqrt(share @ columns**2)

    spread = np.sqrt(np.sum(share @ (x - share @ x) ** 2))
    axes = np.linalg.svd((x - share @ x) * np.sqrt(share)[:, None], full_matrices=False)[2].T
    v = standard(w)
    first, second = np.triu_indices(w.shape[1])
    of_reader = np.hstack([v, standard(v[:, first] * v[:, second])])
    of_reader /= np.sqrt(of_reader.shape[1])

    def squares(z):
        u = (z - share @ x) @ axes / spread
        i, j = np.triu_indices(u.shape[1])
        return u[:, i] * u[:, j]

    center = share @ squares(x)
    scale = np.sqrt(np.sum(share @ (squares(x) - center) ** 2))

    def text(z):
        return np.hstack([(z - share @ x) / spread, (squares(z) - center) / scale])

    def pairs(u, r):
        alone = u[:, : x.shape[1]]
        return np.hstack([u, r, (alone[:, :, None] * r[:, None, :]).reshape(len(u), -1)])

    return pairs(text(x), of_reader), text, of_reader, pairs


def dense(x, w, weight, penalty, *signed):
    """Weights of a signed sum of policies, less those of the logs, by a plain solve of the normal equations.

    The mean over a policy's texts and all readers is taken pair by pair.
    """
    phi, text, of_reader, pairs = features(x, w, weight)
    share = weight / weight.sum()
    center = share @ phi
    gram = (phi - center).T @ ((phi - center) * share[:, None])
    moment = np.zeros(len(gram))
    for sign, policy in signed:
        for one, of_text in zip(policy.x, policy.share, strict=True):
            here = pairs(np.repeat(text(one[None]), len(w), axis=0), of_reader)
            moment += sign * of_text * (share @ here - center)
    return (phi - center) @ np.linalg.solve(gram + penalty * np.eye(len(gram)), moment)


@pytest.mark.parametrize("n", [200, 20])  # more rows than features, and fewer
def test_they_solve_the_normal_equations(n):
    x, w, weight, fold = sample(n)
    found = balancing_weights(x, w, policies(), weight, fold, penalty=0.03)
    for alpha, policy in zip(found.alpha, policies(), strict=True):
        np.testing.assert_allclose(alpha - 1, dense(x, w, weight, 0.03, (1.0, policy)), atol=1e-9)
        assert weight @ alpha / weight.sum() == pytest.approx(1.0, abs=1e-12)


def test_those_of_a_difference_are_the_difference_of_those_of_two_policies():
    """So that V(f) - V(f0) and a direct fit of the difference agree."""
    x, w, weight, fold = sample(200)
    one, other = policies()
    found = balancing_weights(x, w, [one, other], weight, fold, penalty=0.03)
    direct = dense(x, w, weight, 0.03, (1.0, one), (-1.0, other))
    np.testing.assert_allclose(found.alpha[0] - found.alpha[1], direct, atol=1e-10)


def test_they_are_those_of_genriesz():
    """Squared loss; its penalty is half of the squared coefficients, and its coefficients are twice ours."""
    x, w, _, fold = sample(150)
    policy = policies()[0]
    alpha = balancing_weights(x, w, [policy], np.ones(150), fold, penalty=0.3).alpha[0]
    phi, text, of_reader, pairs = features(x, w, np.ones(150))
    center = phi.mean(axis=0)

    def basis(rows):
        """Rows of numbers: the position of a text (logged ones first), and of a reader."""
        rows = np.asarray(rows, dtype=int)
        texts = text(np.vstack([x, policy.x]))[rows[:, 0]]
        return pairs(texts, of_reader[rows[:, 1]]) - center

    def value(row, gamma):
        return sum(share * gamma(np.array([150 + j, row[1]])) for j, share in enumerate(policy.share))

    rows = np.column_stack([np.arange(150), np.arange(150)])
    model = GRRGLM(
        basis=basis, generator=SquaredGenerator(), functional=CallableFunctional(value), penalty="l2", lam=0.15
    )
    model.fit(rows, max_iter=5000, tol=1e-15)
    np.testing.assert_allclose(alpha - 1, model.predict_alpha(rows), atol=1e-4)


def test_for_few_texts_they_are_the_ratio_of_probabilities():
    """Without readers and almost without a penalty: share under the policy over share in the logs."""
    text = np.repeat([0, 1, 2], [50, 30, 20])
    codes = np.eye(3)
    policy = PolicyTexts(codes, np.array([0.2, 0.3, 0.5]))
    alpha = balancing_weights(codes[text], np.zeros((100, 0)), [policy], np.ones(100), np.arange(100) % 5, 1e-9).alpha[
        0
    ]
    np.testing.assert_allclose(alpha, np.array([0.4, 1.0, 2.5])[text], atol=1e-6)


def test_the_logged_rows_have_weight_one_as_texts_written_for_their_readers():
    x, w, weight, fold = sample(200)
    logged = PolicyTexts(x, np.full(200, 1 / 200), row=np.arange(200))
    np.testing.assert_allclose(balancing_weights(x, w, [logged], weight, fold).alpha[0], 1.0, atol=1e-10)


def test_an_exposure_of_two_is_a_row_twice():
    x, w, _, fold = sample(60)
    weight = np.where(np.arange(60) < 20, 2.0, 1.0)
    again = np.concatenate([np.arange(60), np.arange(20)])
    found = balancing_weights(x, w, policies(), weight, fold)
    twice = balancing_weights(x[again], w[again], policies(), np.ones(80), fold[again])
    assert found.penalty == twice.penalty
    np.testing.assert_allclose(twice.alpha[:, :60], found.alpha, atol=1e-9)
    np.testing.assert_allclose(twice.alpha[:, 60:], found.alpha[:, :20], atol=1e-9)


def test_what_they_leave_unbalanced_is_the_largest_bias_over_the_unit_ball():
    x, w, weight, fold = sample(200)
    found = balancing_weights(x, w, policies(), weight, fold, penalty=0.1)
    phi, *_ = features(x, w, weight)
    share = weight / weight.sum()
    # M(phi) - sum_i share_i alpha_i phi_i from the same penalised solution: penalty times its coefficients.
    for i, policy in enumerate(policies()):
        center = share @ phi
        beta = np.linalg.lstsq(phi - center, dense(x, w, weight, 0.1, (1.0, policy)), rcond=None)[0]
        left = 0.1 * beta
        assert np.linalg.norm(found.left[i]) == pytest.approx(np.linalg.norm(left), rel=1e-6)
    # The bias of any function of the features is bounded through its norm.
    found = balancing_weights(x, w, policies(), weight, fold, penalty=1e-3)
    y = (phi - share @ phi) @ np.linspace(-1, 1, phi.shape[1])
    one, other = (policy.share @ text_value(policy, x, w, weight, y) for policy in policies())
    direct = one - other - np.sum(share * (found.alpha[0] - found.alpha[1]) * y)
    assert 0 < abs(direct) < found.worst_case_bias(y)


def text_value(policy, x, w, weight, y):
    """The linear function of the features that is y at the rows, at the policy's texts, averaged over readers."""
    phi, text, of_reader, pairs = features(x, w, weight)
    share = weight / weight.sum()
    slope = np.linalg.lstsq(phi - share @ phi, y, rcond=None)[0]
    here = [share @ pairs(np.repeat(text(z[None]), len(w), axis=0), of_reader) for z in policy.x]
    return (np.array(here) - share @ phi) @ slope


@pytest.mark.parametrize("own_row", [False, True])
def test_a_balancing_estimate_is_the_mean_of_a_ridge_regression_over_the_texts(own_row):
    x, w, weight, fold = sample(200)
    y = np.random.default_rng(5).normal(size=200) + x[:, 0]
    row = np.random.default_rng(6).integers(0, 200, size=7) if own_row else None
    policy = PolicyTexts(policies()[0].x, policies()[0].share, row)
    found = balancing_weights(x, w, [policy], weight, fold, penalty=0.03)
    share = policy.share if row is None else policy.share * weight[row] / (policy.share @ weight[row])
    weighted = weight @ (found.alpha[0] * y) / weight.sum()
    assert share @ found.fitted_at_texts(y, 0) == pytest.approx(weighted, abs=1e-10)
    readers = found.fitted_at_readers(y, 0)
    assert (readers is None) == own_row
    if readers is not None:
        assert weight @ readers / weight.sum() == pytest.approx(weighted, abs=1e-10)


def test_the_error_of_a_sample_of_texts_is_that_of_the_mean_of_the_regression():
    """400 samples of 40 texts, the same rows: the ratio of the two variances is 1 within 0.3 (four standard errors)."""
    x, w, weight, fold = sample(300)
    y = np.random.default_rng(5).normal(size=300) + x[:, 0] + x[:, 1] * w[:, 0]
    rng = np.random.default_rng(7)
    values, variances = [], []
    for _ in range(400):
        policy = PolicyTexts(rng.normal(0.4, 1.0, size=(40, 3)), np.full(40, 1 / 40))
        found = balancing_weights(x, w, [policy], weight, fold, penalty=0.03)
        values.append(weight @ (found.alpha[0] * y) / weight.sum())
        variances.append(np.var(found.fitted_at_texts(y, 0), ddof=1) / 40)
    assert np.var(values, ddof=1) / np.mean(variances) == pytest.approx(1.0, abs=0.3)


def test_they_adjust_for_readers_who_choose_their_texts():
    """x | w ~ N(w / 2, 1), y = x + 2 w + x w + noise, and a policy that writes N(0.7, 1) to everybody.

    E[y] under it is 0.7, and the mean of the logs 0.5. A weighted mean that forgets the readers is off by 0.7: their
    weights follow x alone, and x goes with w. Over 20 samples the mean error is below three of its standard errors
    (failure probability 0.003) for the outcome itself, without any outcome model.
    """
    errors, forgetful = [], []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        w = rng.normal(size=(500, 1))
        x = w / 2 + rng.normal(size=(500, 1))
        y = x[:, 0] + 2 * w[:, 0] + x[:, 0] * w[:, 0] + 0.5 * rng.normal(size=500)
        policy = PolicyTexts(0.7 + rng.normal(size=(2000, 1)), np.full(2000, 1 / 2000))
        fold = np.arange(500) % 5
        errors.append(np.mean(balancing_weights(x, w, [policy], np.ones(500), fold).alpha[0] * y) - 0.7)
        blind = balancing_weights(x, np.zeros((500, 0)), [policy], np.ones(500), fold)
        forgetful.append(np.mean(blind.alpha[0] * y) - 0.7)
    error = np.std(errors, ddof=1) / np.sqrt(20)
    assert abs(np.mean(errors)) < 3 * error
    assert error < 0.05
    assert np.mean(forgetful) > 0.4


def test_the_penalty_is_a_tenth_of_the_one_with_the_smallest_held_out_loss_of_the_difference():
    x, w, weight, fold = sample(200)
    one, other = policies()
    phi, text, of_reader, pairs = features(x, w, weight)

    def moment(policy, rows):
        share = weight[rows] / weight[rows].sum()
        crossed = (pairs(np.repeat(text(z[None]), rows.sum(), axis=0), of_reader[rows]) for z in policy.x)
        return sum(of_text * (share @ here) for of_text, here in zip(policy.share, crossed, strict=True))

    losses = []
    for penalty in PENALTIES:
        loss = 0.0
        for k in range(5):
            train, test = fold != k, fold == k
            share = weight[train] / weight[train].sum()
            center = share @ phi[train]
            gram = (phi[train] - center).T @ ((phi[train] - center) * share[:, None])
            target, held_out = (moment(one, rows) - moment(other, rows) for rows in (train, test))
            beta = np.linalg.solve(gram + penalty * np.eye(len(gram)), target)
            alpha = (phi[test] - center) @ beta
            loss += weight[test].sum() * (np.average(alpha**2, weights=weight[test]) - 2 * held_out @ beta)
        losses.append(loss)
    best = PENALTIES[int(np.argmin(losses))]
    assert PENALTIES[0] < best < PENALTIES[-1]
    assert balancing_weights(x, w, [one, other], weight, fold).penalty == pytest.approx(0.1 * best)


@pytest.mark.parametrize(
    "oddity", ["one text", "rank one", "constant covariate", "more covariates than rows", "a fold without weight"]
)
def test_odd_rows_give_finite_weights_of_mean_one(oddity):
    x, w, weight, fold = sample(24)
    if oddity == "one text":
        x = np.ones_like(x)
    if oddity == "rank one":
        x = x[:, :1] * np.array([1.0, 2.0, 0.0])
    if oddity == "constant covariate":
        w = np.ones_like(w)
    if oddity == "more covariates than rows":
        w = np.random.default_rng(3).normal(size=(24, 40))
    if oddity == "a fold without weight":
        weight = np.where(fold == 2, 0.0, weight)
    found = balancing_weights(x, w, policies(), weight, fold)
    assert np.isfinite(found.alpha).all()
    np.testing.assert_allclose(found.alpha @ weight / weight.sum(), 1.0, atol=1e-9)
    assert np.isfinite(found.left).all()


class TestRowsWithoutAnOutcome:
    """alpha minimises mean_i observed_i alpha_i^2 - 2 M(alpha), with the readers of all rows in M."""

    @staticmethod
    def cells(counts=((40, 25), (15, 20)), observed=((10, 20), (12, 4))):
        """Rows of a text x and a reader w in {0, 1}: their numbers, and how many of them have an outcome."""
        x, w, flags = [], [], []
        for i in range(2):
            for j in range(2):
                x += [i] * counts[i][j]
                w += [j] * counts[i][j]
                flags += [True] * observed[i][j] + [False] * (counts[i][j] - observed[i][j])
        return np.array(x, float)[:, None], np.array(w, float)[:, None], np.array(flags)

    def test_in_cells_it_is_the_policys_share_over_that_of_the_observed_rows(self):
        """Products of two binary columns are saturated: unpenalised, every cell has the weight that it needs."""
        x, w, observed = self.cells()
        policy = PolicyTexts(np.array([[0.0], [1.0]]), np.array([0.3, 0.7]))
        found = balancing_weights(x, w, [policy], np.ones(100), np.arange(100) % 5, penalty=1e-13, observed=observed)
        share_of_readers = [0.55, 0.45]  # of all rows, not of those that have an outcome (22 / 46)
        for i in range(2):
            for j in range(2):
                cell = (x[:, 0] == i) & (w[:, 0] == j)
                needed = (0.3, 0.7)[i] * share_of_readers[j] / (observed & cell).mean()
                np.testing.assert_allclose(found.alpha[0, cell & observed], needed, rtol=1e-6)
        assert (found.alpha[0, ~observed] == 0).all()
        # And so the weighted mean is right for every function of text and reader, whoever responds.
        mu = np.random.default_rng(0).normal(size=(2, 2))
        value = np.array([0.3, 0.7]) @ mu @ share_of_readers
        of_row = mu[x[:, 0].astype(int), w[:, 0].astype(int)]
        assert np.mean(found.alpha[0] * of_row) == pytest.approx(value, rel=1e-6)

    def test_penalised_it_minimises_the_loss_of_the_docstring(self):
        """A dense minimisation over the observed rows, written from the formula."""
        x, w, weight, fold = sample(150)
        observed = np.random.default_rng(3).random(150) < 0.4
        policy = policies()[0]
        penalty = 0.05
        phi, text, of_reader, pairs = features(x, w, weight)
        share = weight / weight.sum()
        moment = policy.share @ pairs(text(policy.x), np.tile(share @ of_reader, (7, 1)))
        rate = share @ observed
        center = (share * observed / rate) @ phi
        z, o = phi - center, share * observed
        # With alpha = 1 / rate + z'beta, the loss is sum o alpha^2 - 2 (moment - center)'beta + penalty rate |beta|^2.
        beta = np.linalg.solve((z * o[:, None]).T @ z + penalty * rate * np.eye(z.shape[1]), moment - center)
        expected = np.where(observed, 1 / rate + z @ beta, 0.0)
        found = balancing_weights(x, w, [policy], weight, fold, penalty=penalty, observed=observed)
        np.testing.assert_allclose(found.alpha[0], expected, atol=1e-8)
        assert share @ found.alpha[0] == pytest.approx(1.0)

    def test_with_all_outcomes_nothing_changes(self):
        x, w, weight, fold = sample(150)
        plain = balancing_weights(x, w, policies(), weight, fold)
        same = balancing_weights(x, w, policies(), weight, fold, observed=np.ones(150, dtype=bool))
        np.testing.assert_allclose(same.alpha, plain.alpha, rtol=1e-12)
        assert same.penalty == plain.penalty

    def test_a_fold_without_outcomes_has_no_part_in_the_choice(self):
        x, w, weight, fold = sample(150)
        found = balancing_weights(x, w, policies(), weight, fold, observed=fold != 2)
        assert np.isfinite(found.alpha).all()


def test_a_score_balances_what_the_embedding_does_not_show():
    """The outcome is a number h that is not in x; logged texts have h ~ N(0, 1), the policy's N(1, 1): its log-ratio.

    Over 20 samples the mean error is below three of its standard errors plus 0.05 (failure probability 0.003), where it
    is that of no weights without the score. Readers' slopes of h, of mean 1.5, are found through its product with w.
    """
    errors, blind = [], []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        x, w, h = rng.normal(size=(600, 3)), 0.5 + rng.normal(size=(600, 1)), rng.normal(size=600)
        y = h * (1 + w[:, 0]) + 0.5 * rng.normal(size=600)
        drawn = 1 + rng.normal(size=1000)
        plain = PolicyTexts(rng.normal(size=(1000, 3)), np.full(1000, 1e-3))
        policy = PolicyTexts(plain.x, plain.share, score=drawn - 0.5)
        fold = np.arange(600) % 5
        found = balancing_weights(x, w, [policy], np.ones(600), fold, score=h - 0.5)
        errors.append(np.mean(found.alpha[0] * y) - 1.5)
        blind.append(np.mean(balancing_weights(x, w, [plain], np.ones(600), fold).alpha[0] * y) - 1.5)
    assert abs(np.mean(errors)) < 0.05 + 3 * np.std(errors, ddof=1) / np.sqrt(20)
    assert np.mean(blind) < -1.0


@pytest.mark.parametrize("scores", ["infinite", "equal", "of few texts"])
def test_odd_scores_give_finite_weights(scores):
    x, w, weight, fold = sample(60)
    score = {"infinite": np.where(np.arange(60) < 5, -np.inf, 0.1 * np.arange(60)), "equal": np.zeros(60),
             "of few texts": (np.arange(60) % 2).astype(float)}[scores]  # fmt: skip
    drawn = [PolicyTexts(one.x, one.share, score=np.resize(score, len(one.x))) for one in policies()]
    drawn[0] = PolicyTexts(drawn[0].x, drawn[0].share, score=np.full(len(drawn[0].x), np.inf))
    found = balancing_weights(x, w, drawn, weight, fold, score=score)
    assert np.isfinite(found.alpha).all()
    np.testing.assert_allclose(found.alpha @ weight / weight.sum(), 1.0, atol=1e-9)


def test_a_score_beyond_those_of_the_rows_counts_as_the_outermost():
    """A policy writes some texts that the reference hardly ever writes: their log-ratio is 60 nats."""
    x, w, weight, fold = sample(300)
    rng = np.random.default_rng(5)
    own, drawn = rng.normal(size=300), rng.normal(size=50)
    far = np.where(np.arange(50) < 3, 60.0, drawn)
    one, other = policies()

    def alpha(score):
        given = [replace(one, score=np.zeros(7)), replace(other, score=score)]
        return balancing_weights(x, w, given, weight, fold, score=own).alpha

    np.testing.assert_allclose(alpha(far), alpha(np.minimum(far, own.max())), atol=1e-9)


def test_a_score_is_that_of_the_policies_too():
    x, w, weight, fold = sample(60)
    with pytest.raises(DataError, match="each policy's texts need one too"):
        balancing_weights(x, w, policies(), weight, fold, score=np.zeros(60))


@pytest.mark.parametrize("constant", ["text", "score 0", "score 0.3"])
def test_what_does_not_vary_in_the_rows_is_not_scaled_up(constant):
    """The policies' texts, or their scores, vary; the rows cannot be weighted to resemble them in that."""
    x, w, weight, fold = sample(300)
    if constant == "text":
        found = balancing_weights(np.tile(x[:1], (300, 1)), w, policies(), weight, fold)
    else:
        drawn = [PolicyTexts(one.x, one.share, score=np.linspace(-1, 1, len(one.x))) for one in policies()]
        found = balancing_weights(x, w, drawn, weight, fold, score=np.full(300, float(constant.split()[1])))
    assert np.abs(found.alpha).max() < 30


@pytest.mark.parametrize("missing", ["texts in all folds but one", "outcomes in all folds but one", "a second fold"])
def test_a_penalty_that_no_fold_can_choose_is_an_error(missing):
    """In silence it would be the smallest one, of an extreme estimate."""
    x, w, weight, fold = sample(60)
    one, other = policies()
    observed = None
    if missing == "texts in all folds but one":
        one, other = (
            replace(policy, row=np.resize(np.flatnonzero(fold == 0), len(policy.x))) for policy in (one, other)
        )
    if missing == "outcomes in all folds but one":
        observed = fold == 0
    if missing == "a second fold":
        fold = np.zeros(60, dtype=np.int64)
    with pytest.raises(DataError, match="no penalty can be chosen"):
        balancing_weights(x, w, [one, other], weight, fold, observed=observed)
    assert np.isfinite(balancing_weights(x, w, [one, other], weight, fold, 0.1, observed=observed).alpha).all()


def test_a_policy_without_texts_for_the_rows_is_an_error():
    x, w, weight, fold = sample(60)
    empty = PolicyTexts(x[:0], np.ones(0), np.zeros(0, dtype=np.int64))
    with pytest.raises(DataError, match="no text in the context"):
        balancing_weights(x, w, [empty], weight, fold, penalty=0.1)


class TestDirectionsInWhichTheRowsHardlyVary:
    """Rows that are the same but for a thousandth in their third coordinate; the policy's texts are not."""

    @staticmethod
    def rows(n=600, seed=0):
        """Every text twice."""
        rng = np.random.default_rng(seed)
        x = np.repeat(rng.normal(size=(n // 2, 3)) * [1.0, 1.0, 1e-3], 2, axis=0)
        away = rng.normal(size=(400, 3)) * [1.0, 1.0, 1e-3] + np.outer(rng.random(400) < 0.1, [0.0, 0.0, 0.3])
        return x, np.zeros((n, 0)), PolicyTexts(away, np.full(400, 1 / 400)), np.arange(n) // 2

    def test_a_penalty_that_is_chosen_leaves_weights_of_limited_mean_size(self):
        x, w, policy, text = self.rows()
        found = balancing_weights(x, w, [policy], np.ones(600), text % 5)
        below = balancing_weights(x, w, [policy], np.ones(600), text % 5, found.penalty / 10**0.25)
        assert np.mean(np.abs(found.alpha)) <= LARGEST < np.mean(np.abs(below.alpha))
        wanted = balancing_weights(x, w, [policy], np.ones(600), text % 5, 1e-9)
        assert np.mean(np.abs(wanted.alpha)) > 20  # a shift by 30 standard deviations

    def test_weights_of_every_policy_count(self):
        x, w, policy, text = self.rows()
        near = PolicyTexts(x, np.full(600, 1 / 600))
        for pair in ([policy, near], [near, policy]):
            found = balancing_weights(x, w, pair, np.ones(600), text % 5)
            assert np.abs(found.alpha).mean(axis=1).max() <= LARGEST

    def test_exposure_counts(self):
        x, w, policy, text = self.rows()
        weight = np.where(np.abs(x[:, 2]) < 5e-4, 10.0, 0.1)  # its size is smallest where x[:, 2] is near its mean
        found = balancing_weights(x, w, [policy], weight, text % 5)
        below = balancing_weights(x, w, [policy], weight, text % 5, found.penalty / 10**0.25)
        assert np.average(np.abs(found.alpha[0]), weights=weight) <= LARGEST
        assert np.average(np.abs(below.alpha[0]), weights=weight) > LARGEST

    def test_what_they_need_is_left_to_the_outcome_model(self):
        x, w, policy, text = self.rows()
        found = balancing_weights(x, w, [policy], np.ones(600), text % 5)
        y = np.random.default_rng(1).normal(size=600)
        plain = balancing_weights(x[:, :2], w, [replace(policy, x=policy.x[:, :2])], np.ones(600), text % 5)
        shift = policy.x.mean(axis=0) - x.mean(axis=0)
        kept = shift - found.alpha[0] @ (x - x.mean(axis=0)) / 600
        np.testing.assert_allclose(kept[:2], 0.0, atol=0.05 * np.linalg.norm(shift[:2]) + 0.01)
        assert kept[2] > 0.5 * shift[2]
        assert found.worst_case_bias(y) > plain.worst_case_bias(y)

    def test_the_share_that_is_left_out_is_that_of_the_difference(self):
        """By hand in the features of one coordinate and its square, whose blocks have variance one."""
        rng = np.random.default_rng(3)
        x = rng.normal(size=(400, 1))
        far, near = (PolicyTexts(np.full((1, 1), at), np.ones(1)) for at in (9.0, 1.0))
        found = balancing_weights(x, np.zeros((400, 0)), [far, near], np.ones(400), np.arange(400) % 5)
        u = (x[:, 0] - x.mean()) / x.std()
        columns = np.column_stack([u, (u**2 - 1) / np.std(u**2)])
        wanted, given = [], []
        for k, at in enumerate((9.0, 1.0)):
            v = (at - x.mean()) / x.std()
            wanted.append(np.array([v, (v**2 - 1) / np.std(u**2)]))
            given.append(found.alpha[k] @ columns / 400)
        share = np.linalg.norm(wanted[0] - wanted[1] - given[0] + given[1]) / np.linalg.norm(wanted[0] - wanted[1])
        at_chosen = balancing_weights(
            x, np.zeros((400, 0)), [far, near], np.ones(400), np.arange(400) % 5, found.chosen
        )
        before = [at_chosen.alpha[k] @ columns / 400 for k in range(2)]
        added = np.linalg.norm(before[0] - before[1] - given[0] + given[1]) / np.linalg.norm(wanted[0] - wanted[1])
        assert found.unbalanced == pytest.approx(added, rel=1e-6)
        assert 0.4 < added < share

    def test_nothing_is_left_out_of_policies_that_are_alike(self):
        x, w, _, text = self.rows()
        rng = np.random.default_rng(4)
        one, other = (PolicyTexts(x[rng.choice(600, 300)], np.full(300, 1 / 300)) for _ in range(2))
        found = balancing_weights(x, w, [one, other], np.ones(600), text % 5)
        assert found.penalty == found.chosen
        assert found.unbalanced == 0

    def test_nor_of_policies_that_stray_alike(self):
        """Two samples of one law: their difference is noise, whatever the limit leaves of it."""
        rng = np.random.default_rng(5)
        x = rng.normal(size=(600, 20)) * np.append(np.ones(19), 1e-3)
        for size in (500, 4000):
            texts = rng.normal(size=(2, size, 20)) * np.append(np.ones(19), 1e-3)
            texts[:, :, -1] += 1.0 * (rng.random((2, size)) < 0.15)
            pair = [PolicyTexts(one, np.full(size, 1 / size)) for one in texts]
            found = balancing_weights(x, np.zeros((600, 0)), pair, np.ones(600), np.arange(600) % 5)
            assert found.penalty > found.chosen
            assert found.unbalanced == 0

    def test_the_worst_case_knows_of_directions_that_were_given_up(self):
        """Errors of m lie along the third coordinate alone, of which the weights leave most."""
        x, w, policy, text = self.rows()
        logged = PolicyTexts(x, np.full(600, 1 / 600))
        found = balancing_weights(x, w, [policy, logged], np.ones(600), text % 5)
        residual = 30 * x[:, 2]
        bias = 30 * (policy.x[:, 2].mean() - x[:, 2].mean()) - (found.alpha[0] - found.alpha[1]) @ residual / 600
        low = replace(found, chosen=found.penalty).worst_case_bias(residual)
        assert low < found.worst_case_bias(residual) < 2 * bias

    def test_a_rare_arm_keeps_its_weight(self):
        """12 of 300 rows show the second text, and the policy always shows it: no weight is negative, none is cut."""
        x = np.zeros((300, 1))
        x[:12] = 1.0
        policy = PolicyTexts(np.ones((1, 1)), np.ones(1))
        found = balancing_weights(x, np.zeros((300, 0)), [policy], np.ones(300), np.arange(300) % 5)
        assert found.alpha[0, :12].sum() / 300 > 0.99
