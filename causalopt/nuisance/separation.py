"""Signs that stabilized weights cannot be right: texts and readers that give each other away, a mean far from one."""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from causalopt.errors import OverlapWarning
from causalopt.nuisance.fitted import distinct
from causalopt.nuisance.ridge import RidgeOutcome
from causalopt.typing import Array, Float64, Int64

MOST_TEXTS = 50
"""Texts up to which each can be compared with the readers that it was shown to."""
FEWEST_ROWS = 20
"""Rows that a text needs for that."""
SEPARATED = 0.99
"""Area under the curve from which a text counts as given away by the reader."""
GIVEN_AWAY = 0.99
"""Held-out R^2 of a covariate on the text from which the text counts as giving the reader away."""
FOLDS = 3
TOLERANCE, ERRORS = 0.25, 4.0
"""The mean weight may miss one by a quarter, and by four standard errors, which skewed weights understate."""


def warn_if_separated(x: Array, w: Array) -> None:
    """Look for texts whose readers a logistic regression knows by their covariates; for at most 50 distinct texts.

    Warns
    -----
    OverlapWarning
        With the number of such texts and the largest area under the curve.
    """
    text = distinct(x)[1]
    counts = np.bincount(text)
    if w.shape[1] == 0 or not 2 <= len(counts) <= MOST_TEXTS or np.ptp(w, axis=0).max() == 0:
        return
    areas = [_area(w, text == k) for k in np.flatnonzero(np.minimum(counts, len(text) - counts) >= FEWEST_ROWS)]
    given_away = [area for area in areas if area > SEPARATED]
    if given_away:
        warnings.warn(
            f"the covariates tell who was shown {len(given_away)} of the {len(counts)} texts (area under the curve "
            f"{max(given_away):.3f}): other readers never see them, no weight can make up for that, and every value "
            "of these texts is an extrapolation of the outcome model",
            OverlapWarning,
            stacklevel=3,
        )


def warn_if_text_gives_reader_away(x: Array, w: Array, weight: Float64) -> None:
    """Predict each covariate of the reader from texts that the regression did not see.

    Warns
    -----
    OverlapWarning
        With the number of covariates that the text determines and the largest held-out R^2.
    """
    if w.shape[1] == 0:
        return
    explained = [_held_out_r2(x, column, weight) for column in w.T]
    determined = [share for share in explained if share > GIVEN_AWAY]
    if determined:
        warnings.warn(
            f"the text determines {len(determined)} of the {w.shape[1]} encoded covariates of its reader (held-out R^2 "
            f"{max(determined):.3f}): no text is seen by readers of other kinds, weights cannot make up for that, and "
            "every value is an extrapolation of the outcome model",
            OverlapWarning,
            stacklevel=3,
        )


def warn_if_mean_is_not_one(s: Float64, weight: Float64, group: Int64) -> None:
    """Compare the mean held-out weight with one, which it is for the right weights: E[p(x) / p(x | w)] = 1.

    Warns
    -----
    OverlapWarning
        With the mean and its standard error, clustered by group.
    """
    share = weight / weight.mean()
    mean = float(np.mean(share * s))
    by_group = np.bincount(np.unique(group, return_inverse=True)[1], weights=share * (s - mean))
    error = float(np.sqrt(np.sum(by_group**2))) / len(s)
    if abs(mean - 1) > max(TOLERANCE, ERRORS * error):
        warnings.warn(
            f"the mean of the stabilized weights is {mean:.2f} (standard error {error:.2g}) and would be 1 if they "
            "were right: the assignment model does not describe who reads what, or some readers never see some of the "
            "texts",
            OverlapWarning,
            stacklevel=3,
        )


def _held_out_r2(x: Array, covariate: Array, weight: Float64) -> float:
    none = np.zeros((len(x), 0))
    held_out = RidgeOutcome().fit(x, none, covariate, weight).held_out_
    spread = float(np.average((covariate - np.average(covariate, weights=weight)) ** 2, weights=weight))
    return 1 - float(np.average((covariate - held_out) ** 2, weights=weight)) / spread if spread > 0 else 0.0


def _area(w: Array, shown: Array) -> float:
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=200))
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    score = cross_val_predict(model, w, shown, cv=folds, method="decision_function")
    return float(roc_auc_score(shown, score))
