"""Balancing weights for the policies of an evaluation, from their draws and the rows' fitted embedding."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from causalopt.evaluation.policies import Draws
from causalopt.nuisance.riesz import BalancingWeights, PolicyTexts, balancing_weights
from causalopt.pseudo_outcome import PseudoOutcomes


def balance_rows(pseudo: PseudoOutcomes, drawn: Sequence[Draws]) -> BalancingWeights:
    """Weight the rows of ``pseudo`` to resemble the texts of each policy, with one penalty for all of them.

    Parameters
    ----------
    pseudo:
        Pseudo-outcomes of the evaluation rows, with their fitted models.
    drawn:
        Texts of each policy; the penalty is chosen for the first minus the last one.

    Raises
    ------
    ModelError
        If the pseudo-outcomes were read from a file, without their models.
    """
    data, fitted = pseudo.dataset, pseudo.fitted()
    x = fitted.embed(data.prompts, data.texts)
    policies = []
    for one in drawn:
        if one.support is not None:
            texts, share = one.support
            policies.append(PolicyTexts(fitted.embed(None, texts), share))
            continue
        share = np.ones(len(one.texts))
        if data.prompts is None and one.row is not None:  # one text for each row, which any reader may read
            share = data.weight[one.row]
        row = None if data.prompts is None else one.row
        policies.append(PolicyTexts(fitted.embed(one.prompts, one.texts), share / share.sum(), row))
    return balancing_weights(x, fitted.cross_fit.w, policies, data.weight, pseudo.fold, observed=data.observed)
