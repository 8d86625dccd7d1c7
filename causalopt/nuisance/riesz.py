"""Balancing weights: the Riesz representer of a policy's value, by a regression that needs neither q nor s."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np

from causalopt.errors import DataError
from causalopt.nuisance.pair_features import PairFeatures
from causalopt.nuisance.pair_rows import PairRows, PolicyPairs, PolicyTexts, Sums
from causalopt.typing import Array, Embeddings, Float64, Int64

__all__ = ["BalancingWeights", "PolicyTexts", "balancing_weights"]

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
AT_ONCE = 8
"""Penalties whose weights are computed in one pass over the rows."""


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
    _rows: PairRows = field(repr=False)
    _basis: _Basis = field(repr=False)
    _policies: Sequence[PolicyPairs] = field(repr=False)

    def fitted_at_texts(self, residual: Float64, policy: int) -> Float64:
        """Residuals that the weights' own regression predicts for each text of a policy, shape [m], outcome units.

        The weighted mean of the residuals is the policy's mean of these predictions: for a ridge penalty a balancing
        estimate is a plug-in mean of a regression (Bruns-Smith, Dukes, Feller and Ogburn 2025). Through them the
        sampling of texts enters the standard error.
        """
        center, slope = self._regression(residual, self.penalty)
        return np.asarray(center - self._basis.center @ slope + self._policies[policy].at_texts(slope))

    def fitted_at_readers(self, residual: Float64, policy: int) -> Float64 | None:
        """Return the same for each reader, averaged over the policy's texts, shape [n]; None for texts of rows."""
        center, slope = self._regression(residual, self.penalty)
        at_readers = self._policies[policy].at_readers(slope)
        return None if at_readers is None else np.asarray(center - self._basis.center @ slope + at_readers)

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
        share = self._rows.share
        covariance = self._rows.weighted_sum(share * residual) - (share @ residual) * self._basis.center
        slope = self._basis.axes @ ((covariance @ self._basis.axes) / (self._basis.variance + penalty))
        return float(share @ residual), np.asarray(slope)


