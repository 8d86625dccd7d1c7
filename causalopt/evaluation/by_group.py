"""For whom a policy is better: its gain among groups of readers, with simultaneous confidence intervals."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from causalopt.arrays import as_exposure
from causalopt.data.population import Population
from causalopt.data.reader_groups import ReaderGroup, ReaderGroups
from causalopt.diagnostics.overlap import overlap
from causalopt.diagnostics.verdict import left_out, thin_overlap
from causalopt.errors import DataError, MissingPartError, OverlapError, OverlapWarning
from causalopt.estimators.cluster import cluster_codes
from causalopt.estimators.dm import ContextDraws, PlugIn
from causalopt.estimators.estimate import Estimate
from causalopt.estimators.simultaneous import simultaneous
from causalopt.evaluation.balancing import balance_rows, with_regression
from causalopt.evaluation.policies import Draws
from causalopt.evaluation.terms import NO_DRAWS, RATIO_ONLY, PolicyTerms
from causalopt.nuisance.riesz import BalancingWeights
from causalopt.pseudo_outcome import PseudoOutcomes
from causalopt.typing import Array, Float64, Int64

ADDED_LATER = Draws([], None, np.zeros(0), mean=0.0)
"""Draws of a group's correction: its plug-in part is not a mean over the group's rows alone, and is added to it."""


@dataclass(frozen=True)
class GroupGains:
    """Gain of a policy, policy minus reference, among groups of readers.

    Attributes
    ----------
    frame:
        One row for each group: ``group``, ``division``, ``rows``, ``clusters`` (the smaller number of two ways),
        ``share`` of the exposure; ``gain``, ``se``, simultaneous ``ci_low`` and ``ci_high``, outcome units; ``p_value``
        (adjusted); ``ess``, the effective number of units; ``thin``, whether its overlap is thin; ``reason``, why there
        is no gain (None if there is one).
    estimates:
        The gain of each group that has one, on all evaluation rows, with influence zero outside of the group but for
        texts that all readers share; they can be subtracted.
    estimator, level:
        The headline estimator, and the joint level of the intervals.
    heterogeneity:
        P-value of the hypothesis that the gains of the groups of each division are equal, from the largest absolute t
        of the differences to their mean; None with fewer than two groups.
    groups:
        Their definitions.
    """

    frame: pd.DataFrame
    estimates: Mapping[str, Estimate]
    estimator: str
    level: float
    heterogeneity: float | None
    groups: ReaderGroups


def gains_by_group(
    groups: ReaderGroups,
    pseudo: PseudoOutcomes,
    policy: PolicyTerms,
    reference: PolicyTerms,
    estimator: str,
    *,
    level: float,
    population: Population | None = None,
    seed: int = 0,
) -> GroupGains:
    """Estimate the gain among each group, by the headline estimator restricted to its rows.

    Parameters
    ----------
    groups:
        Groups whose choice read no outcome of these rows.
    pseudo:
        Pseudo-outcomes of the evaluation rows, with their fitted models.
    policy, reference:
        Inputs of the estimators on all rows.
    estimator:
        Name of the headline estimator.
    level, population, seed:
        Joint level of the intervals; population of the clusters; seed of the simulation of the critical value.

    Raises
    ------
    ModelError
        If the pseudo-outcomes were read from a file: without models nothing is known of a group's responses.

    Notes
    -----
    The value among group k is V_k = E[m(c, x~, W) | W in k]. Its plug-in part is the mean over the policy's texts of
    m averaged over the group's readers; its correction weights the residual y - m of the group's rows by rho s. In all
    rows rho s is normalised by the mean of rho. In a group the mean of rho is not one if its readers were shown other
    texts than the rest, and that of rho s is: s is therefore part of the normalised weight. `balance` weights the
    group's rows to resemble the policy's texts read by the group's readers.
    """
    data = pseudo.dataset
    codes = cluster_codes(policy.cluster, len(data))
    records: list[dict[str, Any]] = []
    estimates: dict[str, Estimate] = {}
    for group in groups.groups:
        rows = group.rows(data.covariates)
        clusters = min((len(np.unique(way[rows])) for way in codes), default=len(rows))
        record = {
            "group": group.name,
            "division": group.division,
            "rows": len(rows),
            "clusters": clusters,
            "share": float(data.weight[rows].sum() / data.weight.sum()),
        }
        try:
            found, weighted = _gain(pseudo, (policy, reference), estimator, rows, codes, clusters)
        except (OverlapError, MissingPartError, DataError) as error:
            records.append({**record, "thin": True, "reason": str(error)})
            continue
        rated = data.rated[rows]  # as for all rows, a share of those that have an outcome
        own = rows[rated]
        units = _some(policy.cluster, own), data.units(population)
        log_size, sign = weighted.weights_of(estimator)
        shared = overlap(log_size[rated], data.weight[own], *units, sign[rated])
        shared = replace(shared, unbalanced=weighted.unbalanced_by(estimator))
        if (reason := left_out(shared)) is not None:
            records.append({**record, "ess": shared.ess, "thin": True, "reason": reason})
            continue
        estimates[group.name] = found
        records.append({**record, "ess": shared.ess, "thin": thin_overlap(shared) is not None, "reason": None})
    columns = ["gain", "se", "ci_low", "ci_high", "p_value", "ess", "thin", "reason"]
    frame = pd.DataFrame(records, columns=["group", "division", "rows", "clusters", "share", *columns])
    if estimates:
        bounds = simultaneous(list(estimates.values()), level, seed=seed)
        known = frame["group"].isin(list(estimates))
        frame.loc[known, "gain"] = [one.value for one in estimates.values()]
        frame.loc[known, "se"] = [one.se for one in estimates.values()]
        frame.loc[known, ["ci_low", "ci_high", "p_value"]] = np.column_stack([bounds.low, bounds.high, bounds.p_value])
    frame["reason"] = frame["reason"].astype(object).where(frame["reason"].notna(), None)
    numbers = ["gain", "se", "ci_low", "ci_high", "p_value", "ess"]
    frame[numbers] = frame[numbers].astype(np.float64)
    difference = _heterogeneity(groups.groups, estimates, frame.set_index("group")["share"], level, seed)
    return GroupGains(frame, estimates, estimator, level, difference, groups)


def _gain(
    pseudo: PseudoOutcomes,
    terms: tuple[PolicyTerms, PolicyTerms],
    estimator: str,
    rows: Int64,
    codes: tuple[Int64, ...],
    clusters: int,
) -> tuple[Estimate, PolicyTerms]:
    """Policy minus reference among the readers of some rows, as an estimate of all rows, and the policy's inputs."""
    if len(rows) < 2:
        raise DataError("no rows" if len(rows) == 0 else "one row")
    if clusters < 2:
        raise DataError("all of its rows are of one cluster, which gives no standard error")
    weights: BalancingWeights | None = None
    drawn = [None if one.draws is None else one.draws.among(rows, pseudo) for one in terms]
    if estimator == "balance":
        if drawn[0] is None or drawn[1] is None:
            raise MissingPartError(NO_DRAWS)
        weights = balance_rows(pseudo, (drawn[0], drawn[1]), terms[0].score, rows)
    values, inputs = [], []
    for position, (one, own) in enumerate(zip(terms, drawn, strict=True)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", OverlapWarning)  # the table says which groups are thin
            balancing = None if weights is None else (weights, position)
            restricted = _restricted(one, pseudo, estimator, rows, balancing)
            part = restricted.estimate(estimator)
        inputs.append(restricted)
        value = part.on_all_rows(rows, codes, len(pseudo))
        if estimator not in RATIO_ONLY:
            if own is None or one.draws is None:
                raise MissingPartError(NO_DRAWS)
            if weights is not None:
                own = with_regression(own, weights, position, one.error[rows], pseudo.dataset.weight)
            value = value + _plug_in(own, one.draws, pseudo, codes)
        values.append(value)
    return replace(values[0] - values[1], estimator=estimator), inputs[0]


def _restricted(
    terms: PolicyTerms,
    pseudo: PseudoOutcomes,
    estimator: str,
    rows: Int64,
    balancing: tuple[BalancingWeights, int] | None,
) -> PolicyTerms:
    """Return the inputs of an estimator on the rows of a group."""
    data = pseudo.dataset
    error, observed = pseudo.error[rows], pseudo.observation_weight[rows]
    g = pseudo.m[rows]
    if estimator in RATIO_ONLY and data.prompts is None:
        g = pseudo.dose_response_of(rows, [data.texts[i] for i in rows])
    log_s = _log_s(pseudo)[rows]
    marginal = terms.marginal
    return PolicyTerms(
        log_ratio=terms.log_ratio[rows] + log_s,
        marginal=marginal if isinstance(marginal, str) else marginal[rows] + log_s,
        # Without a stabilized weight there is no correction, as for all rows.
        xi=g + (observed * error if pseudo.corrected else 0.0),
        g=g,
        error=error,
        s=np.full(len(rows), 1.0 if pseudo.corrected else 0.0),
        log_observed=terms.log_observed[rows],
        draws=ADDED_LATER,
        reader_response=None if terms.reader_response is None else terms.reader_response[rows],
        weight=terms.weight[rows],
        cluster=_some(terms.cluster, rows),
        balancing=NO_DRAWS if balancing is None else balancing,
    )


def _plug_in(own: Draws, everybody: Draws, pseudo: PseudoOutcomes, codes: tuple[Int64, ...]) -> Estimate:
    """Plug-in part of a group's value, whose draws are those of all readers' value."""
    n = len(pseudo)
    exposure = as_exposure(pseudo.dataset.weight, n)
    g_policy = own.for_plug_in(n)
    if isinstance(g_policy, ContextDraws) and len(g_policy.g) < 2:
        raise DataError(f"{len(g_policy.g)} texts were drawn for its rows: raise the number of draws")
    found = PlugIn.of(g_policy, exposure).estimate(codes)
    # The same texts, read by others: under the same key their Monte Carlo errors add and subtract draw by draw.
    keys = PlugIn.of(everybody.for_plug_in(n), exposure).draws
    return replace(found, draws=dict(zip(keys, found.draws.values(), strict=True)))


def _log_s(pseudo: PseudoOutcomes) -> Float64:
    return np.log(pseudo.s) if pseudo.corrected else np.zeros(len(pseudo))


def _some(cluster: Array | tuple[Array, Array] | None, rows: Int64) -> Array | tuple[Array, Array] | None:
    if isinstance(cluster, tuple):
        return cluster[0][rows], cluster[1][rows]
    return None if cluster is None else cluster[rows]


def _heterogeneity(
    groups: tuple[ReaderGroup, ...], estimates: Mapping[str, Estimate], share: pd.Series, level: float, seed: int
) -> float | None:
    """Test whether the gains of each division's groups are equal: the largest |t| of their distances to the mean."""
    contrasts: list[Estimate] = []
    for division in dict.fromkeys(one.division for one in groups):
        members = [one.name for one in groups if one.division == division and one.name in estimates]
        if len(members) < 2:
            continue
        weight = share[members].to_numpy(dtype=np.float64)
        weight = weight / weight.sum()
        mean = estimates[members[0]] * weight[0]
        for name, part in zip(members[1:], weight[1:], strict=True):
            mean = mean + estimates[name] * part
        contrasts += [estimates[name] - mean for name in members]
    return simultaneous(contrasts, level, seed=seed).joint_p_value if contrasts else None
