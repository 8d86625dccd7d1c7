"""What of a residual belongs to the text itself and to no feature of it: a random effect of the text."""

from __future__ import annotations

import numpy as np

from causalopt.typing import Float64, Int64

NOISE = 2.0
"""Standard errors of the between-text variance that weigh as much as the variance itself."""
EVIDENT = 3.0
"""Standard errors of it from which the effects of texts count as one correction rather than as many guesses."""
PRIOR_PAIRS = 100.0
"""Pairs of rows of one text that tell as much of the between-text variance as is assumed without any."""
PRIOR_SHARE = 0.25
"""Share of the residual that is kept where no text has two rows, so that nothing tells text from noise."""


def with_text_effects(regression: Float64, residual: Float64, weight: Float64, text: Int64) -> Float64:
    """Add to a regression of the residual the effect of each text that the regression leaves.

    With e = residual - regression, h_t and e_t the means over the rows of a text, the text is given h_t + k_t e_t, with
    k_t from `between_text_share`. An importance ratio depends on the text alone, so that k = 1 corrects an objective
    exactly as the residuals themselves do, and k = 0 as the regression does.

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


def between_text_share(left: Float64, weight: Float64, text: Int64) -> Float64:
    """Share k_t of what a regression leaves of a text that is worth keeping, between 0 and 1, shape [n].

    The variance between texts is estimated from products of different rows of one text (the method of moments),

        tau^2 = sum_{i != j} a_i a_j e_i e_j / sum_{i != j} a_i a_j,    i and j of one text,

    whose mean is zero where the text says nothing of e, however its noise varies from row to row. Its standard error
    there is sqrt(2 sum a_i^2 a_j^2 e_i^2 e_j^2) over the same denominator; t = tau^2 / standard error is the score test
    of a variance component.

    Two factors are right for two ends. To guess the effect of one text, the best linear unbiased predictor takes
    tau^2 / (tau^2 + sigma^2 / n_t), with n_t the text's rows and sigma^2 the rest of the variance. A policy averages
    over many texts, and where these clearly differ its correction should hardly be shrunk: t / (t + 2). Evidence
    t^2 / (t^2 + 9) leads from the former to the latter. Where nothing is left both tend to zero.

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
    scaled = exposure * left / scale

    def over_pairs(values: Float64) -> float:
        """Sum over ordered pairs of different rows of one text of the product of their values."""
        sums, squares = np.bincount(codes, weights=values), np.bincount(codes, weights=values**2)
        repeated = np.bincount(codes) > 1
        return float((sums**2 - squares)[repeated].sum())

    products, spread = over_pairs(scaled), max(over_pairs(scaled**2), 0.0)
    if spread == 0:
        return nothing
    t = max(products / np.sqrt(2 * spread), 0.0)
    between = max(products / over_pairs(exposure), 0.0)
    total = float(np.average((left / scale) ** 2, weights=weight))
    rows = np.bincount(codes, weights=exposure)[codes]
    predictor = between * rows / (between * rows + max(total - between, 1e-12 * total))
    evidence = t**2 / (t**2 + EVIDENT**2)
    pairs = 0.5 * over_pairs(exposure) ** 2 / over_pairs(exposure**2)
    credibility = pairs / (pairs + PRIOR_PAIRS)
    found = evidence * t / (t + NOISE) + (1 - evidence) * predictor
    return np.asarray(credibility * found + (1 - credibility) * PRIOR_SHARE)
