"""One table: differences of policies by two outcome models and several estimators, without propensities."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from scipy import stats

from benchmarks.bandits.bandit import Case, Logs, log_rows
from causalopt.backends.finite_policy import FinitePolicy
from causalopt.behavior import behavior_log_prob
from causalopt.data.dataset import DirectOutcomeDataset
from causalopt.data.population import FIXED
from causalopt.errors import CausalOptWarning, OverlapError
from causalopt.evaluation.policies import as_subject
from causalopt.evaluation.terms import policy_terms, with_balancing_weights
from causalopt.nuisance.outcome.text_random_effect import TextRandomEffectOutcome
from causalopt.pseudo_outcome import PseudoOutcomeEstimator, PseudoOutcomes

REFERENCE = "uniform"
ON_ONE_TEXT = 0.9
"""Mass of a policy on its text; the rest is uniform over all texts."""
ROWS = 800
SPREAD, WINNER = 0.5, 1.0
CASES = {
    **{
        f"{name}, {texts} texts": Case(algorithm, texts, SPREAD)
        for (name, algorithm), texts in itertools.product(
            (("Thompson sampling", "thompson"), ("epsilon-greedy", "greedy"), ("UCB", "ucb")), (12, 40)
        )
    },
    "Thompson sampling, 40 texts, one better": Case("thompson", 40, 0.0, WINNER),
}
"""Worths are normal, as the random effect takes them to be, but in the last case: one text is worth 1, the others 0."""
EFFECT, DEFAULT = "text-random-effect", "ridge-lightgbm"
CROSS_FITTED = {EFFECT: ("dm", "balance"), DEFAULT: ("dm", "balance", "sndr")}
"""Estimators by outcome model."""
POSTERIOR = f"{EFFECT}, posterior of all rows"
METHODS = (POSTERIOR, *(f"{model}, {name}" for model, names in CROSS_FITTED.items() for name in names))


def policies_of(logs: Logs) -> tuple[dict[str, FinitePolicy], dict[str, float]]:
    """The uniform policy, three with most of their mass on one text, and their true values.

    The given text is the first, whatever it is worth; the text shown most is what the bandit prefers; the worst text is
    known from the truth alone.
    """
    shown = logs.frame["text"].value_counts().reindex(logs.texts, fill_value=0)
    chosen = {"a given text": 0, "the text shown most": int(shown.argmax()), "the worst text": int(logs.worth.argmin())}
    k = len(logs.texts)
    shares = {REFERENCE: np.full(k, 1 / k)}
    shares |= {name: ON_ONE_TEXT * np.eye(k)[i] + (1 - ON_ONE_TEXT) / k for name, i in chosen.items()}
    policies = {
        name: FinitePolicy(logs.texts, np.log(share), np.zeros((k, 1)), np.zeros(1), None)
        for name, share in shares.items()
    }
    return policies, {name: float(share @ logs.worth) for name, share in shares.items()}


def replicate(case: str, seed: int) -> list[dict[str, Any]]:
    """One row for each difference to the uniform policy and method.

    The steps of `causalopt.evaluate` without the evidence. Without logged propensities its q is the reference; s = 1 is
    true here, as the choice does not depend on the reader.
    """
    logs = log_rows(CASES[case], ROWS, seed)
    data = DirectOutcomeDataset.from_frame(logs.frame, covariates=["age"], time="row", adaptive=True)
    policies, truth = policies_of(logs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CausalOptWarning)
        pseudos = {
            model: PseudoOutcomeEstimator(outcome_model=model, assignment_model="randomized").fit_transform(
                data.with_population(FIXED)
            )
            for model in CROSS_FITTED
        }
        found = list(itertools.chain(_posterior(pseudos[EFFECT], policies), _cross_fitted(pseudos, policies)))
    cell = {"case": case, "replication": seed}
    return [
        {
            **cell,
            "quantity": f"{policy} minus {REFERENCE}",
            "estimator": method,
            "truth": truth[policy] - truth[REFERENCE],
            **numbers,
        }
        for policy, method, numbers in found
    ]


Found = Iterator[tuple[str, str, dict[str, float]]]


def _cross_fitted(pseudos: Mapping[str, PseudoOutcomes], policies: Mapping[str, FinitePolicy]) -> Found:
    first = pseudos[EFFECT]
    behavior = behavior_log_prob(first.dataset, policies[REFERENCE], "reference")
    terms = {}
    for name, policy in policies.items():
        subject = as_subject(policy)
        draws = subject.draw(first, 20, 0)
        terms[name] = policy_terms(subject, first, behavior, draws, marginal=False, seed=0, population=FIXED)
    for name in policies:
        if name == REFERENCE:
            continue
        pair = with_balancing_weights(terms[name], terms[REFERENCE], first, _score(policies, name, first))
        for model, names in CROSS_FITTED.items():
            # The folds are the same, and balancing weights are functions of texts and readers alone.
            ours = [one.with_nuisances(pseudos[model], 0) for one in pair]
            for estimator in names:
                try:
                    difference = ours[0].estimate(estimator) - ours[1].estimate(estimator)
                except OverlapError:  # one text carries everything: there is no interval
                    continue
                low, high = difference.confint(0.95)
                numbers = {"estimate": difference.value, "se": difference.se, "ci_low": low, "ci_high": high}
                yield name, f"{model}, {estimator}", numbers


def _score(policies: Mapping[str, FinitePolicy], name: str, pseudo: PseudoOutcomes) -> Any:
    """Log-ratio of a policy to the reference, of the rows' texts and as a function of others."""

    def score(prompts: Any, texts: list[str]) -> np.ndarray:
        return policies[name].log_prob(prompts, texts) - policies[REFERENCE].log_prob(prompts, texts)

    return score(None, pseudo.dataset.texts), score


def _posterior(pseudo: PseudoOutcomes, policies: Mapping[str, FinitePolicy]) -> Found:
    """Posterior mean and interval of each difference, from a fit on all rows: nothing is held out."""
    data, fitted = pseudo.dataset, pseudo.fitted()
    w, ids = fitted.cross_fit.w, fitted.index.ids(None, data.texts)
    model = TextRandomEffectOutcome().fit(fitted.embed(None, data.texts), w, data.outcome, data.weight, ids)
    texts, reference = policies[REFERENCE].distribution(None)
    mean, covariance = model.posterior(fitted.embed(None, texts), w, data.weight, fitted.index.ids(None, texts))
    for name, policy in policies.items():
        if name == REFERENCE:
            continue
        change = np.exp(policy.distribution(None)[1]) - np.exp(reference)
        value, se = float(change @ mean), float(np.sqrt(change @ covariance @ change))
        half = float(stats.norm.ppf(0.975)) * se
        yield name, POSTERIOR, {"estimate": value, "se": se, "ci_low": value - half, "ci_high": value + half}
