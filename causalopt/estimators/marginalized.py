"""Importance weights in embedding space, if sequence probabilities of the logs are unknown or overlap too little."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from causalopt.density_ratio import TwoSamples, best_log_odds, candidates
from causalopt.doors import check_contract, check_number, check_seed
from causalopt.errors import DataError, OverlapWarning
from causalopt.estimators.dr import sndr
from causalopt.estimators.estimate import Estimate
from causalopt.estimators.ipw import snipw
from causalopt.signatures import LARGEST_COUNT
from causalopt.typing import Float64

SEPARATED = 0.95
"""Area under the curve at or above which the policy's texts count as separated from the logged ones.

For two normal distributions that far apart, the effective sample size is half a per cent.
"""


def marginal_log_ratio(
    x_logged: Any,
    x_policy: Any,
    *,
    weight: Any = None,
    group: Any = None,
    text: Any = None,
    classifier: Any = None,
    folds: int = 5,
    seed: int = 0,
) -> Float64:
    """Log-ratio of the policy's distribution to the logged one, at the embedding of each logged text.

    A classifier of policy samples against logged texts is fitted on all folds but one and scores the one left out. Its
    log-odds over all folds are then recalibrated (slope and intercept), which corrects an over-confident
    classifier. Equal texts of both samples share a fold.

    Parameters
    ----------
    x_logged:
        Embeddings of the logged texts (with those of their prompts appended, if there are prompts), shape [n, d].
    x_policy:
        Embeddings of texts drawn from the policy, for prompts drawn from the logged ones, shape [m, d].
    weight:
        Exposure of the logged rows, shape [n], or None for ones.
    group:
        Labels [n] of logged rows that share a fold; None uses equal texts.
    text:
        Labels [n + m] of equal texts, the logged ones followed by the policy's; None uses equal embeddings.
    classifier:
        Any scikit-learn classifier with ``predict_proba`` that takes ``sample_weight``. None takes a logistic
        regression on the coordinates, or on standardised ones and their squares; features and penalty are chosen by
        held-out log-loss.
    folds, seed:
        Folds and seed of the cross-fitting.

    Returns
    -------
    Float64
        Shape [n], nats: ``log_ratio`` for `snipw`, `sndr`, `mips` or `mdr`.

    Raises
    ------
    DataError
        On invalid arrays, fewer groups than folds, or texts of the policy that are all in one fold.

    Warns
    -----
    OverlapWarning
        If the classifier separates the two samples (area under the curve of at least 0.95), with the area.

    Notes
    -----
    Saito and Joachims (2022): the weights are valid if the text affects the outcome only through its embedding.

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.evaluation import marginal_log_ratio
    >>> rng = np.random.default_rng(0)
    >>> logged, policy = rng.normal(size=(2000, 1)), rng.normal(0.5, 1.0, size=(2000, 1))
    >>> log_ratio = marginal_log_ratio(logged, policy)
    >>> truth = 0.5 * logged[:, 0] - 0.125
    >>> bool(np.corrcoef(log_ratio, truth)[0, 1] > 0.99)
    True
    """
    check_number("folds", folds, least=2, most=LARGEST_COUNT, whole=True)
    check_seed("seed", seed)
    if classifier is not None:
        check_contract("classifier", classifier, ["fit", "predict_proba"], "a scikit-learn classifier, or None")
    sample = TwoSamples.of(x_logged, x_policy, weight=weight, group=group, text=text, folds=folds, seed=seed)
    drawn = sample.label == 1
    if len(np.unique(sample.fold[drawn])) < 2:
        raise DataError(
            f"the {int(drawn.sum())} texts of the policy are {len(np.unique(sample.text[drawn]))} distinct ones, all "
            "of one fold: a classifier cannot be fitted on the other folds"
        )
    # The two samples have equal weight, so that the log-odds of "drawn by the policy" are log f(e) - log q(e), with e
    # the embedding: the ratio of the marginal densities, E_q[rho | e] (Saito and Joachims 2022).
    score = best_log_odds([classifier] if classifier is not None else candidates(sample.x), sample)
    area = float(roc_auc_score(sample.label, score, sample_weight=sample.weight))
    if area >= SEPARATED:
        warnings.warn(
            f"a classifier tells the policy's texts from the logged ones with an area under the curve of {area:.3f}: "
            "there is almost no overlap in embedding space either",
            OverlapWarning,
            stacklevel=2,
        )
    return np.asarray(score[sample.label == 0], dtype=np.float64)


def mips(log_ratio: Any, xi: Any, *, reader_response: Any = None, weight: Any = None, cluster: Any = None) -> Estimate:
    """Marginalised importance weighting: `snipw` with the ratios of `marginal_log_ratio`.

    Parameters, errors and warnings as in `snipw`. The standard error treats the ratios as known. A penalised
    classifier underestimates the difference, which biases the value towards that of the logs; the interval does not
    include this bias and may be far too narrow. `mdr` depends far less on the ratios.

    Examples
    --------
    >>> from causalopt.evaluation import mips
    >>> mips([0.0, 0.0, 0.0], [1.0, 2.0, 3.0]).value
    2.0
    """
    estimate = snipw(log_ratio, xi, reader_response=reader_response, weight=weight, cluster=cluster)
    return replace(estimate, estimator="mips")


def mdr(
    log_ratio: Any,
    xi: Any,
    g: Any,
    g_policy: Any,
    *,
    reader_response: Any = None,
    weight: Any = None,
    cluster: Any = None,
) -> Estimate:
    """Marginalised doubly robust value: `sndr` with the ratios of `marginal_log_ratio`.

    Parameters, errors and warnings as in `sndr`. The error of the ratios is multiplied by the error of g, so that
    treating them as known costs little if g is accurate.

    Examples
    --------
    >>> from causalopt.evaluation import mdr
    >>> mdr([0.0, 0.0, 0.0], [1.0, 2.0, 3.0], [1.0, 1.0, 1.0], [2.0, 4.0]).value
    4.0
    """
    estimate = sndr(log_ratio, xi, g, g_policy, reader_response=reader_response, weight=weight, cluster=cluster)
    return replace(estimate, estimator="mdr")
