"""The value of a policy on rows that took no part in training it, next to the reference's, with intervals."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from causalopt.backends.contracts import Policy
from causalopt.dataset import DirectOutcomeDataset
from causalopt.errors import ConfigError, OverlapError, OverlapWarning
from causalopt.evaluation.dm import dm
from causalopt.evaluation.dr import dr, dr_os, sndr, switch_dr
from causalopt.evaluation.estimate import Estimate
from causalopt.evaluation.evidence import Evidence, gather_evidence
from causalopt.evaluation.ipw import clipped_ipw, ipw, snipw
from causalopt.evaluation.overlap import Overlap, overlap
from causalopt.evaluation.verdict import thin_overlap
from causalopt.problem import BehaviorPolicy, behavior_log_prob
from causalopt.pseudo_outcome import PseudoOutcomeEstimator, PseudoOutcomes
from causalopt.typing import Array, Float64


@dataclass(frozen=True)
class Draws:
    """Texts drawn from a policy, with the dose response that the test rows' nuisances give them."""

    texts: list[str]
    prompts: list[str] | None
    g: Float64


@dataclass(frozen=True)
class PolicyTerms:
    """The arrays that value estimators take, for one policy on the test rows."""

    log_ratio: Float64
    xi: Float64
    g: Float64
    g_policy: Float64
    reader_response: Float64
    weight: Float64
    cluster: Array | tuple[Array, Array]

    def _rows(self) -> dict[str, Any]:
        return {"weight": self.weight, "cluster": self.cluster}

    def ratio_only(self, estimator: Callable[..., Estimate]) -> Estimate:
        """Apply an estimator of (log_ratio, xi)."""
        # The g inside xi is a mean over the same readers, so their sampling is part of the error here too.
        return estimator(self.log_ratio, self.xi, reader_response=self.reader_response, **self._rows())

    def plug_in(self, estimator: Callable[..., Estimate]) -> Estimate:
        """Apply an estimator of g at the policy's texts."""
        return estimator(self.g_policy, reader_response=self.reader_response, **self._rows())

    def doubly_robust(self, estimator: Callable[..., Estimate]) -> Estimate:
        """Apply an estimator of (log_ratio, xi, g, g_policy)."""
        rows = {"reader_response": self.reader_response, **self._rows()}
        return estimator(self.log_ratio, self.xi, self.g, self.g_policy, **rows)


ESTIMATORS: dict[str, Callable[[PolicyTerms], Estimate]] = {
    "ipw": lambda terms: terms.ratio_only(ipw),
    "clipped_ipw": lambda terms: terms.ratio_only(clipped_ipw),
    "snipw": lambda terms: terms.ratio_only(snipw),
    "dm": lambda terms: terms.plug_in(dm),
    "dr": lambda terms: terms.doubly_robust(dr),
    "sndr": lambda terms: terms.doubly_robust(sndr),
    "switch_dr": lambda terms: terms.doubly_robust(switch_dr),
    "dr_os": lambda terms: terms.doubly_robust(dr_os),
}


@dataclass(frozen=True)
class Evaluation:
    """What is known of a policy and its reference from the test rows.

    Attributes
    ----------
    estimates:
        ``estimates[quantity][estimator]``; the quantities are "reference", "policy" and "difference".
    estimator:
        The headline estimator: the first one that could be computed.
    level:
        Of the confidence intervals.
    overlap:
        Of the policy's weights rho_i * s_i on the test rows.
    kl:
        KL(policy || reference) on texts drawn from the policy, nats.
    draws:
        ``draws["reference"]`` and ``draws["policy"]``.
    evidence:
        Sensitivity to hidden confounding, balance, calibration and a placebo check.
    """

    estimates: Mapping[str, Mapping[str, Estimate]]
    estimator: str
    level: float
    overlap: Overlap
    kl: float
    draws: Mapping[str, Draws]
    evidence: Evidence

    @property
    def reference(self) -> Estimate:
        """Headline value of the reference, outcome units."""
        return self.estimates["reference"][self.estimator]

    @property
    def policy(self) -> Estimate:
        """Headline value of the policy, outcome units."""
        return self.estimates["policy"][self.estimator]

    @property
    def difference(self) -> Estimate:
        """Policy minus reference on the same rows, outcome units."""
        return self.estimates["difference"][self.estimator]

    def to_frame(self) -> pd.DataFrame:
        """One row for each quantity and estimator: estimate, se, ci_low, ci_high."""
        return pd.DataFrame(
            [
                {"quantity": quantity, **describe(estimate, name, self.level)}
                for quantity, by_name in self.estimates.items()
                for name, estimate in by_name.items()
            ]
        )


def describe(estimate: Estimate, estimator: str, level: float) -> dict[str, Any]:
    """Return the plain numbers of an estimate."""
    low, high = estimate.confint(level)
    return {
        "estimate": float(estimate.value),
        "se": float(estimate.se),
        "ci_low": float(low),
        "ci_high": float(high),
        "estimator": estimator,
    }


