"""One table: values of policies by several estimators, with and without the propensities."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

from benchmarks.bandits.bandit import CASES, draw
from causalopt.data.population import FIXED
from causalopt.errors import CausalOptWarning, OverlapError
from causalopt.evaluation.adaptive import forward_fit
from causalopt.evaluation.policies import as_subject
from causalopt.evaluation.terms import policy_terms, with_adaptive_scores
from causalopt.pseudo_outcome import PseudoOutcomeEstimator

REFERENCE, WORST = "uniform", "the worst text"
OUTCOME_MODEL = "ridge"
ALL, OWN = "adaptive_dr", "adaptive_dr, chosen texts' propensities alone"
ESTIMATORS = (ALL, OWN, "dr", "sndr", "ipw")


def replicate(case: str, rows: int, seed: int) -> list[dict[str, Any]]:
    """One row for each policy, its difference to the uniform one, and estimator.

    The steps of `causalopt.evaluate` without the evidence, which takes most of its time.
    """
    table = draw(CASES[case], rows, seed)
    records = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CausalOptWarning)
        nuisances = PseudoOutcomeEstimator(outcome_model=OUTCOME_MODEL, assignment_model="randomized")
        pseudo = nuisances.fit_transform(table.data.with_population(FIXED))
        behavior = table.data.logged_log_prob
        # The probabilities of the chosen texts alone: second moments are then predicted.
        own = replace(pseudo, dataset=replace(pseudo.dataset, propensities=None, behavior_log_prob=behavior))
        subjects = {name: as_subject(policy) for name, policy in table.policies.items()}
        fit = forward_fit(pseudo)
        terms = {
            name: policy_terms(
                subject, pseudo, behavior, subject.draw(pseudo, 20, 0), marginal=False, seed=0, population=FIXED
            )
            for name, subject in subjects.items()
        }
        for name in subjects:
            if name == REFERENCE or (CASES[case].spread == 0 and name == WORST):
                continue  # where all texts are of one worth, the best text is as bad as the worst
            pair = {"policy": subjects[name], "reference": subjects[REFERENCE]}
            both = {"policy": terms[name], "reference": terms[REFERENCE]}
            scored = {
                known: with_adaptive_scores(both, pair, data, 0, fit) for known, data in ((ALL, pseudo), (OWN, own))
            }
            for estimator in ESTIMATORS:
                try:
                    found = {
                        who: one.estimate(estimator.split(",")[0]) for who, one in scored.get(estimator, both).items()
                    }
                except OverlapError:  # one text carries everything: there is no interval
                    continue
                truth = table.truth[name] - table.truth[REFERENCE]
                for quantity, estimate, true in (
                    (f"{name} minus uniform", found["policy"] - found["reference"], truth),
                    (name, found["policy"], table.truth[name]),
                ):
                    low, high = estimate.confint(0.95)
                    numbers = {"estimate": estimate.value, "se": estimate.se, "ci_low": low, "ci_high": high}
                    cell = {"case": case, "rows": rows, "quantity": quantity, "estimator": estimator}
                    records.append({**cell, "replication": seed, "truth": true, **numbers})
    return records
