"""Balancing weights: the Riesz representer of a policy's value, by a regression that needs neither q nor s."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np

from causalopt.errors import DataError
from causalopt.nuisance.pair_features import PairFeatures
from causalopt.typing import Array, Float64, Int64

BLOCK = 4096
"""Rows that are centred at a time."""
PENALTIES = 10.0 ** np.arange(-5.0, 2.25, 0.25)
UNDERSMOOTHING = 0.1
"""Factor on the penalty with the smallest held-out loss: that one trades bias for variance, and bias is what counts.

A regression that predicts best leaves a bias of the order of its standard error, which an interval does not include.
On generators written for this choice, 0.1 left a bias below two fifths of the standard error, 1 one of its size."""

LARGEST = 3.0
"""Largest mean size of the weights, whose mean is one: 2 of positive weight, and 1 of negative.

On generators written for this choice (sentences of which 15% were unlike any that was logged, 12 tables) the RMSE was
0.10, for 2 it was 0.07, and without a limit, where weights had mean sizes of 5 to 30, 0.37. They are 3.2 for the best
policy at 2.7 nats in the template world, all of whose texts are like those that were logged: there a limit of 2 adds 4%
of the gain to its bias, and one of 3 adds 1.2% (three tables). Where an arm is merely rare no weight is negative, and
nothing is changed."""
STEP = 10.0**0.25
"""Factor by which a penalty that leaves larger weights is raised."""


@dataclass(frozen=True, eq=False)
class PolicyTexts:
    """The texts of a policy and the share of each.

    Attributes
    ----------
    x:
        Embeddings, with those of their prompts appended if there are prompts, shape [m, d].
    share:
        Shape [m], summing to one: the probability of each text, or 1 / m for draws.
    row:
        Position of the row in whose context each text was written, shape [m]; None if every reader may read every text.
    score:
        A score of each text, shape [m], if the rows have one.
    """

    x: Array
    share: Float64
    row: Int64 | None = None
    score: Float64 | None = None


@dataclass(frozen=True, eq=False)
class BalancingWeights:
    """Weights under which the logged rows resemble the texts of each policy, and what they leave unbalanced.

    Attributes
    ----------
    alpha:
        Weights of the n rows for each policy, shape [policies, n], with exposure-weighted mean one. They may be
        negative.
    wanted, left:
        For each policy and feature the mean over the policy minus the mean over the rows, without the weights and with
        them, shape [policies, r], in the principal axes of the features.
    penalty:
        The penalty used for all policies.
    chosen:
        The penalty before it was raised for weights that would have extrapolated; the same if it was not.
    """

    alpha: Float64
    wanted: Float64
    left: Float64
    penalty: float
    chosen: float
    _rows: _Rows = field(repr=False)
    _basis: _Basis = field(repr=False)
    _policies: Sequence[_Drawn] = field(repr=False)

    def fitted_at_texts(self, residual: Float64, policy: int) -> Float64:
        """Residuals that the weights' own regression predicts for each text of a policy, shape [m], outcome units.

        The weighted mean of the residuals is the policy's mean of these predictions: for a ridge penalty a balancing
        estimate is a plug-in mean of a regression (Bruns-Smith, Dukes, Feller and Ogburn 2025). Through them the
        sampling of texts enters the standard error.
        """
        center, slope = self._regression(residual, self.penalty)
        return np.asarray(center - self._basis.center @ slope + self._policies[policy].phi() @ slope)

    def fitted_at_readers(self, residual: Float64, policy: int) -> Float64 | None:
        """Return the same for each reader, averaged over the policy's texts, shape [n]; None for texts of rows."""
        phi = self._policies[policy].phi_of_readers()
        if phi is None:
            return None
        center, slope = self._regression(residual, self.penalty)
        return np.asarray(center - self._basis.center @ slope + phi @ slope)

    def worst_case_bias(self, residual: Float64) -> float:
        """Largest bias of the first minus the last policy through what the weights leave unbalanced, outcome units.

        For a function h of norm |beta|, h = beta' phi, the bias is at most |left| |beta| (Hirshberg and Wager 2021).
        The norm of the error of m is taken from a ridge regression of its residuals with the penalty that was chosen:
        under one that was raised, the regression knows nothing of the directions that were given up. What h is in
        directions in which the rows hardly vary, no regression of them can tell.
        """
        slope = self._regression(residual, self.chosen)[1]
        return float(np.linalg.norm(_difference(self.left)) * np.linalg.norm(slope))

    @property
    def unbalanced(self) -> float:
        """Share of what distinguishes the first policy from the last that is left out for fear of extrapolation.

        The length of what the weights leave unbalanced of the difference of the policies' features beyond what they
        would under the penalty that was chosen, over that of the whole difference; 0 if the penalty was not raised, and
        if the difference is within two standard errors of the sampling of texts. A small share does not vouch for the
        rest: it is small, too, where the policies differ far more in what was logged.
        """
        if self.penalty == self.chosen:
            return 0.0
        difference = _difference(self.wanted)
        if difference @ difference <= 4 * sum(one.sampling_variance() for one in self._policies):
            return 0.0
        at_chosen = self.wanted * self.chosen / (self._basis.variance + self.chosen)
        return float(np.linalg.norm(_difference(self.left - at_chosen)) / np.linalg.norm(difference))

    def _regression(self, residual: Float64, penalty: float) -> tuple[float, Float64]:
        """Return the mean and the coefficients of a ridge regression of residuals on the features."""
        phi, share = self._rows.phi, self._rows.share
        covariance = (share * residual) @ phi - (share @ residual) * self._basis.center
        slope = self._basis.axes @ ((covariance @ self._basis.axes) / (self._basis.variance + penalty))
        return float(share @ residual), np.asarray(slope)


