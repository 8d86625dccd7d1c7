"""What of a residual belongs to the text itself and to no feature of it: a random effect of the text."""

from __future__ import annotations

import numpy as np

from causalopt.typing import Float64, Int64

NOISE = 2.0
"""Standard errors of the between-text variance that weigh as much as the variance itself."""
PRIOR_PAIRS = 100.0
"""Pairs of rows of one text that tell as much of the between-text variance as is assumed without any."""
PRIOR_SHARE = 0.25
"""Share of the residual that is kept where no text has two rows, so that nothing tells text from noise."""


def with_text_effects(regression: Float64, residual: Float64, weight: Float64, text: Int64) -> Float64:
    """Add to a regression of the residual the effect of each text that the regression leaves.

    With e = residual - regression, h_t and e_t the means over the rows of a text, the text is given h_t + k e_t. An
    importance ratio depends on the text alone, so that k = 1 corrects an objective exactly as the residuals themselves
    do, and k = 0 as the regression does. k is one number for all texts, from `between_text_share`: a factor of a text's
    own, as in the best linear unbiased predictor, would be right for guessing the effect of that text, but shrinks the
    correction of a policy, which averages over many texts, by far more than the noise of that average calls for.

    Parameters
    ----------
    regression, residual, weight:
        Shape [n]; the first two in outcome units, ``weight`` the exposure of each row.
    text:
        Integer code of each row's text (with its prompt), shape [n].

    Returns
    -------
    Float64
        Shape [n], outcome units, the same for all rows of a text that have exposure; others keep the regression.

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.nuisance.text_effects import with_text_effects
    >>> text = np.repeat(np.arange(100), 20)
    >>> effect = np.random.default_rng(0).normal(size=100)[text]
    >>> residual = effect + np.random.default_rng(1).normal(size=2000)
    >>> found = with_text_effects(np.zeros(2000), residual, np.ones(2000), text)
    >>> bool(np.std(found - effect) < 0.3)
    True
    """
    left = residual - regression
    share = between_text_share(left, weight, text)
    codes = np.unique(text, return_inverse=True)[1]
    exposure = np.bincount(codes, weights=weight)
    known = (exposure > 0)[codes]
    kept = np.bincount(codes, weights=weight * (regression + share * left)) / np.where(exposure > 0, exposure, 1.0)
    return np.where(known, kept[codes], regression)


def between_text_share(left: Float64, weight: Float64, text: Int64) -> float:
    """Share k of what a regression leaves that is worth keeping, between 0 and 1.

    The variance between texts is estimated from products of different rows of one text (the method of moments),

        tau^2 = sum_{i != j} a_i a_j e_i e_j / sum_{i != j} a_i a_j,    i and j of one text,

    whose mean is zero where the text says nothing of e, however its noise varies from row to row. Its standard error
    there is sqrt(2 sum a_i^2 a_j^2 e_i^2 e_j^2) over the same denominator; t = tau^2 / standard error is the score test
    of a variance component. k = t / (t + 2) for t > 0, else 0: a few per cent of the noise come in where nothing is
    left, and k tends to 1 as rows grow in number where something is. That keeps the objective doubly robust
    where the regression cannot see the effect.

    Where texts do not repeat, the variance between them cannot be told from noise. By credibility P / (P + 100) for P
    pairs of rows of one text, k then tends to a quarter: it keeps the direction of what no feature of the text shows,
    at a sixteenth of the variance that the residuals themselves would bring in.

    Parameters
    ----------
    left:
        Residual less regression, shape [n], outcome units.
    weight, text:
        As in `with_text_effects`.

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.nuisance.text_effects import between_text_share
    >>> noise = np.random.default_rng(0).normal(size=2000)
    >>> between_text_share(noise, np.ones(2000), np.arange(2000))  # no text repeats
    0.25
    >>> between_text_share(noise + np.arange(2000) % 50, np.ones(2000), np.arange(2000) % 50) > 0.95
    True
    """
    scale = float(np.abs(left[weight > 0]).max(initial=0.0))
    if scale == 0:
        return PRIOR_SHARE
    codes = np.unique(text, return_inverse=True)[1]
    exposure = weight / weight.max()
    scaled = exposure * left / scale

    def over_pairs(values: Float64) -> float:
        """Sum over ordered pairs of different rows of one text of the product of their values."""
        sums, squares = np.bincount(codes, weights=values), np.bincount(codes, weights=values**2)
        repeated = np.bincount(codes) > 1
        return float((sums**2 - squares)[repeated].sum())

    products, spread = over_pairs(scaled), max(over_pairs(scaled**2), 0.0)
    if spread == 0:
        return PRIOR_SHARE
    t = max(products / np.sqrt(2 * spread), 0.0)
    pairs = 0.5 * over_pairs(exposure) ** 2 / over_pairs(exposure**2)
    credibility = pairs / (pairs + PRIOR_PAIRS)
    return float(credibility * t / (t + NOISE) + (1 - credibility) * PRIOR_SHARE)
