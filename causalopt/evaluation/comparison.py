"""The inputs of the estimators for two policies that are compared on the same rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from causalopt.data.dataset import DirectOutcomeDataset
from causalopt.data.population import Population
from causalopt.diagnostics.overlap import Overlap, overlap
from causalopt.estimators.weights import WeightedRows
from causalopt.evaluation.policies import Subject
from causalopt.evaluation.score import discriminant_score, log_ratio_score
from causalopt.evaluation.terms import PolicyTerms, with_adaptive_scores, with_balancing_weights
from causalopt.pseudo_outcome import PseudoOutcomes
from causalopt.typing import BehaviorPolicy, Float64


def compared(
    terms: Mapping[str, PolicyTerms],
    subjects: Mapping[str, Subject],
    pseudo: PseudoOutcomes,
    behavior: Float64 | None,
    source: BehaviorPolicy,
    estimators: Sequence[str],
    seed: int,
    known: Mapping[tuple[str | None, str], float] | None = None,
) -> dict[str, PolicyTerms]:
    """Add to the terms of "policy" and "reference" what the estimators fit for both together.

    Parameters
    ----------
    terms, subjects:
        Both policies, by these names.
    pseudo:
        Pseudo-outcomes of the evaluation rows.
    behavior, source:
        log q that the ratios are based on, shape [n], nats, and where it is from; None for ratios in embedding space.
    estimators:
        Names of those that will be applied.
    seed:
        Seed of the folds of adaptively weighted estimates.
    known:
        Log-ratio of the two policies, nats, of pairs of prompt and text that have been scored.
    """
    found = dict(terms)
    if "balance" in estimators:
        ratios_to_q = None if behavior is None else (found["policy"].log_ratio, found["reference"].log_ratio)
        score = log_ratio_score(subjects["policy"], subjects["reference"], pseudo.dataset, source, ratios_to_q, known)
        drawn = found["policy"].draws, found["reference"].draws
        if score is None and drawn[0] is not None and drawn[1] is not None:
            score = discriminant_score(drawn[0], drawn[1], pseudo)
        pair = with_balancing_weights(found["policy"], found["reference"], pseudo, score)
        found["policy"], found["reference"] = pair
    if "adaptive_dr" in estimators:
        found = with_adaptive_scores(found, subjects, pseudo, seed)
    return found


def of_other_outcome(
    terms: Mapping[str, PolicyTerms],
    subjects: Mapping[str, Subject],
    pseudo: PseudoOutcomes,
    other: PseudoOutcomes,
    behavior: Float64 | None,
    source: BehaviorPolicy,
    estimators: Sequence[str],
    seed: int,
    known: Mapping[tuple[str | None, str], float] | None = None,
) -> dict[str, PolicyTerms]:
    """Return the terms of the same two policies, with the same texts and ratios, for another outcome of the same rows.

    Parameters
    ----------
    terms:
        From `compared`, for the outcome of ``pseudo``.
    other:
        Pseudo-outcomes of the other outcome.
    subjects, pseudo, behavior, source, estimators, seed, known:
        As in `compared`.
    """
    found = {who: one.with_nuisances(other, seed) for who, one in terms.items()}
    # Balancing weights do not depend on the outcome, but on which rows have one.
    same = np.array_equal(pseudo.dataset.rated, other.dataset.rated)
    fitted = [name for name in estimators if name != "balance" or not same]
    return compared(found, subjects, other, behavior, source, fitted, seed, known)


def overlap_of(
    terms: Mapping[str, PolicyTerms], estimator: str, data: DirectOutcomeDataset, population: Population
) -> Overlap:
    """Overlap of the policy or of the reference, whichever has less: their difference relies on both.

    It is that of the weights that an estimator gives the rows, in the units that were drawn. Where outcomes were not
    always observed, it is a share of the rows that have one: where one reader in twenty responds, overlap is not thin
    for that.

    Raises
    ------
    OverlapError
        If a single row has all the weight.
    """
    rated = data.subset(data.rated)
    found = []
    for who in ("policy", "reference"):
        log_size, sign = terms[who].weights_of(estimator)
        WeightedRows.of(log_size, data.weight).refuse_single_row()
        units = rated.cluster(population), rated.units(population)
        own = overlap(log_size[data.rated], rated.weight, *units, sign[data.rated])
        found.append(replace(own, unbalanced=terms[who].unbalanced_by(estimator)))
    return min(found, key=lambda one: one.ess)
