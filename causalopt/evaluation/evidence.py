"""The evidence reported with an estimate: hidden confounding, balance, calibration of the weights, placebo checks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from causalopt.data import clustering
from causalopt.data.dataset import DirectOutcomeDataset
from causalopt.diagnostics.balance import covariate_balance, weight_calibration
from causalopt.diagnostics.drift import Drift, Part, drift
from causalopt.diagnostics.nonresponse import Nonresponse, nonresponse
from causalopt.diagnostics.placebo import PlaceboAssignment, placebo_assignment, placebo_outcome
from causalopt.diagnostics.sensitivity import (
    STRENGTHS,
    Benchmark,
    Sensitivity,
    benchmark,
    riesz_representer,
    sensitivity,
)
from causalopt.errors import OverlapError
from causalopt.estimators.estimate import Estimate
from causalopt.evaluation.terms import PolicyTerms, with_balancing_weights
from causalopt.pseudo_outcome import PseudoOutcomes
from causalopt.typing import Float64, Int64

PLACEBO_DEALS = 200


@dataclass(frozen=True)
class Evidence:
    """Checks of one comparison of a policy with its reference.

    Attributes
    ----------
    sensitivity:
        Omitted-variable bounds and robustness value of the difference; None if policy and reference are the same, or
        one row carries the whole weight.
    placebo:
        The difference when the texts are randomly reassigned to readers; None if one cluster carries the whole
        weight.
    balance, calibration:
        Diagnostics of the stabilized weights, see `causalopt.diagnostics.balance`; None if there are no covariates.
    placebo_outcome:
        The difference in the data's placebo outcome, in its own units; None without one, and if ``placebo`` is None.
    benchmarks:
        By covariate: its strength as a confounder if it had been left out.
    drift:
        How later rows differ from earlier ones; None without times.
    nonresponse:
        The difference if those who respond are unlike those who do not; None if all outcomes were observed, if there
        are no stabilized weights, or one row carries the whole weight.
    worst_case_bias:
        Largest bias of the difference through what balancing weights leave unbalanced, outcome units; None unless
        `balance` is the headline. See `causalopt.nuisance.riesz.BalancingWeights.worst_case_bias`.
    """

    sensitivity: Sensitivity | None
    placebo: PlaceboAssignment | None
    balance: pd.DataFrame | None
    calibration: pd.DataFrame | None
    placebo_outcome: Estimate | None = None
    benchmarks: Mapping[str, Benchmark] = field(default_factory=dict)
    drift: Drift | None = None
    nonresponse: Nonresponse | None = None
    worst_case_bias: float | None = None

    def bounds(self, level: float = 0.95) -> list[dict[str, float | str]]:
        """Bounds of the difference if a hidden confounder is as strong as each covariate, and at fixed strengths.

        See `Sensitivity.at_strengths`; empty without a sensitivity analysis.
        """
        if self.sensitivity is None:
            return []
        covariates = {
            f"as strong as {name}": (min(one.outcome_share, 1.0), one.assignment_share)
            for name, one in self.benchmarks.items()
        }
        return self.sensitivity.at_strengths(covariates | STRENGTHS, level=level)


def gather_evidence(
    pseudo: PseudoOutcomes,
    policy: PolicyTerms,
    reference: PolicyTerms,
    estimator: str,
    difference: Estimate,
    without: Mapping[str, PseudoOutcomes],
    seed: int,
) -> Evidence:
    """Run every check of the headline estimate.

    Parameters
    ----------
    pseudo:
        Pseudo-outcomes of the evaluation rows, with their fitted models.
    policy, reference:
        The inputs of the estimators.
    estimator, difference:
        The headline estimator, and its estimate of policy minus reference on these rows.
    without:
        By covariate: pseudo-outcomes of the same rows, from nuisances fitted without it (`leave_out`).
    seed:
        Seed of the placebo test's permutations.
    """
    ratios = policy.ratio_of(estimator), reference.ratio_of(estimator)
    # A hidden confounder matters where outcomes are: among the rows that have one, each standing for 1 / pi readers.
    weights = policy.correction_of(estimator), reference.correction_of(estimator)
    bounds = _sensitivity(pseudo, *weights, difference)
    before_after: pd.DataFrame | None = None
    calibration: pd.DataFrame | None = None
    data = pseudo.dataset
    # A constant covariate has no column.
    if pseudo.models is not None and pseudo.models.cross_fit.w.shape[1] and pseudo.corrected:
        x = pseudo.models.embed(data.prompts, data.texts)
        w, names = pseudo.models.cross_fit.w, pseudo.models.covariates.names
        rest: dict[str, Any] = {"weight": data.weight, "names": names, "cluster": policy.cluster}
        before_after = covariate_balance(x, w, pseudo.s, **rest)
        calibration = weight_calibration(x, w, pseudo.s, **rest)
    benchmarks = {}
    if bounds is not None:
        for name, short in without.items():
            terms = policy.with_nuisances(short, seed), reference.with_nuisances(short, seed)
            if estimator == "balance":  # the other weights balance the covariate that is left out
                terms = with_balancing_weights(*terms, short, policy.score)
            shorter = terms[0].estimate(estimator) - terms[1].estimate(estimator)
            weights = terms[0].correction_of(estimator), terms[1].correction_of(estimator)
            found = _sensitivity(short, *weights, shorter)
            if found is not None:
                benchmarks[name] = benchmark(bounds, found)
    return Evidence(
        bounds,
        _placebo_assignment(pseudo, policy, ratios[0], seed),
        before_after,
        calibration,
        _placebo_outcome(pseudo, policy, *ratios),
        benchmarks,
        _drift(pseudo, policy, seed),
        _nonresponse(pseudo, policy, *ratios, difference),
        _worst_case_bias(policy, estimator),
    )


def _worst_case_bias(policy: PolicyTerms, estimator: str) -> float | None:
    if estimator != "balance" or isinstance(policy.balancing, str):
        return None
    return policy.balancing[0].worst_case_bias(policy.error)


def _drift(pseudo: PseudoOutcomes, policy: PolicyTerms, seed: int) -> Drift | None:
    data, fitted = pseudo.dataset, pseudo.models
    if data.time is None or np.ptp(data.time) == 0 or fitted is None:
        return None
    x, w = np.asarray(fitted.embed(data.prompts, data.texts)), fitted.cross_fit.w
    rows = np.arange(len(data))
    width = x.shape[1] if data.prompts is None else x.shape[1] // 2  # the prompts' coordinates come last
    parts = {"texts": Part(x[:, :width], clustering.codes_of(data.texts))}
    if data.prompts is not None:
        parts["prompts"] = Part(x[:, width:], clustering.codes_of(data.prompts))
    if w.shape[1]:
        parts["readers"] = Part(w, rows if data.reader is None else data.reader)
    return drift(
        data.time,
        data.outcome,
        pseudo.error,
        parts,
        weight=data.weight,
        cluster=policy.cluster,
        observed=data.observed,
        seed=seed,
    )


def _sensitivity(
    pseudo: PseudoOutcomes, log_ratio: Float64, log_ratio_reference: Float64, difference: Estimate
) -> Sensitivity | None:
    data = pseudo.dataset
    try:
        alpha = riesz_representer(
            log_ratio, pseudo.s, log_ratio_reference=log_ratio_reference, self_normalize=True, weight=data.weight
        )
    except OverlapError:  # one row carries the whole weight, which is why estimators were left out
        return None
    if not np.any(alpha != 0) or not difference.n:
        return None
    return sensitivity(difference, pseudo.error, alpha, weight=data.weight)


def _nonresponse(
    pseudo: PseudoOutcomes, policy: PolicyTerms, log_ratio: Float64, log_ratio_reference: Float64, difference: Estimate
) -> Nonresponse | None:
    data = pseudo.dataset
    if pseudo.pi is None or not pseudo.corrected or not difference.n:
        return None
    try:
        return nonresponse(
            difference,
            log_ratio,
            log_ratio_reference,
            pseudo.s,
            pseudo.pi,
            spread=data.outcome_mean_and_spread()[1],
            weight=data.weight,
            cluster=policy.cluster,
        )
    except OverlapError:
        return None


def _placebo_assignment(
    pseudo: PseudoOutcomes, policy: PolicyTerms, log_ratio: Float64, seed: int
) -> PlaceboAssignment | None:
    data = pseudo.dataset
    unit = pd.factorize(pd.Series(list(zip(data.prompts or data.texts, data.texts, strict=True)), dtype=object))[0]
    # Log-probabilities computed elsewhere may differ between rows of a text, by rounding or by an unnamed context; the
    # mean of each text is permuted.
    of_text = pd.Series(log_ratio).groupby(unit).transform("mean").to_numpy(dtype=np.float64)
    try:
        return placebo_assignment(
            of_text,
            pseudo.xi,
            unit=unit,
            reader=_readers(data, unit),
            weight=data.weight,
            cluster=policy.cluster,
            repeats=PLACEBO_DEALS,
            seed=seed,
        )
    except OverlapError:
        return None


def _readers(data: DirectOutcomeDataset, unit: Int64) -> Int64 | None:
    """Labels of the readers, shape [n], or None: ``reader``, or named groups that are not groups of texts."""
    if data.reader is not None:
        return data.reader
    pairs = pd.DataFrame({"unit": unit, "group": data.group}).drop_duplicates()
    of_texts = len(pairs) == pairs["unit"].nunique()
    return None if data.columns.group is None or of_texts else data.group


def _placebo_outcome(
    pseudo: PseudoOutcomes, policy: PolicyTerms, log_ratio: Float64, log_ratio_reference: Float64
) -> Estimate | None:
    data = pseudo.dataset
    if data.placebo_outcome is None:
        return None
    s = pseudo.s if pseudo.corrected else None
    try:
        found = [
            placebo_outcome(ratio, data.placebo_outcome, s=s, weight=data.weight, cluster=policy.cluster)
            for ratio in (log_ratio, log_ratio_reference)
        ]
    except OverlapError:
        return None
    return found[0] - found[1]
