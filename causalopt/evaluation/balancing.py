"""Balancing weights for the policies of an evaluation, and the values that they give."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from causalopt.estimators.balance import balance
from causalopt.estimators.cluster import cluster_codes
from causalopt.estimators.dm import ContextDraws, PlugIn
from causalopt.estimators.estimate import Estimate
from causalopt.evaluation.policies import Draws
from causalopt.nuisance.riesz import BalancingWeights, PolicyTexts, balancing_weights
from causalopt.pseudo_outcome import PseudoOutcomes
from causalopt.typing import Array, Float64, Int64

Score = Callable[[Sequence[str] | None, Sequence[str]], Float64]
"""A score of texts (given their prompts), shape [m]."""


def balance_rows(
    pseudo: PseudoOutcomes,
    drawn: Sequence[Draws],
    score: tuple[Float64, Score] | None = None,
    rows: Int64 | None = None,
) -> BalancingWeights:
    """Weight the rows of ``pseudo`` to resemble the texts of each policy, with one penalty for all of them.

    Parameters
    ----------
    pseudo:
        Pseudo-outcomes of the evaluation rows, with their fitted models.
    drawn:
        Texts of each policy; the penalty is chosen for the first minus the last one.
    score:
        A score of the rows' texts, shape [n], and the function that gives it for others; see `balancing_weights`.
    rows:
        Positions of the rows that are weighted, shape [k], for a value among their readers; None for all. With prompts,
        ``drawn`` are then the texts in the contexts of these rows.

    Raises
    ------
    ModelError
        If the pseudo-outcomes were read from a file, without their models.
    """
    data, fitted = pseudo.dataset, pseudo.fitted()
    some = np.arange(len(data)) if rows is None else rows
    x = fitted.embed(data.prompts, data.texts)[some]
    place = np.full(len(data), -1)
    place[some] = np.arange(len(some))
    policies = []
    for one in drawn:
        if one.support is not None:
            texts, share = one.support
            of_texts = None if score is None else score[1](None, texts)
            policies.append(PolicyTexts(fitted.embed(None, texts), share, score=of_texts))
            continue
        share = np.ones(len(one.texts))
        if data.prompts is None and one.row is not None:  # one text for each row, which any reader may read
            share = data.weight[one.row]
        row = None if data.prompts is None or one.row is None else place[one.row]
        of_texts = None if score is None else score[1](one.prompts, one.texts)
        policies.append(PolicyTexts(fitted.embed(one.prompts, one.texts), share / share.sum(), row, of_texts))
    columns = 0 if data.prompts is None else x.shape[1] // 2
    return balancing_weights(
        x,
        fitted.cross_fit.w[some],
        policies,
        data.weight[some],
        pseudo.fold[some],
        prompt_columns=columns,
        score=None if score is None else score[0][some],
    )


def balanced_estimate(
    weights: BalancingWeights,
    policy: int,
    residual: Float64,
    draws: Draws,
    *,
    reader_response: Float64 | None,
    weight: Float64,
    cluster: Array | tuple[Array, Array] | None,
) -> Estimate:
    """Estimate a value by `causalopt.evaluation.balance`, with the error that sampled texts and readers leave in alpha.

    The weights balance a sample of the policy's texts and of the readers. To first order their error is that of the
    mean of the regression behind the weights (`BalancingWeights.fitted_at_texts`) over these samples, so that its
    predictions, centred, are added to those of m in the standard error, and not in the value.

    Parameters
    ----------
    weights, policy:
        Balancing weights, and the position of the policy among those that they were fitted for.
    residual:
        y_i - m_i, shape [n], outcome units.
    draws:
        Texts of the policy.
    reader_response, weight, cluster:
        As in `causalopt.evaluation.balance`.
    """
    n, exposure = len(residual), weight / weight.mean()
    own = weights.fitted_at_readers(residual, policy)
    if reader_response is not None and own is not None:
        reader_response = reader_response + own - exposure @ own / n
    rows = {"weight": weight, "cluster": cluster}
    g_policy = draws.for_plug_in(n)
    sampled = None
    if not isinstance(g_policy, float) and not draws.logged:
        sampled = weights.fitted_at_texts(residual, policy)
        share = np.ones(len(sampled)) if draws.row is None else exposure[draws.row]
        sampled = sampled - share @ sampled / share.sum()
        if draws.mean is None:
            g = draws.g + sampled
            g_policy = g if draws.row is None else ContextDraws(g, draws.row, n)
            sampled = None
    found = balance(weights.alpha[policy], residual, g_policy, reader_response=reader_response, **rows)
    if sampled is not None and draws.row is not None:  # m is summed over all texts, and alpha rests on a sample of them
        codes = cluster_codes(cluster, n)
        found = found + PlugIn.of(ContextDraws(sampled, draws.row, n), exposure).estimate(codes)
    return found