def balancing_weights(
    x: Array,
    w: Array,
    policies: Sequence[PolicyTexts],
    weight: Float64,
    fold: Int64,
    penalty: float | None = None,
    prompt_columns: int = 0,
    score: Float64 | None = None,
    observed: Array | None = None,
) -> BalancingWeights:
    """Fit the Riesz representers of the values of several policies, with one penalty for all of them.

    The value of a policy is a linear functional of mu(x, w) = E[Y | x, w]: V = mean over its texts and their readers of
    mu. Its Riesz representer is the weight alpha with V = E[alpha(x, w) mu(x, w)] for all mu; in terms of densities it
    is f(x) / q(x) s(x, w), but neither q nor s is needed to estimate it. In features phi of text and reader it
    minimises

        mean_i alpha_i^2 - 2 M(alpha) + penalty |beta|^2,   alpha_i = 1 + beta' (phi_i - mean phi),

    where M(alpha) is the mean of alpha over the policy's texts and their readers.

    Parameters
    ----------
    x, w:
        Embeddings of the n rows (with those of their prompts appended, if there are prompts) and their encoded
        covariates, shapes [n, d] and [n, p].
    policies:
        Their texts. The penalty is chosen for the first minus the last of them (for a single one, for itself).
    weight:
        Exposure of each row, shape [n].
    fold:
        Labels of folds that divide no unit that was drawn, shape [n]: the penalty is chosen by the held-out loss.
    penalty:
        Used in place of the one that is chosen, whatever the weights.
    prompt_columns:
        Number of columns, at the end of ``x``, that embed the prompt.
    score:
        A score of each row's text, shape [n], functions of which are balanced too. The log-ratio of two policies, of
        which one wrote the logs, is a balancing score (Rosenbaum and Rubin 1983): rows that are balanced in it are
        balanced in whatever the embedding does not show.
    observed:
        Whether each row's outcome was observed, shape [n]; None if all were.

    Raises
    ------
    DataError
        If there is no fold such that both its rows and the others have texts of every policy and an outcome, so that no
        penalty can be chosen; and if the rows have a score and a policy's texts have none.

    Notes
    -----
    Chernozhukov, Newey and Singh (2022); Hirshberg and Wager (2021); Ben-Michael, Feller, Hirshberg and Zubizarreta
    (2021). The features are those of `PairFeatures`. The weights are functions of texts and covariates only. Given
    these they are fixed, and need no cross-fitting. Cross-fitted weights balance another sample than the one that they
    weight: with 800 rows their inverse of the features' covariance was too large, and they overshot.

    If some outcomes were not observed, the weights are 0 in those rows and minimise mean_i observed_i alpha_i^2 -
    2 M(alpha) + penalty |beta|^2, with M over the readers of all rows. In densities they are f(x) / q(x) s / pi, and no
    model of pi = p(observed | x, w) is needed either: the observed rows are balanced with everybody who was shown a
    text. Over the observed rows alone the problem is the one above, up to the factor 1 / p(observed).

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.nuisance.riesz import PolicyTexts, balancing_weights
    >>> rng = np.random.default_rng(0)
    >>> x, w = rng.normal(size=(2000, 1)), np.zeros((2000, 0))
    >>> policy = PolicyTexts(x=np.array([[0.5]]), share=np.ones(1))
    >>> found = balancing_weights(x, w, [policy], np.ones(2000), fold=np.arange(2000) % 5)
    >>> bool(abs(found.alpha[0] @ x[:, 0] / 2000 - 0.5) < 0.01)
    True
    """
    if not all(len(policy.share) for policy in policies):
        raise DataError("balancing weights: a policy has no text in the context of these rows: use more draws")
    rated = np.ones(len(x), dtype=bool) if observed is None else np.asarray(observed, dtype=bool)
    counted = np.where(rated, weight, 0.0)  # zero in rows that cannot be weighted; their readers are in the moments
    elsewhere = None if score is None else np.concatenate([_score_of(policy) for policy in policies])
    features = PairFeatures.of(x, w, weight, prompt_columns, score, elsewhere)
    reader = features.reader(w)
    rows = _Rows(features.pairs(features.text(x, score), reader), counted / counted.sum())
    drawn = [_Drawn(features, features.text(policy.x, policy.score), policy, reader, weight) for policy in policies]
    basis = _Basis.of(rows.phi, counted)
    moments = _moments(drawn, np.ones(len(x), dtype=bool))
    assert moments is not None
    target = basis.coordinates(moments)
    if penalty is None:
        chosen = UNDERSMOOTHING * _best_penalty(rows.phi, counted, drawn, fold)
        penalty = _without_extrapolation(chosen, basis, target, rows)
    else:
        chosen = penalty
    alpha = _alpha(penalty, basis, target, rows)
    # The mean over all rows is one: a response stands for 1 / p(observed) readers.
    alpha = np.where(rated, alpha * (weight.sum() / counted.sum()), 0.0)
    # M(h) - mean_i alpha_i h_i = beta_h' (target - variance * target / (variance + penalty)) for h = beta_h' phi.
    left = target * penalty / (basis.variance + penalty)
    return BalancingWeights(alpha, target, left, penalty, chosen, rows, basis, drawn)


