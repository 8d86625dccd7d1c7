"""The second stage of the DR-learner: what of a residual the text predicts."""

from __future__ import annotations

from typing import Any

import numpy as np

from causalopt.errors import DataError, ModelError
from causalopt.nuisance import models
from causalopt.typing import Array, Float64, Int64


def expected_residual(x: Array, residual: Float64, weight: Float64, fold: Int64, model: Any = "ridge") -> Float64:
    """E[residual | x_i] of each row, by a regression on the text that saw no row of its fold.

    An importance ratio depends on the text alone, so E[rho(x) r] = E[rho(x) E[r | x]]: a correction by this regression
    has the same expectation as one by the residuals r = s (y - m) themselves, without the part of their noise that no
    text predicts. With penalties chosen by held-out loss it is nearly constant where the outcome model has left
    nothing, and keeps what it got wrong. What the regression cannot represent, or shrinks, stays uncorrected.

    This is the second-stage regression of Kennedy, Ma, McHugh and Small (2017, section 3), and of the DR-learner
    (Kennedy 2023, "Towards optimal doubly robust estimation of heterogeneous causal effects", algorithm 1), for the
    residual xi - g in place of the pseudo-outcome xi. As is usual there, the residuals of other folds come from
    nuisances that may have seen the row; the second stage itself never does.

    Parameters
    ----------
    x:
        Embeddings, shape [n, d].
    residual:
        s (y - m) of cross-fitted nuisances, shape [n], outcome units.
    weight:
        Exposure of each row, shape [n].
    fold:
        Label of the fold of each row, shape [n]; all rows of a text in one.
    model:
        An outcome model of embeddings: a registered name, a mapping with a name and settings, or an object. It sees no
        covariates.

    Returns
    -------
    Float64
        Shape [n], outcome units.

    Raises
    ------
    DataError
        When no other fold has any weight to learn from.
    ModelError
        When the model predicts what is not finite.

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.nuisance.second_stage import expected_residual
    >>> rng = np.random.default_rng(0)
    >>> x, fold = rng.normal(size=(500, 2)), np.arange(500) % 5
    >>> left_over = x[:, 0] + rng.normal(size=500)
    >>> expected = expected_residual(x, left_over, np.ones(500), fold)
    >>> bool(np.corrcoef(expected, x[:, 0])[0, 1] > 0.95)
    True
    """
    x = np.asarray(x, dtype=np.float64)
    no_covariates = np.zeros((len(x), 0))
    expected = np.empty(len(x))
    for k in np.unique(fold):
        out = fold == k
        if not weight[~out].sum() > 0:
            raise DataError(f"fold {k} has no row with weight outside it, from which its residuals could be predicted")
        fitted = models.outcome_model(model).fit(x[~out], no_covariates[~out], residual[~out], weight[~out])
        expected[out] = fitted.predict(x[out], no_covariates[out])
    if not np.isfinite(expected).all():
        raise ModelError(
            f"second stage {models.name_of(model)} predicted {int((~np.isfinite(expected)).sum())} values that are not "
            "finite"
        )
    return expected
