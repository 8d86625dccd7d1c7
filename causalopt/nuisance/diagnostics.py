"""Diagnostics of the nuisances: held-out losses, and signs that stabilized weights cannot be correct."""

from __future__ import annotations

import warnings
from itertools import combinations

import numpy as np
from scipy.stats import rankdata
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from causalopt.errors import OverlapWarning
from causalopt.nuisance.outcome.ridge import held_out_fits
from causalopt.typing import Array, Float64, Int64

REASSIGNED = 10
"""Number of random reassignments of readers to texts that score an assignment model."""


def squared_loss(y: Float64, m: Float64, weight: Float64) -> float:
    """Weighted mean of (y - m)^2, squared outcome units; nan if no row has a weight, as in a fold without outcomes."""
    if not weight.sum() > 0:
        return float("nan")
    return float(np.average((y - m) ** 2, weights=weight))


def discrimination_loss(
    log_s: Float64, log_s_reassigned: Float64, weight: Float64, weight_reassigned: Float64
) -> float:
    """Logistic loss of classifying real (text, reader) pairs against randomly reassigned pairs, nats.

    The log-odds that a pair is real are -log s. The loss is smallest for the true s (it is a proper scoring rule) and
    log 2 for s = 1, whatever model s comes from. If no two rows of positive weight can exchange readers, the rows carry
    no information about s, and the loss is log 2.

    Parameters
    ----------
    log_s, weight:
        Log-weights and exposures of held-out rows, shape [n].
    log_s_reassigned, weight_reassigned:
        The same for held-out texts with the readers of other held-out rows, shape [k].

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.nuisance.diagnostics import discrimination_loss
    >>> loss = discrimination_loss(np.zeros(3), np.zeros(5), np.ones(3), np.ones(5))
    >>> bool(np.isclose(loss, np.log(2)))
    True
    """
    if weight_reassigned.sum() <= 0:
        return float(np.log(2))
    real = np.average(np.logaddexp(0, log_s), weights=weight)
    reassigned = np.average(np.logaddexp(0, -log_s_reassigned), weights=weight_reassigned)
    return float((real + reassigned) / 2)


def reassigned_pairs(
    n: int, rng: np.random.Generator, repeats: int = REASSIGNED, prompt_id: Int64 | None = None
) -> tuple[Int64, Int64]:
    """Positions of texts and of the readers reassigned to them, never a text's own, shape [n * repeats].

    Each reassignment shifts a random order of the rows, so that every text and every reader occurs equally often.

    Parameters
    ----------
    n:
        Number of rows.
    rng:
        Generator of the random orders and shifts.
    repeats:
        Number of readers for each text; without prompts at most the number of other rows.
    prompt_id:
        Labels [n] of the prompts: a text gets readers of its own prompt, since readers choose their prompts, and
        differences between prompts are not due to assignment. Rows with unique prompts exchange readers among each
        other.
    """
    order = rng.permutation(n)
    if prompt_id is None:
        return _shifted(order, rng.permutation(np.arange(1, n))[:repeats])
    prompt, counts = np.unique(prompt_id, return_inverse=True, return_counts=True)[1:]
    prompt[counts[prompt] == 1] = len(counts)
    pairs = []
    for label in np.unique(prompt):
        rows = order[prompt[order] == label]
        if len(rows) > 1:  # with few rows, shifts are reused, since each row counts once in the margins
            pairs.append(_shifted(rows, np.resize(rng.permutation(np.arange(1, len(rows))), repeats)))
    if not pairs:
        return order[:0], order[:0]
    return np.concatenate([texts for texts, _ in pairs]), np.concatenate([readers for _, readers in pairs])


def _shifted(order: Int64, shifts: Int64) -> tuple[Int64, Int64]:
    if len(shifts) == 0:
        return order[:0], order[:0]
    return np.tile(order, len(shifts)), np.concatenate([np.roll(order, int(shift)) for shift in shifts])


MOST_TEXTS = 50
"""Largest number of texts for which the readers of every two are compared."""
FEWEST_ROWS = 20
"""Rows that a text needs for this comparison; rarer texts are pooled into one."""
SEPARATED = 0.99
"""Area under the curve at or above which the readers of two texts count as separated."""
GIVEN_AWAY = 0.99
"""Held-out R^2 of a covariate given the text at or above which the text counts as determining it."""
FOLDS = 3
THIN = 10.0
"""Smallest effective number of rows (or half of the rows, if there are few)."""
TOLERANCE, ERRORS = 0.1, 4.0
"""The mean weight may differ from one by a tenth, due to estimation, and by four standard errors."""


