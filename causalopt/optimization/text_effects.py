"""The part of a residual that is specific to the text and not explained by its features, as a random effect."""

from __future__ import annotations

import numpy as np

from causalopt.typing import Float64, Int64

ROUNDING = 1e-12
"""Weight of all pairs, relative to that of all rows, below which a sum over pairs is rounding error."""
PRIOR_PAIRS = 100.0
"""Number of pairs of rows of one text at which their estimate and the prior share have equal weight."""
PRIOR_SHARE = 0.25
"""Share of the residual that is kept if no text has two rows, so that text effects cannot be told from noise."""


def with_text_effects(regression: Float64, residual: Float64, weight: Float64, text: Int64) -> Float64:
    """Add to a regression of the residual the effect of each text that the regression misses.

    With e = residual - regression, and h_t and e_t the means of regression and e over the rows of a text, the result
    for the text is h_t + k_t e_t, with k_t from `between_text_share`. An importance ratio depends on the text alone, so
    that k = 1 corrects an objective exactly like the residuals themselves, and k = 0 like the regression.

    Parameters
    ----------
    regression, residual, weight:
        Shape [n]; the first two in outcome units, ``weight`` the exposure of each row.
    text:
        Integer code of each row's text (with its prompt), shape [n].

    Returns
    -------
    Float64
        Shape [n], outcome units, equal for all rows of a text with positive exposure; other texts keep the regression.

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.optimization.text_effects import with_text_effects
    >>> text = np.repeat(np.arange(100), 20)
    >>> effect = np.random.default_rng(0).normal(size=100)[text]
    >>> residual = effect + np.random.default_rng(1).normal(size=2000)
    >>> found = with_text_effects(np.zeros(2000), residual, np.ones(2000), text)
    >>> bool(np.std(found - effect) < 0.3)
    True
    """
    # h_t + k_t e_t, as a mean over the rows of the text: k_t is the same for all of them.
    left = residual - regression
    share = between_text_share(left, weight, text)
    codes = np.unique(text, return_inverse=True)[1]
    exposure = np.bincount(codes, weights=weight)
    known = (exposure > 0)[codes]
    kept = np.bincount(codes, weights=weight * (regression + share * left)) / np.where(exposure > 0, exposure, 1.0)
    return np.where(known, kept[codes], regression)


def between_text_share(left: Float64, weight: Float64, text: Int64) -> Float64:
    """Share k_t of a text's mean residual that is attributed to the text, between 0 and 1, shape [n].

    The variance between texts is estimated from products of different rows of one text (the method of moments),

        tau^2 = (sum of a_i a_j e_i e_j over pairs i, j of one text) / (sum of a_i a_j over the same pairs),

    whose mean is zero if e does not depend on the text, even if its noise varies from row to row. The best linear
    unbiased predictor of a text's effect is then k_t e_t with

        k_t = tau^2 / (tau^2 + sigma^2 / n_t),

    with n_t the exposure of the text, where a row of the largest weight counts as 1, and sigma^2 the rest of the
    variance (Robinson 1991, "That BLUP is a good thing", section 5.2). It tends to 1 as the number of rows of a text
    grows, which keeps the objective doubly robust if the regression cannot detect the effect.

    If texts are not repeated, the variance between them cannot be distinguished from noise. With credibility
    P / (P + 100) for P pairs of rows of one text, k then tends to a quarter: this keeps the direction of effects that
    no feature of the text shows, at a sixteenth of the residuals' variance.

    Parameters
    ----------
    left:
        Residuals of the regression, shape [n], outcome units.
    weight, text:
        See `with_text_effects`.

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.optimization.text_effects import between_text_share
    >>> noise = np.random.default_rng(0).normal(size=2000)
    >>> float(between_text_share(noise, np.ones(2000), np.arange(2000)).max())  # no text repeats
    0.25
    >>> bool(between_text_share(noise + np.arange(2000) % 50, np.ones(2000), np.arange(2000) % 50).min() > 0.95)
    True
    """
    nothing = np.full(len(left), PRIOR_SHARE)
    scale = float(np.abs(left[weight > 0]).max(initial=0.0))
    if scale == 0:
        return nothing
    codes = np.unique(text, return_inverse=True)[1]
    exposure = weight / weight.max()
    scaled = left / scale
    repeated = np.bincount(codes, weights=weight > 0) > 1

    def over_pairs(values: Float64) -> float:
        """Sum, over ordered pairs of different rows of one text, the product of their values."""
        # sum_{i != j} v_i v_j = (sum_i v_i)^2 - sum_i v_i^2
        sums, squares = np.bincount(codes, weights=values), np.bincount(codes, weights=values**2)
        return float((sums**2 - squares)[repeated].sum())

    pairs = over_pairs(exposure)
    if pairs <= ROUNDING * float(exposure @ exposure):
        return nothing
    between = max(over_pairs(exposure * scaled) / pairs, 0.0)
    within = max(float(np.average(scaled**2, weights=weight)) - between, 0.0)
    rows = np.bincount(codes, weights=exposure)[codes]
    predictor = between * rows / np.maximum(between * rows + within, np.finfo(np.float64).tiny)
    # Kish's effective number of pairs of different rows; each pair is counted twice above.
    effective = 0.5 * pairs**2 / over_pairs(exposure**2)
    credibility = effective / (effective + PRIOR_PAIRS)
    return np.asarray(credibility * predictor + (1 - credibility) * PRIOR_SHARE)
