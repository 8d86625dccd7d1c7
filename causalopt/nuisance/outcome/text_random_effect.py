"""Regression on the embedding and the covariates with a random effect of each text, fitted by its likelihood."""

from __future__ import annotations

from typing import Self

import numpy as np
from sklearn.base import BaseEstimator

from causalopt.data.folds import text_ids
from causalopt.nuisance.outcome.mixed_model import MixedModel, TextSums
from causalopt.nuisance.outcome.ridge import BilinearDesign
from causalopt.typing import Array, Float64, Int64

READER_PENALTY = 1e-4
"""Penalty of the covariates, as a share of a row for each row: shrunk covariates would leave confounding."""


class TextRandomEffectOutcome(BaseEstimator):  # type: ignore[misc]
    """E[Y | x, w] by ridge regression on text, covariates and their products, plus a random effect of each text.

    The effect of a text is what the texts' embedding does not explain of the mean response to it:

        y_i = b0 + u_i'b_u + v_i'b_v + (u_i (x) v_i)'b_p + e_t(i) + noise / sqrt(exposure_i),

    with coordinates u of the embedding, standardised covariates v, and normal b_u, b_p, e and noise. Predictions are
    posterior means (Robinson 1991). The variances of b_u and b_p are estimated by restricted maximum likelihood
    (empirical Bayes); that of e, which few texts hardly determine, is integrated over (`MixedModel`). A text with many
    rows is thus judged by these, one with few by texts of similar embedding, and a new text by its embedding alone.

    It is meant for a few texts that were each read often, above all for adaptive logs whose propensities were not
    recorded. The allocation does not enter the likelihood: if each text was chosen by earlier outcomes and covariates
    (and randomness), the probability of the choices is a factor that does not depend on the coefficients and effects,
    so that the posterior given all rows is the same as if the texts had been chosen in advance (Rubin 1976). This holds
    for a fit on all rows, or on all rows up to a time; in cross-fitting the choices of the training rows depend on
    outcomes of rows that are held out, and it holds approximately. The price is the model: effects of texts that are
    exchangeable given the embedding, and covariates that act linearly.

    Texts are known by their ids. Without ids, rows of equal embedding are one text in `fit`, and every text is new
    elsewhere.

    Parameters
    ----------
    products:
        Largest number of products of text and covariates; 0 for an additive model.

    Attributes
    ----------
    noise_variance_:
        Variance of the outcome of a row of mean exposure given its text and reader, squared outcome units: the
        posterior mean, like the next one.
    text_variance_:
        Variance of the effects of texts, squared outcome units; 0 if no text has two rows, so that effects cannot be
        told from noise.

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.nuisance.outcome.text_random_effect import TextRandomEffectOutcome
    >>> rng = np.random.default_rng(0)
    >>> text = np.repeat(np.arange(20), 30)
    >>> effect, w = rng.normal(size=20), rng.normal(size=(600, 1))
    >>> y = 5 + effect[text] + 2 * w[:, 0] + rng.normal(size=600)
    >>> nothing = np.zeros((600, 1))  # an embedding that shows nothing of the texts
    >>> model = TextRandomEffectOutcome().fit(nothing, w, y, np.ones(600), text)
    >>> g = model.marginal(nothing[:20], w, np.ones(600), np.arange(20))
    >>> bool(np.corrcoef(g, effect)[0, 1] > 0.95)
    True

    The posterior of the value of a policy that shows the first two texts alike:

    >>> mean, covariance = model.posterior(nothing[:2], w, np.ones(600), np.arange(2))
    >>> share = np.array([0.5, 0.5])
    >>> bool(abs(share @ mean - g[:2].mean()) < 1e-12), bool(0.1 < (share @ covariance @ share) ** 0.5 < 0.2)
    (True, True)
    """

    takes_float32 = True

    def __init__(self, products: int = 64) -> None:
        self.products = products

    def fit(self, x: Array, w: Array, y: Float64, weight: Float64, text_id: Int64 | None = None) -> Self:
        self.texts_, text = np.unique(text_ids(x, text_id), return_inverse=True)
        share = weight / weight[weight > 0].mean()
        self.center_ = float(np.average(y, weights=share))
        self.scale_ = float(np.sqrt(np.average((y - self.center_) ** 2, weights=share)))
        design = BilinearDesign.of(x, w, weight, self.products)
        sums = TextSums.of(design.matrix(x, w), (y - self.center_) / (self.scale_ or 1.0), share, text.reshape(-1))
        of_text = np.bincount(text.reshape(-1), weights=weight > 0)
        repeated = self.scale_ > 0 and of_text.max() > 1 and np.count_nonzero(of_text) > 1
        # A coefficient's variance is in proportion to the variance of the embedding along it: a ridge on the raw
        # embedding. Its prior is then the same whatever the texts were shown how often; whitened coordinates depend on
        # that, and with them the choices would enter the prior.
        block = design.block
        parts = [block == k for k in (0, 2) if (block == k).any()]
        random = np.array(parts, dtype=np.float64).reshape(len(parts), len(block)) * design.variance
        fixed = np.where(block == 1, 1 / (READER_PENALTY * share.sum()), 0.0)
        self.model_ = MixedModel.fit(sums, random, fixed, bool(repeated))
        self.function_ = design.function(self.model_.coefficients)
        self.noise_variance_ = self.scale_**2 * self.model_.noise
        self.text_variance_ = self.scale_**2 * self.model_.between
        return self

    def predict(self, x: Array, w: Array, text_id: Int64 | None = None) -> Float64:
        return self._in_outcome_units(self.function_.predict(x, w) + self._effect(text_id))

    def marginal(
        self, x: Array, w_reference: Array, weight_reference: Float64, text_id: Int64 | None = None
    ) -> Float64:
        return self._in_outcome_units(self.function_.marginal(x, w_reference, weight_reference) + self._effect(text_id))

    def reader_response(self, x_draws: Array, w: Array, text_id: Int64 | None = None) -> Float64:
        """Mean over texts of m(x_j, w_i), exact, shape [n]."""
        effect = float(np.mean(self._effect(text_id)))
        return self._in_outcome_units(self.function_.reader_response(x_draws, w) + effect)

    def posterior(
        self, x: Array, w_reference: Array, weight_reference: Float64, text_id: Int64
    ) -> tuple[Float64, Float64]:
        """Posterior of g of k texts: its mean, as `marginal`, and its covariance.

        The covariance includes that of the variance between texts, not of the other variances, and is for these very
        readers.

        Parameters
        ----------
        x, text_id:
            Embeddings [k, d] and numbers [k] of the texts; a number that was not fitted is a new text.
        w_reference, weight_reference:
            Covariates [r, p] and exposures [r] of the readers that are averaged over.

        Returns
        -------
        mean, covariance:
            Shapes [k] and [k, k]; outcome units, and these squared.
        """
        # m is linear in w: its mean over readers is m at their mean.
        reader = np.average(np.asarray(w_reference, dtype=np.float64), axis=0, weights=weight_reference)
        z = self.function_.design.matrix(x, np.tile(reader, (len(x), 1)))
        covariance = self.scale_**2 * self.model_.covariance(z, self._number(text_id))
        return self.marginal(x, w_reference, weight_reference, text_id), covariance

    def _in_outcome_units(self, standard: Float64) -> Float64:
        return self.center_ + self.scale_ * standard

    def _number(self, text_id: Int64) -> Int64:
        """Position of each text among those that were fitted; -1 for a new one."""
        at = np.minimum(np.searchsorted(self.texts_, text_id), len(self.texts_) - 1)
        return np.where(self.texts_[at] == text_id, at, -1)

    def _effect(self, text_id: Int64 | None) -> Float64 | float:
        if text_id is None:
            return 0.0
        number = self._number(text_id)
        return np.where(number >= 0, self.model_.effect[number], 0.0)