@dataclass(frozen=True, eq=False)
class _Rows:
    """Features of the rows, shape [n, number of features], and each row's share of the exposure, shape [n]."""

    phi: Float64
    share: Float64


@dataclass(frozen=True, eq=False)
class _Drawn:
    """Features of a policy's texts, shape [m, r], and of the rows' readers, shape [n, q]."""

    features: PairFeatures
    text: Float64
    policy: PolicyTexts
    reader: Float64
    weight: Float64

    def phi(self) -> Float64:
        """phi of each text, with its row's reader or else the mean over all readers, shape [m, features]."""
        if self.policy.row is not None:
            return self.features.pairs(self.text, self.reader[self.policy.row])
        of_readers = self.weight @ self.reader / self.weight.sum()
        return self.features.pairs(self.text, np.tile(of_readers, (len(self.text), 1)))

    def sampling_variance(self) -> float:
        """Squared standard error of the mean of phi over the texts, taken for a sample, summed over the features."""
        phi = self.phi()
        return float(self.policy.share**2 @ np.sum((phi - self.policy.share @ phi) ** 2, axis=1))

    def phi_of_readers(self) -> Float64 | None:
        """phi of each reader, averaged over the texts that all of them may read, shape [n, features]."""
        if self.policy.row is not None:
            return None
        of_texts = self.policy.share @ self.text
        return self.features.pairs(np.tile(of_texts, (len(self.reader), 1)), self.reader)

    def moment(self, rows: Array) -> Float64 | None:
        """Mean of phi over the texts and their readers, among those of some rows, shape [features].

        None if no text was written for these rows.
        """
        weight = np.where(rows, self.weight, 0.0)
        if self.policy.row is None:
            # Texts and readers are crossed, so that the mean of a product is the product of the means.
            of_readers = weight @ self.reader / weight.sum()
            return np.asarray(self.features.pairs((self.policy.share @ self.text)[None], of_readers[None])[0])
        share = self.policy.share * weight[self.policy.row]
        if share.sum() <= 0:
            return None
        return np.asarray((share / share.sum()) @ self.phi())


def _difference(moments: Float64) -> Float64:
    """Return the first minus the last policy's, or a single policy's own, shape [r]."""
    return np.asarray(moments[0] - moments[-1] if len(moments) > 1 else moments[0])


def _score_of(policy: PolicyTexts) -> Float64:
    if policy.score is None:
        raise DataError("the rows have a score, so each policy's texts need one too")
    return policy.score


def _moments(drawn: Sequence[_Drawn], rows: Array) -> Float64 | None:
    """Means over several policies, shape [policies, features]; None if one of them wrote no text for these rows."""
    means = [one.moment(rows) for one in drawn]
    found = [mean for mean in means if mean is not None]
    return np.stack(found) if len(found) == len(means) else None


