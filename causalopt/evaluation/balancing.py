"""Balancing weights for the policies of an evaluation, from their draws and the rows' fitted embedding."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from causalopt.evaluation.policies import Draws
from causalopt.nuisance.riesz import BalancingWeights, PolicyTexts, balancing_weights
from causalopt.pseudo_outcome import PseudoOutcomes
from causalopt.typing import Int64


def balance_rows(pseudo: PseudoOutcomes, drawn: Sequence[Draws], rows: Int64 | None = None) -> BalancingWeights:
    """Weight the rows of ``pseudo`` to resemble the texts of each policy, with one penalty for all of them.

    Parameters
    ----------
    pseudo:
        Pseudo-outcomes of the evaluation rows, with their fitted models.
    drawn:
        Texts of each policy; the penalty is chosen for the first minus the last one.
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
            policies.append(PolicyTexts(fitted.embed(None, texts), share))
            continue
        share = np.ones(len(one.texts))
        if data.prompts is None and one.row is not None:  # one text for each row, which any reader may read
            share = data.weight[one.row]
        row = None if data.prompts is None or one.row is None else place[one.row]
        policies.append(PolicyTexts(fitted.embed(one.prompts, one.texts), share / share.sum(), row))
    return balancing_weights(x, fitted.cross_fit.w[some], policies, data.weight[some], pseudo.fold[some])
