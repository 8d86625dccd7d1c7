"""What stands beside an estimate: hidden confounding, balance, calibration of the weights, a placebo check."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from causalopt.evaluation.balance import balance, weight_calibration
from causalopt.evaluation.estimate import Estimate
from causalopt.evaluation.placebo import PlaceboAssignment, placebo_assignment
from causalopt.evaluation.sensitivity import Sensitivity, riesz_representer, sensitivity
from causalopt.pseudo_outcome import PseudoOutcomes
from causalopt.typing import Array, Float64

PLACEBO_DEALS = 200


@dataclass(frozen=True)
class Evidence:
    """Checks of one comparison of a policy with its reference.

    Attributes
    ----------
    sensitivity:
        Omitted-variable bounds and robustness value of the difference; None where policy and reference are the same.
    placebo:
        The difference when the texts are dealt anew among the readers.
    balance, calibration:
        Of the stabilized weights, see `causalopt.evaluation.balance`; None where there are no covariates.
    """

    sensitivity: Sensitivity | None
    placebo: PlaceboAssignment
    balance: pd.DataFrame | None
    calibration: pd.DataFrame | None


def gather_evidence(
    pseudo: PseudoOutcomes,
    log_ratio: Float64,
    log_ratio_reference: Float64,
    difference: Estimate,
    cluster: Array | tuple[Array, Array],
    seed: int,
) -> Evidence:
    """Run every check that needs no further fit.

    Parameters
    ----------
    pseudo:
        Of the evaluation rows, with their fitted models.
    log_ratio, log_ratio_reference:
        Of the policy and of the reference to the behavior policy, shape [n], nats.
    difference:
        Policy minus reference on these rows.
    cluster:
        As for the estimate.
    seed:
        Of the placebo's deals.
    """
    data = pseudo.dataset
    alpha = riesz_representer(
        log_ratio, pseudo.s, log_ratio_reference=log_ratio_reference, self_normalize=True, weight=data.weight
    )
    unit = pd.factorize(pd.Series(list(zip(data.prompts or data.texts, data.texts, strict=True)), dtype=object))[0]
    placebo = placebo_assignment(
        log_ratio, pseudo.xi, unit=unit, weight=data.weight, cluster=cluster, repeats=PLACEBO_DEALS, seed=seed
    )
    before_after: pd.DataFrame | None = None
    calibration: pd.DataFrame | None = None
    if data.covariates.shape[1] and pseudo.models is not None:
        x = np.asarray(pseudo.models.embed(data.prompts, data.texts), dtype=np.float64)
        w, names = pseudo.models.cross_fit.w, pseudo.models.covariates.names
        before_after = balance(x, w, pseudo.s, weight=data.weight, names=names)
        calibration = weight_calibration(x, w, pseudo.s, weight=data.weight, names=names)
    residual = data.outcome - pseudo.m
    bounds = sensitivity(difference, residual, alpha, weight=data.weight) if np.any(alpha != 0) else None
    return Evidence(bounds, placebo, before_after, calibration)