@dataclass(frozen=True, eq=False)
class _Basis:
    """Principal axes of the features' covariance: in these every penalty has a closed form."""

    center: Float64
    axes: Float64
    variance: Float64

    @classmethod
    def of(cls, phi: Float64, weight: Float64) -> Self:
        share = weight / weight.sum()
        center = share @ phi
        # Of the products by rows or by columns the smaller matrix; directions without variance have no weight either.
        used = np.flatnonzero(share > 0)
        if len(used) < phi.shape[1]:
            scaled = (phi[used] - center) * np.sqrt(share[used])[:, None]
            variance, left = np.linalg.eigh(scaled @ scaled.T)
            kept = variance > 1e-12 * variance.max(initial=0.0)
            axes = scaled.T @ (left[:, kept] / np.sqrt(variance[kept]))
        else:
            covariance = np.zeros((phi.shape[1], phi.shape[1]))
            for start in range(0, len(phi), BLOCK):  # no second matrix of the size of phi
                rows = slice(start, start + BLOCK)
                scaled = (phi[rows] - center) * np.sqrt(share[rows])[:, None]
                covariance += scaled.T @ scaled
            variance, axes = np.linalg.eigh(covariance)
            kept = variance > 1e-12 * variance.max(initial=0.0)
            axes = axes[:, kept]
        return cls(center, axes, variance[kept])

    def coordinates(self, phi: Float64) -> Float64:
        return np.asarray((phi - self.center) @ self.axes)


def _best_penalty(phi: Float64, weight: Float64, drawn: Sequence[_Drawn], fold: Int64) -> float:
    """Return the penalty with the smallest held-out Riesz loss; rows of zero ``weight`` have no outcome."""
    loss, compared = np.zeros(len(PENALTIES)), False
    for k in np.unique(fold):
        train, test = fold != k, fold == k
        if min(weight[train].sum(), weight[test].sum()) <= 0:
            continue  # nothing to learn from, or nothing to predict
        moments, held_out = _moments(drawn, train), _moments(drawn, test)
        if moments is None or held_out is None:
            continue
        basis = _Basis.of(phi, np.where(train, weight, 0.0))
        loss += float(weight[test].sum()) * _held_out_loss(basis, moments, phi[test], weight[test], held_out)
        compared = True
    if not compared:
        raise DataError(
            "balancing weights: no penalty can be chosen, as there is no fold whose rows and whose other rows both "
            "have an outcome and texts of every policy: use more rows, or more draws"
        )
    return float(PENALTIES[int(np.argmin(loss))])


def _without_extrapolation(penalty: float, basis: _Basis, target: Float64, rows: _Rows) -> float:
    """Return the penalty, or the smallest multiple by powers of `STEP` under which no policy's weights are too large.

    Negative weights extrapolate: they take the policy's texts to lie beyond the logged ones (Ben-Michael, Feller and
    Rothstein 2021). Where some of what a policy writes is unlike all that was logged, the representer is large in
    directions in which the rows hardly vary, and the held-out loss, which knows of no noise in outcomes, asks for all
    of it: with 2,000 rows weights between -176 and 150 gave an interval 3.5 wide, for a gain of 0.85. What such a
    direction needs is not in the rows. It is left to the outcome model, see
    `BalancingWeights.unbalanced`; `causalopt.diagnostics.support` says how many texts are meant.
    """
    # Under an infinite penalty every weight is one.
    while (np.abs(_alpha(penalty, basis, target, rows)) @ rows.share > LARGEST).any():
        penalty *= STEP
    return penalty


def _alpha(penalty: float, basis: _Basis, target: Float64, rows: _Rows) -> Float64:
    """Weights of the rows for each policy, shape [policies, n]."""
    slope = (target / (basis.variance + penalty)) @ basis.axes.T
    return np.asarray(1.0 + slope @ rows.phi.T - (slope @ basis.center)[:, None])


def _held_out_loss(
    basis: _Basis, moments: Float64, phi: Float64, weight: Float64, held_out_moments: Float64
) -> Float64:
    """Riesz loss on held-out rows of the first policy minus the last one, for every penalty."""
    signs = np.zeros(len(moments))
    signs[0] = 1.0
    if len(moments) > 1:
        signs[-1] = -1.0
    share = weight / weight.sum()
    target, held_out = (signs @ basis.coordinates(part) for part in (moments, held_out_moments))
    beta = target[:, None] / (basis.variance[:, None] + PENALTIES)
    alpha = basis.coordinates(phi) @ beta
    return np.asarray(share @ alpha**2 - 2 * held_out @ beta)
