"""Balancing weights: the Riesz representer of a policy's value, by a regression that needs neither q nor s."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from causalopt.nuisance.features import ReaderFeatures
from causalopt.typing import Array, Float64, Int64

PENALTIES = 10.0 ** np.arange(-5.0, 2.25, 0.25)
UNDERSMOOTHING = 0.1
"""Factor on the penalty with the smallest held-out loss: that one trades bias for variance, and bias is what counts.

A regression that predicts best leaves a bias of the order of its standard error, which an interval does not include.
On generators written for this choice, 0.1 left a bias below a fifth of the standard error, 1 one of its size."""
MOST_PRODUCTS = 512
"""Largest number of products of text coordinates and covariates."""
MOST_SQUARED = 22
"""Leading text coordinates whose squares and products enter: what the outcome model, linear in the text, misses."""


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
    """

    x: Array
    share: Float64
    row: Int64 | None = None


@dataclass(frozen=True, eq=False)
class BalancingWeights:
    """Weights under which the logged rows resemble the texts of each policy, and what they leave unbalanced.

    Attributes
    ----------
    alpha:
        Weights of the n rows for each policy, shape [policies, n], with exposure-weighted mean one. They may be
        negative.
    imbalance:
        For each policy the largest bias of the weighted mean of a function in the unit ball of the feature space, and
        the same without weights, shape [policies, 2].
    penalty:
        The penalty used for all policies.
    """

    alpha: Float64
    imbalance: Float64
    penalty: float


