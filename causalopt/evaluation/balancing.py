"""Balancing weights for the policies of an evaluation, and the values that they give."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from causalopt.estimators.balance import balance
from causalopt.estimators.dm import ContextDraws
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
    policies: list[PolicyTexts] = []
    for k, one in enumerate(drawn):
        if one.support is not None:
            texts, share = one.support
            of_texts = None if score is None else score[1](None, texts)
            policies.append(PolicyTexts(fitted.embed(None, texts), share, score=of_texts))
            continue
        share = np.ones(len(one.texts)) if one.weight is None else one.weight
        if data.prompts is None and one.row is not None:  # one text for each row, which any reader may read
            share = share * data.weight[one.row]
        row = None if data.prompts is None or one.row is None else place[one.row]
        share = share / share.sum()
        if k and drawn[0].support is None and (one.prompts, one.texts) == (drawn[0].prompts, drawn[0].texts):
            # Shared texts are embedded and scored once.
            policies.append(replace(policies[0], share=share, row=row))
            continue
        of_texts = None if score is None else score[1](one.prompts, one.texts)
        policies.append(PolicyTexts(fitted.embed(one.prompts, one.texts), share, row, of_texts))
    columns = 0 if data.prompts is None else x.shape[1] // 2
    return balancing_weights(
        x,
        fitted.cross_fit.w[some],
        policies,
        data.weight[some],
        pseudo.fold[some],
        prompt_columns=columns,
        score=None if score is None else score[0][some],
        observed=None if data.observed is None else data.observed[some],
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
    observed: Array | None = None,
) -> Estimate:
    """Estimate a value by `causalopt.evaluation.balance`, with the error that a sample of readers leaves in alpha.

    The weights balance a sample of readers and, if these are not known, of texts. To first order their error is that
    of the mean over these samples of the regression behind the weights (`BalancingWeights.fitted_at_readers`), so that
    its predictions, centred, are added to those of m in the standard error; the value does not change. As alpha times
    the residual contains them too, the standard error is an upper bound.

    Parameters
    ----------
    weights, policy:
        Balancing weights, and the position of the policy among those that they were fitted for.
    residual:
        y_i - m_i, shape [n], outcome units.
    draws:
        Texts of the policy, from `with_regression`.
    reader_response, weight, cluster, observed:
        As in `causalopt.evaluation.balance`.
    """
    own = weights.fitted_at_readers(residual, policy)
    if reader_response is not None and own is not None:
        reader_response = reader_response + own - weight @ own / weight.sum()
    return balance(
        weights.alpha[policy],
        residual,
        draws.for_plug_in(len(residual)),
        reader_response=reader_response,
        weight=weight,
        cluster=cluster,
        observed=observed,
    )


def with_regression(draws: Draws, weights: BalancingWeights, policy: int, residual: Float64, weight: Float64) -> Draws:
    """Add to the dose response of drawn texts what the weights' regression predicts of the residuals, centred.

    The mean does not change; its Monte Carlo error is then that of the whole estimate, weights included.

    Parameters
    ----------
    draws:
        Texts of the policy, as the weights were fitted on.
    weights, policy, residual:
        As in `balanced_estimate`.
    weight:
        Exposure of all rows, among which ``draws.row`` are positions.
    """
    if draws.logged or isinstance(draws.mean, float):
        return draws
    fitted = weights.fitted_at_texts(residual, policy)
    share = draws.share(weight)
    fitted = fitted - share @ fitted
    if draws.mean is None or draws.row is None:
        return replace(draws, g=draws.g + fitted)
    # m is summed over all texts of a row, while alpha rests on a sample of them.
    exact = draws.mean
    of_row = np.bincount(draws.row, weights=share * fitted, minlength=exact.n)[exact.row]
    own = weight[exact.row] / weight[exact.row].sum()
    added = np.divide(of_row, own, out=np.zeros(len(own)), where=own > 0)
    return replace(draws, mean=ContextDraws(exact.g + added, exact.row, exact.n))