def warn_if_separated(text_id: Int64, w: Array, prompt_id: Int64 | None = None) -> None:
    """Look for two texts whose readers a multinomial logistic regression separates; for at most 50 distinct texts.

    Every two texts (of one prompt, if there are prompts) are compared, so that sets of texts with readers of their
    own are found as well as single texts.

    Warns
    -----
    OverlapWarning
        With the number of texts whose readers are separated from another text's, and the largest area under the curve.
    """
    text = np.unique(text_id, return_inverse=True)[1]
    counts = np.bincount(text)
    if w.shape[1] == 0 or not 2 <= len(counts) <= MOST_TEXTS or np.ptp(w, axis=0).max() == 0:
        return
    label = np.where(counts[text] >= FEWEST_ROWS, text, len(counts))
    label[np.bincount(label)[label] < FEWEST_ROWS] = -1
    compared = label >= 0
    if len(np.unique(label[compared])) < 2:
        return
    areas = _areas(w[compared], label[compared])
    if prompt_id is not None:  # the readers of different prompts may differ
        of_text = dict(zip(text.tolist(), prompt_id.tolist(), strict=True))
        areas = {(j, k): area for (j, k), area in areas.items() if j in of_text and of_text[j] == of_text.get(k)}
    apart = {pair: area for pair, area in areas.items() if area > SEPARATED}
    if apart:
        texts = {one for pair in apart for one in pair if one < len(counts)}
        warnings.warn(
            f"the covariates tell the readers of {len(texts)} of the {len(counts)} texts from those of another text "
            f"(area under the curve {max(apart.values()):.3f} in {len(apart)} of {len(areas)} pairs): other readers "
            "never see them, no weight can make up for that, and every value of these texts is an extrapolation of the "
            "outcome model",
            OverlapWarning,
            stacklevel=3,
        )


def warn_if_text_gives_reader_away(x: Array, w: Array, weight: Float64, text_id: Int64) -> None:
    """Predict each covariate of the reader from the text, with regressions scored on held-out texts.

    Warns
    -----
    OverlapWarning
        With the number of covariates that the text determines and the largest held-out R^2.
    """
    if w.shape[1] == 0:
        return
    determined = [share for share in _held_out_r2(x, w, weight, text_id) if share > GIVEN_AWAY]
    if determined:
        warnings.warn(
            f"the text determines {len(determined)} of the {w.shape[1]} encoded covariates of its reader (held-out R^2 "
            f"{max(determined):.3f}): no text is seen by readers of other kinds, weights cannot make up for that, and "
            "every value is an extrapolation of the outcome model",
            OverlapWarning,
            stacklevel=3,
        )


def warn_if_mean_is_not_one(s: Float64, weight: Float64, group: Int64) -> None:
    """Compare the mean weight with one, its value for correct weights: E[p(x) / p(x | w)] = 1.

    Warns
    -----
    OverlapWarning
        With the mean and its standard error, clustered by group; or, if the effective number of rows is below ten, with
        that number.
    """
    share = weight / weight.mean()
    scaled = share * (s / s.max())
    size = float(scaled.sum() ** 2 / np.sum(scaled**2))
    mean = float(np.mean(share * s))
    by_group = np.bincount(np.unique(group, return_inverse=True)[1], weights=share * (s - mean))
    error = float(np.sqrt(np.sum(by_group**2))) / len(s)
    if size < min(THIN, len(s) / 2):
        warnings.warn(
            f"{len(s)} rows count as {size:.1f} under the stabilized weights: nearly all readers were shown texts that "
            "they hardly ever see, or the weights are wrong",
            OverlapWarning,
            stacklevel=3,
        )
    # A sample without the largest weights has a mean and a standard error that are both too small: both are rescaled.
    elif abs(mean - 1) > max(TOLERANCE, ERRORS * error / min(mean, 1.0)):
        warnings.warn(
            f"the mean of the stabilized weights is {mean:.3g} (standard error {error:.2g}) but would be 1 if they "
            "were correct: the assignment model does not describe who reads what, or some readers never see some of "
            "the texts",
            OverlapWarning,
            stacklevel=3,
        )


def _held_out_r2(x: Array, w: Array, weight: Float64, text_id: Int64) -> list[float]:
    """Held-out R^2 of a ridge regression of each covariate on the text; the regressions share their columns."""
    covariates = np.asarray(w, dtype=np.float64)
    fits = held_out_fits(x, np.zeros((len(x), 0)), covariates, weight, text_id, products=0)
    explained = []
    for covariate, (_, held_out) in zip(covariates.T, fits, strict=True):
        spread = float(np.average((covariate - np.average(covariate, weights=weight)) ** 2, weights=weight))
        error = float(np.average((covariate - held_out) ** 2, weights=weight))
        explained.append(1 - error / spread if spread > 0 else 0.0)
    return explained


def _areas(w: Array, label: Int64) -> dict[tuple[int, int], float]:
    """Area under the curve of the held-out log-odds of each pair of labels, over the rows of the pair."""
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=200))
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    score = cross_val_predict(model, w, label, cv=folds, method="decision_function")
    if score.ndim == 1:  # the log-odds of the second of two labels
        score = np.column_stack([np.zeros(len(score)), score])
    labels = np.unique(label)
    rows = [np.flatnonzero(label == one) for one in labels]
    areas = {}
    for j, k in combinations(range(len(labels)), 2):
        odds = [score[part, j] - score[part, k] for part in (rows[j], rows[k])]
        n, ranks = len(odds[0]), rankdata(np.concatenate(odds))
        above = float(ranks[:n].sum()) - n * (n + 1) / 2
        areas[int(labels[j]), int(labels[k])] = above / (n * len(odds[1]))
    return areas