def evaluate(
    policy: Policy,
    data: DirectOutcomeDataset | PseudoOutcomes,
    *,
    reference: Policy | None = None,
    nuisances: PseudoOutcomeEstimator | None = None,
    estimators: Sequence[str] = ("sndr", "dr", "snipw", "dm"),
    behavior_policy: BehaviorPolicy | None = None,
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    reference_draws: Draws | None = None,
) -> Evaluation:
    """Estimate the value of ``policy``, of its reference, and their difference.

    Parameters
    ----------
    policy, reference:
        ``reference`` may be left out for a policy that `optimize` returned.
    data:
        Rows that took no part in training the policy; nuisances are cross-fitted on them alone. Or their
        pseudo-outcomes, when they are at hand.
    nuisances:
        How to fit them; the defaults of `PseudoOutcomeEstimator` when None.
    estimators:
        Names in `ESTIMATORS`; the first is the headline.
    behavior_policy:
        Where q comes from, see `causalopt.problem.behavior_log_prob`.
    draws:
        Texts drawn from each policy for the plug-in part; their Monte Carlo error is in the standard error.
    level:
        Of the confidence intervals.
    seed:
        Seeds the nuisances' folds (when ``nuisances`` is None) and the draws.
    reference_draws:
        Draws of the reference from an earlier evaluation on the same rows, to use again.

    Returns
    -------
    Evaluation
        Standard errors are clustered by group, and by reader too when the data name one.

    Warns
    -----
    OverlapWarning
        When the logged texts cannot carry the answer, see `causalopt.evaluation.thin_overlap`.
    """
    reference = reference if reference is not None else getattr(policy, "reference", None)
    if reference is None:
        raise ConfigError("evaluate needs reference=, the policy to compare with")
    for name in estimators:
        if name not in ESTIMATORS:
            raise ConfigError(f"there is no estimator {name!r}; there are: {', '.join(ESTIMATORS)}")
    if isinstance(data, PseudoOutcomes):
        pseudo = data
    else:
        pseudo = (nuisances or PseudoOutcomeEstimator(seed=seed)).fit_transform(data)
    behavior = behavior_log_prob(pseudo.dataset, reference, behavior_policy)
    drawn = {
        "reference": reference_draws or draw(reference, pseudo, draws, seed),
        "policy": draw(policy, pseudo, draws, seed + 1),
    }
    terms = {
        "reference": policy_terms(reference, pseudo, behavior, drawn["reference"]),
        "policy": policy_terms(policy, pseudo, behavior, drawn["policy"]),
    }
    estimates = _estimates(terms, estimators, pseudo.dataset.source)
    headline = next(iter(estimates["difference"]))
    shared = overlap(terms["policy"].log_ratio + np.log(pseudo.s), pseudo.dataset.weight)
    thin = thin_overlap(shared)
    if thin is not None:
        warnings.warn(f"{pseudo.dataset.source}: {thin}", OverlapWarning, stacklevel=2)
    new = drawn["policy"]
    kl = float(np.mean(policy.log_prob(new.prompts, new.texts) - reference.log_prob(new.prompts, new.texts)))
    evidence = gather_evidence(
        pseudo,
        terms["policy"].log_ratio,
        terms["reference"].log_ratio,
        estimates["difference"][headline],
        terms["policy"].cluster,
        seed,
    )
    return Evaluation(estimates, headline, level, shared, kl, drawn, evidence)


def _estimates(
    terms: Mapping[str, PolicyTerms], estimators: Sequence[str], source: str
) -> dict[str, dict[str, Estimate]]:
    """Apply each estimator to both policies; one that the overlap does not allow is left out with a warning."""
    estimates: dict[str, dict[str, Estimate]] = {"reference": {}, "policy": {}, "difference": {}}
    for name in estimators:
        try:
            pair = {who: ESTIMATORS[name](terms[who]) for who in terms}
        except OverlapError as error:
            warnings.warn(f"{source}: {name} cannot be computed: {error}", OverlapWarning, stacklevel=3)
            continue
        for who, estimate in (*pair.items(), ("difference", pair["policy"] - pair["reference"])):
            estimates[who][name] = estimate
    if not estimates["difference"]:
        raise OverlapError(
            f"{source}: none of {', '.join(estimators)} can be computed, because the logged texts say nothing about "
            "this policy: raise objective.kl, or add dm to evaluation.estimators"
        )
    return estimates


def draw(policy: Policy, pseudo: PseudoOutcomes, n: int, seed: int) -> Draws:
    """Draw ``n`` texts, for prompts drawn from the rows when there are prompts."""
    data = pseudo.dataset
    prompts = None
    if data.prompts is not None:
        rng = np.random.default_rng(seed)
        prompts = [data.prompts[i] for i in rng.choice(len(data), size=n, p=data.weight / data.weight.sum())]
    texts = policy.sample(prompts, n, seed)
    return Draws(texts, prompts, pseudo.dose_response(texts, prompts))


def policy_terms(policy: Policy, pseudo: PseudoOutcomes, behavior: Float64, drawn: Draws) -> PolicyTerms:
    """Gather what the estimators take for one policy."""
    data = pseudo.dataset
    return PolicyTerms(
        log_ratio=policy.log_prob(data.prompts, data.texts) - behavior,
        xi=pseudo.xi,
        g=pseudo.g,
        g_policy=drawn.g,
        reader_response=pseudo.reader_response(drawn.texts, drawn.prompts),
        weight=data.weight,
        cluster=data.group if data.reader is None else (data.group, data.reader),
    )
