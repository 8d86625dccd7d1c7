"""The second stage of the DR-learner: the part of the residual that the text predicts."""

from __future__ import annotations

from typing import Any

import numpy as np

from causalopt.arrays import as_embeddings
from causalopt.errors import DataError, ModelError
from causalopt.nuisance import models
from causalopt.nuisance.rows import Rows
from causalopt.optimization.text_effects import with_text_effects
from causalopt.typing import Embeddings, Float64, Int64

RIDGE_TEXT = "ridge-text"
"""A ridge regression on the embedding, and a random effect of each text for effects that the embedding misses."""


def check_second_stage(model: Any) -> None:
    """Raise the error of `expected_residual` for a model that cannot be created.

    Examples
    --------
    >>> from causalopt.optimization.second_stage import check_second_stage
    >>> check_second_stage("ridge-text")
    """
    if model != RIDGE_TEXT:
        models.outcome_model(model)


def expected_residual(
    x: Embeddings, residual: Float64, weight: Float64, fold: Int64, text: Int64, model: Any = RIDGE_TEXT
) -> Float64:
    """E[residual | text] of each row.

    An importance ratio depends on the text alone, so E[rho(x) r] = E[rho(x) E[r | x]]: a correction by this expectation
    has the same mean as one by the residuals r = s (y - m) themselves, without the part of their noise that the text
    does not predict. A regression on the embedding, with penalties chosen by held-out loss, is nearly constant if the
    outcome model is right, and otherwise recovers its error. It is fitted without the rows of the fold that it
    predicts.

    Such a regression does not correct effects that the embedding misses or that it shrinks, and the objective is then
    no longer doubly robust. ``ridge-text`` therefore adds the best linear unbiased predictor of each text's effect on
    the ridge residuals. It is close to their mean if texts with many rows show that variance between texts remains,
    close to 0 if they show that none remains, and a quarter of the mean if no text is repeated, since the two cannot be
    distinguished then (`causalopt.optimization.text_effects`). A text's effect is estimated from its own rows, like the
    residual that it replaces.

    This is the second-stage regression of Kennedy, Ma, McHugh and Small (2017, section 3), and of the DR-learner
    (Kennedy 2023, "Towards optimal doubly robust estimation of heterogeneous causal effects", algorithm 1), for the
    residual xi - g in place of the pseudo-outcome xi. As usual in this method, the residuals of other folds come from
    nuisances that may have been fitted on the row; the second stage itself is not.

    Parameters
    ----------
    x:
        Embeddings, shape [n, d].
    residual:
        s (y - m) of cross-fitted nuisances, shape [n], outcome units.
    weight:
        Exposure of each row, shape [n].
    fold:
        Label of the fold of each row, shape [n].
    text:
        Integer code of each row's text (with its prompt, if there are prompts), shape [n].
    model:
        ``ridge-text``; or an outcome model of embeddings, whose regression is then used alone: a registered name, a
        mapping with a name and settings, or an object. It uses no covariates.

    Returns
    -------
    Float64
        Shape [n], outcome units.

    Raises
    ------
    DataError
        If the other folds have no weight, or ``text`` has another length.
    ModelError
        If the model predicts values that are not finite.

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.optimization.second_stage import expected_residual
    >>> rng = np.random.default_rng(0)
    >>> x, fold = rng.normal(size=(500, 2)), np.arange(500) % 5
    >>> left_over = x[:, 0] + rng.normal(size=500)
    >>> expected = expected_residual(x, left_over, np.ones(500), fold, np.arange(500), "ridge")
    >>> bool(np.corrcoef(expected, x[:, 0])[0, 1] > 0.95)
    True
    """
    if len(text) != len(residual):
        raise DataError(f"text has {len(text)} codes for {len(residual)} residuals")
    if model == RIDGE_TEXT:
        return with_text_effects(_regression(x, residual, weight, fold, text, "ridge"), residual, weight, text)
    return _regression(x, residual, weight, fold, text, model)


def _regression(x: Embeddings, residual: Float64, weight: Float64, fold: Int64, text: Int64, model: Any) -> Float64:
    """Predict each fold's residuals by a model fitted on the other folds, shape [n]."""
    x = as_embeddings("x", x)
    no_covariates = np.zeros((len(x), 0))
    expected = np.empty(len(x))
    for k in np.unique(fold):
        out = fold == k
        if not weight[~out].sum() > 0:
            raise DataError(f"fold {k} has no row with weight outside it, so its residuals cannot be predicted")
        fitted = models.fit_outcome(
            model,
            Rows.of(x[~out], no_covariates[~out], residual[~out], weight[~out], text_id=text[~out]),
        )
        expected[out] = models.predict(fitted, x[out], no_covariates[out], text[out])
    if not np.isfinite(expected).all():
        raise ModelError(
            f"second stage {models.name_of(model)} predicted {int((~np.isfinite(expected)).sum())} values that are not "
            "finite"
        )
    return expected