def balancing_weights(
    x: Array,
    w: Array,
    policies: Sequence[PolicyTexts],
    weight: Float64,
    fold: Int64,
    penalty: float | None = None,
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
        Used in place of the one that is chosen.
    observed:
        Whether each row's outcome was observed, shape [n]; None if all were.

    Notes
    -----
    Chernozhukov, Newey and Singh (2022); Hirshberg and Wager (2021); Ben-Michael, Feller, Hirshberg and Zubizarreta
    (2021). Features are 1; the embedding; squares and products of its leading 22 principal components; the covariates
    with their squares and products; and the products of embedding and covariates. Each of the four blocks has total
    variance one, so that the penalty treats them alike. The weights are functions of texts and covariates only. Given
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
    features = _Features.of(x, w, weight)
    rated = np.ones(len(x), dtype=bool) if observed is None else np.asarray(observed, dtype=bool)
    counted = np.where(rated, weight, 0.0)  # zero in rows that cannot be weighted; their readers are in the moments
    text, reader = features.text(x), features.reader(w)
    phi = features.products(text, reader)
    drawn = [features.text(policy.x) for policy in policies]

    def moments(rows: Array) -> Float64:
        """Mean of phi over each policy's texts and the readers of some rows, shape [policies, number of features]."""
        return np.stack(
            [
                _moment(features, one, policy, reader, np.where(rows, weight, 0.0))
                for one, policy in zip(drawn, policies, strict=True)
            ]
        )

    if penalty is None:
        loss = np.zeros(len(PENALTIES))
        for k in np.unique(fold):
            train, test = fold != k, fold == k
            if min(counted[train].sum(), counted[test].sum()) <= 0:  # nothing to learn from, or nothing to predict
                continue
            loss += float(counted[test].sum()) * _held_out_loss(
                _Basis.of(phi[train], counted[train]), moments(train), phi[test], counted[test], moments(test)
            )
        penalty = UNDERSMOOTHING * float(PENALTIES[int(np.argmin(loss))])
    basis, everything = _Basis.of(phi, counted), moments(np.ones(len(x), dtype=bool))
    target = basis.coordinates(everything)
    alpha = 1.0 + (target / (basis.variance + penalty)) @ basis.coordinates(phi).T
    # The mean over all rows is one: a response stands for 1 / p(observed) readers.
    alpha = np.where(rated, alpha * (weight.sum() / counted.sum()), 0.0)
    # M(h) - mean_i alpha_i h_i = beta_h' (target - variance * target / (variance + penalty)) for h = beta_h' phi.
    left = np.linalg.norm(target * penalty / (basis.variance + penalty), axis=1)
    return BalancingWeights(alpha, np.column_stack([left, np.linalg.norm(target, axis=1)]), penalty)


@dataclass(frozen=True, eq=False)
class _Features:
    """Features of pairs of text and reader: each alone, and their products; each block has total variance one."""

    center: Float64
    axes: Float64
    squares: tuple[Float64, float]
    readers: ReaderFeatures
    leading: int

    @classmethod
    def of(cls, x: Array, w: Array, weight: Float64) -> Self:
        x = np.asarray(x, dtype=np.float64)
        share = weight / weight.sum()
        center = share @ x
        scaled = (x - center) * np.sqrt(share)[:, None]
        _, singular, transposed = np.linalg.svd(scaled, full_matrices=False)
        # The embedding's own scale is kept: directions in which texts differ most are penalised least.
        real = singular > 1e-6 * singular.max(initial=0.0)
        total = float(np.sqrt(np.sum(singular[real] ** 2))) or 1.0
        axes = transposed[real].T / total
        squares = _squares((x - center) @ axes)
        of_squares = share @ squares
        spread = float(np.sqrt(np.sum(share @ (squares - of_squares) ** 2))) or 1.0
        readers = ReaderFeatures.candidates(w, weight)[-1]
        count = readers.transform(w[:1]).shape[1]
        leading = min(int(real.sum()), max(MOST_PRODUCTS // count, 1)) if count else 0
        return cls(center, axes, (of_squares, spread), readers, leading)

    def text(self, x: Array) -> Float64:
        """Principal components of the embedding, and products of these, shape [n, r], each of total variance one."""
        components = (np.asarray(x, dtype=np.float64) - self.center) @ self.axes
        of_squares, spread = self.squares
        return np.hstack([components, (_squares(components) - of_squares) / spread])

    def reader(self, w: Array) -> Float64:
        """Covariates with squares and products, shape [n, p], of total variance one."""
        features = self.readers.transform(w)
        return np.asarray(features / np.sqrt(max(features.shape[1], 1)))

    def products(self, text: Float64, reader: Float64) -> Float64:
        """Features of pairs, shape [n, number of features]; for means of independent texts and readers their mean."""
        products = text[:, : self.leading, None] * reader[:, None, :]
        return np.hstack([text, reader, products.reshape(len(text), -1)])


def _squares(components: Float64) -> Float64:
    """Squares and products of the leading components, shape [n, number of pairs]."""
    first, second = np.triu_indices(min(components.shape[1], MOST_SQUARED))
    return np.asarray(components[:, first] * components[:, second])


def _moment(features: _Features, text: Float64, policy: PolicyTexts, reader: Float64, weight: Float64) -> Float64:
    """Mean of phi over a policy's texts and their readers, these weighted by ``weight`` [n]."""
    if policy.row is None:
        of_readers = weight @ reader / weight.sum()
        # Texts and readers are crossed, so that the mean of a product is the product of the means.
        return np.asarray(features.products((policy.share @ text)[None], of_readers[None])[0])
    share = policy.share * weight[policy.row]
    if share.sum() <= 0:
        return np.full(features.products(text[:1], reader[:1]).shape[1], np.nan)
    return np.asarray((share / share.sum()) @ features.products(text, reader[policy.row]))


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
        scaled = (phi - center) * np.sqrt(share)[:, None]
        # Of the products by rows or by columns the smaller matrix; directions without variance have no weight either.
        if len(phi) < phi.shape[1]:
            variance, left = np.linalg.eigh(scaled @ scaled.T)
            kept = variance > 1e-12 * variance.max(initial=0.0)
            axes = scaled.T @ (left[:, kept] / np.sqrt(variance[kept]))
        else:
            variance, axes = np.linalg.eigh(scaled.T @ scaled)
            kept = variance > 1e-12 * variance.max(initial=0.0)
            axes = axes[:, kept]
        return cls(center, axes, variance[kept])

    def coordinates(self, phi: Float64) -> Float64:
        return np.asarray((phi - self.center) @ self.axes)


def _held_out_loss(
    basis: _Basis, moments: Float64, phi: Float64, weight: Float64, held_out_moments: Float64
) -> Float64:
    """Riesz loss on held-out rows of the first policy minus the last one, for every penalty."""
    signs = np.zeros(len(moments))
    signs[0] = 1.0
    if len(moments) > 1:
        signs[-1] = -1.0
    if not np.isfinite(moments).all() or not np.isfinite(held_out_moments).all():
        return np.zeros(len(PENALTIES))  # a policy has no text in the contexts of these rows
    share = weight / weight.sum()
    target, held_out = (signs @ basis.coordinates(part) for part in (moments, held_out_moments))
    beta = target[:, None] / (basis.variance[:, None] + PENALTIES)
    alpha = basis.coordinates(phi) @ beta
    return np.asarray(share @ alpha**2 - 2 * held_out @ beta)