def balancing_weights(
    x: Embeddings,
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
    rows = PairRows(features, x, w, score, counted / counted.sum())
    drawn = [PolicyPairs(features, policy, w, weight) for policy in policies]
    moments = _moments(drawn)
    assert moments is not None
    by_fold = [rows.sums(np.flatnonzero((fold == k) & (counted > 0))) for k in np.unique(fold)]
    basis = _Basis.of(rows, by_fold, counted)
    target = basis.coordinates(moments)
    if penalty is None:
        chosen = UNDERSMOOTHING * _best_penalty(rows, by_fold, drawn, fold, counted)
        penalty = _without_extrapolation(chosen, basis, target, rows)
    else:
        chosen = penalty
    alpha = _alpha([penalty], basis, target, rows)[0]
    # The mean over all rows is one: a response stands for 1 / p(observed) readers.
    alpha = np.where(rated, alpha * (weight.sum() / counted.sum()), 0.0)
    # M(h) - mean_i alpha_i h_i = beta_h' (target - variance * target / (variance + penalty)) for h = beta_h' phi.
    left = target * penalty / (basis.variance + penalty)
    return BalancingWeights(alpha, target, left, penalty, chosen, rows, basis, drawn)


def _difference(moments: Float64) -> Float64:
    """Return the first minus the last policy's, or a single policy's own, shape [r]."""
    return np.asarray(moments[0] - moments[-1] if len(moments) > 1 else moments[0])


def _score_of(policy: PolicyTexts) -> Float64:
    if policy.score is None:
        raise DataError("the rows have a score, so each policy's texts need one too")
    return policy.score


def _moments(drawn: Sequence[PolicyPairs], rows: Array | None = None) -> Float64 | None:
    """Means over several policies, shape [policies, features]; None if one of them wrote no text for some rows [n]."""
    means = [one.mean(rows) for one in drawn]
    found = [mean for mean in means if mean is not None]
    return np.stack(found) if len(found) == len(means) else None


@dataclass(frozen=True, eq=False)
class _Basis:
    """Principal axes of the features' covariance: in these every penalty has a closed form."""

    center: Float64
    axes: Float64
    variance: Float64

    @classmethod
    def of(cls, rows: PairRows, parts: Sequence[Sums], weight: Float64) -> Self:
        """Find the axes over the rows of positive ``weight`` [n], from the sums over their parts."""
        sums = Sums.of(parts)
        off = sums.phi / sums.share
        center = rows.center + off
        # Of the products by rows or by columns the smaller matrix; directions without variance have no weight either.
        used = np.flatnonzero(weight > 0)
        if len(used) < len(center):
            share = weight[used] / weight[used].sum()
            scaled = (rows.phi(used) - center) * np.sqrt(share)[:, None]
            variance, left = np.linalg.eigh(scaled @ scaled.T)
            kept = variance > 1e-12 * variance.max(initial=0.0)
            axes = scaled.T @ (left[:, kept] / np.sqrt(variance[kept]))
        else:
            variance, axes = np.linalg.eigh(sums.squares / sums.share - np.outer(off, off))
            kept = variance > 1e-12 * variance.max(initial=0.0)
            axes = axes[:, kept]
        return cls(center, axes, variance[kept])

    def coordinates(self, phi: Float64) -> Float64:
        return np.asarray((phi - self.center) @ self.axes)


def _best_penalty(
    rows: PairRows, by_fold: Sequence[Sums], drawn: Sequence[PolicyPairs], fold: Int64, weight: Float64
) -> float:
    """Return the penalty with the smallest held-out Riesz loss; rows of zero ``weight`` have no outcome."""
    loss, compared = np.zeros(len(PENALTIES)), False
    for i, k in enumerate(np.unique(fold)):
        train, test = fold != k, fold == k
        if min(weight[train].sum(), weight[test].sum()) <= 0:
            continue  # nothing to learn from, or nothing to predict
        moments, held_out = _moments(drawn, train), _moments(drawn, test)
        if moments is None or held_out is None:
            continue
        basis = _Basis.of(rows, [*by_fold[:i], *by_fold[i + 1 :]], np.where(train, weight, 0.0))
        scored = np.flatnonzero(test & (weight > 0))
        loss += float(weight[scored].sum()) * _held_out_loss(basis, moments, rows, scored, weight[scored], held_out)
        compared = True
    if not compared:
        raise DataError(
            "balancing weights: no penalty can be chosen, as there is no fold whose rows and whose other rows both "
            "have an outcome and texts of every policy: use more rows, or more draws"
        )
    return float(PENALTIES[int(np.argmin(loss))])


def _without_extrapolation(penalty: float, basis: _Basis, target: Float64, rows: PairRows) -> float:
    """Return the penalty, or the smallest multiple by powers of `STEP` under which no policy's weights are too large.

    Negative weights extrapolate: they take the policy's texts to lie beyond the logged ones (Ben-Michael, Feller and
    Rothstein 2021). Where some of what a policy writes is unlike all that was logged, the representer is large in
    directions in which the rows hardly vary, and the held-out loss, which knows of no noise in outcomes, asks for all
    of it: with 2,000 rows weights between -176 and 150 gave an interval 3.5 wide, for a gain of 0.85. What such a
    direction needs is not in the rows. It is left to the outcome model, see
    `BalancingWeights.unbalanced`; `causalopt.diagnostics.support` says how many texts are meant.
    """
    # Under an infinite penalty every weight is one.
    while True:
        tried = [penalty]
        while len(tried) < AT_ONCE:
            tried.append(tried[-1] * STEP)
        largest = [float((np.abs(alpha) @ rows.share).max()) for alpha in _alpha(tried, basis, target, rows)]
        small = np.flatnonzero(np.array(largest) <= LARGEST)
        if len(small):
            return float(tried[small[0]])
        penalty = float(tried[-1] * STEP)


def _alpha(penalties: Sequence[float], basis: _Basis, target: Float64, rows: PairRows) -> Float64:
    """Weights of the rows under each penalty for each policy, shape [penalties, policies, n]."""
    slopes = np.stack([(target / (basis.variance + penalty)) @ basis.axes.T for penalty in penalties])
    flat = slopes.reshape(-1, slopes.shape[-1])
    alpha = 1.0 + rows.at(flat.T).T - (flat @ basis.center)[:, None]
    return np.asarray(alpha.reshape(*slopes.shape[:2], -1))


def _held_out_loss(
    basis: _Basis, moments: Float64, rows: PairRows, scored: Int64, weight: Float64, held_out_moments: Float64
) -> Float64:
    """Riesz loss on held-out rows of the first policy minus the last one, for every penalty."""
    signs = np.zeros(len(moments))
    signs[0] = 1.0
    if len(moments) > 1:
        signs[-1] = -1.0
    share = weight / weight.sum()
    target, held_out = (signs @ basis.coordinates(part) for part in (moments, held_out_moments))
    beta = target[:, None] / (basis.variance[:, None] + PENALTIES)
    slopes = basis.axes @ beta
    alpha = rows.at(slopes, scored) - basis.center @ slopes
    return np.asarray(share @ alpha**2 - 2 * held_out @ beta)
