"""The values of a policy and its reference, with intervals, on rows that were not used in training."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pandas as pd

from causalopt.backends.contracts import Policy
from causalopt.data.constraint import Constraint, check_constraints
from causalopt.data.dataset import DirectOutcomeDataset
from causalopt.data.population import DRAWN, Population
from causalopt.data.reader_groups import ReaderGroups, check_names
from causalopt.diagnostics.overlap import Overlap, warn_if_mean_ratio_is_not_one
from causalopt.diagnostics.verdict import thin_overlap
from causalopt.doors import check_number, check_seed, check_type
from causalopt.errors import CausalOptWarning, ConfigError, MissingPartError, OverlapError, OverlapWarning
from causalopt.estimators.estimate import Estimate
from causalopt.estimators.names import ADAPTIVE, DEFAULT, check_estimator
from causalopt.evaluation.adaptive import propensity
from causalopt.evaluation.by_group import GroupGains, gains_by_group
from causalopt.evaluation.comparison import overlap_of
from causalopt.evaluation.constrained import Constrained, constrained_value
from causalopt.evaluation.divergence import Divergence, divergence
from causalopt.evaluation.evidence import Evidence, gather_evidence
from causalopt.evaluation.logged_law import LoggedLaw, look_at_logged_law
from causalopt.evaluation.policies import (
    Draws,
    Evaluable,
    ModelPolicy,
    as_subject,
)
from causalopt.evaluation.prepared import Prepared, check_two, prepare
from causalopt.evaluation.terms import PolicyTerms
from causalopt.progress import track
from causalopt.pseudo_outcome import PseudoOutcomeEstimator, PseudoOutcomes
from causalopt.signatures import shown
from causalopt.summary import Summarised
from causalopt.typing import BehaviorPolicy

if TYPE_CHECKING:
    import plotly.graph_objects as go


@dataclass(frozen=True, repr=False)
class Evaluation(Summarised):
    """Results on a policy and its reference from the test rows.

    Attributes
    ----------
    estimates:
        ``estimates[quantity][estimator]``; the quantities are "reference", "policy" and "difference".
    estimator:
        The headline estimator: the first one that could be computed.
    level:
        Level of the confidence intervals.
    overlap:
        Overlap of the weights rho_i * s_i on the test rows, in the units that were drawn; where outcomes were not
        always observed, times 1 / pi_i, over the rows that have an outcome. Of policy and reference, that of the one
        with fewer effective units.
    kl:
        KL(policy || reference), summed or on texts drawn from the policy; None if one of them cannot score texts, or it
        is infinite: the policy writes texts that the reference never writes.
    draws:
        ``draws["reference"]`` and ``draws["policy"]``, if there are any.
    evidence:
        Sensitivity to hidden confounding, balance, calibration and placebo checks.
    logged_law:
        The q that the ratios are based on ("logged", "reference" or "embedding"), how well it fits the logged texts,
        and whether the logged texts cover the policy's.
    left_out:
        By name, why a requested estimator could not be computed.
    population:
        Population that the value refers to.
    notes, barred:
        Notes that a reader of the value must see first; and reasons why nothing is concluded from it.
    groups:
        The gain by group of readers, if it was asked for.
    constrained:
        For each constraint, the values of its outcome.
    """

    estimates: Mapping[str, Mapping[str, Estimate]]
    estimator: str
    level: float
    overlap: Overlap
    kl: Divergence | None
    draws: Mapping[str, Draws]
    evidence: Evidence
    logged_law: LoggedLaw
    left_out: Mapping[str, str]
    population: Population = DRAWN
    notes: tuple[str, ...] = ()
    barred: tuple[str, ...] = ()
    groups: GroupGains | None = None
    constrained: tuple[Constrained, ...] = ()

    @property
    def behavior_policy(self) -> BehaviorPolicy:
        """The q that the ratios are based on."""
        return self.logged_law.source

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

    def summary_rows(self) -> list[tuple[str, str]]:
        """Return values with their intervals, overlap and distance, in words."""
        rows = []
        for quantity, estimate in (
            ("reference", self.reference),
            ("policy", self.policy),
            ("difference", self.difference),
        ):
            low, high = estimate.confint(self.level)
            rows.append((quantity, f"{estimate.value:.4g} ({self.level:.0%} interval {low:.4g} to {high:.4g})"))
        rows.append(("estimator", self.estimator))
        rows.append(("overlap", f"{self.overlap.ess:,.0f} effective {self.overlap.unit} of {self.overlap.clusters:,}"))
        if self.kl is not None:
            rows.append(("KL to the reference", f"{self.kl.kl:.3g} nats"))
        return [*rows, *(("not concluded", reason) for reason in self.barred), *(("note", note) for note in self.notes)]

    def plot(self, quantity: str = "difference") -> go.Figure:
        """Draw every estimator's value with its interval, the headline first, as a plotly figure.

        Parameters
        ----------
        quantity:
            "difference", "policy" or "reference".

        Raises
        ------
        ConfigError
            For another quantity, or if plotly is not installed.
        """
        if find_spec("plotly") is None:
            raise ConfigError('plot needs plotly: pip install "causalopt[plot]"')
        from causalopt.evaluation.plot import interval_plot

        if not (isinstance(quantity, str) and quantity in self.estimates):
            raise ConfigError(f"plot: there is no quantity {shown(quantity)}; there are: {', '.join(self.estimates)}")
        return interval_plot(
            {name: describe(estimate, name, self.level) for name, estimate in self.estimates[quantity].items()},
            title=f"{quantity} ({self.level:.0%} intervals, outcome units)",
        )

    def to_frame(self) -> pd.DataFrame:
        """Return one row for each quantity and estimator: estimate, se, ci_low, ci_high."""
        return pd.DataFrame(
            [
                {"quantity": quantity, **describe(estimate, name, self.level)}
                for quantity, by_name in self.estimates.items()
                for name, estimate in by_name.items()
            ]
        )


def describe(estimate: Estimate, estimator: str, level: float) -> dict[str, Any]:
    """Return an estimate as plain numbers."""
    low, high = estimate.confint(level)
    return {
        "estimate": float(estimate.value),
        "se": float(estimate.se),
        "ci_low": float(low),
        "ci_high": float(high),
        "estimator": estimator,
    }


def evaluate(
    policy: Evaluable,
    data: DirectOutcomeDataset | PseudoOutcomes,
    *,
    reference: Evaluable | None = None,
    nuisances: PseudoOutcomeEstimator | None = None,
    estimators: Sequence[str] | None = None,
    behavior_policy: BehaviorPolicy | None = None,
    behavior_reference: Policy | None = None,
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    reference_draws: Draws | None = None,
    without: Mapping[str, PseudoOutcomes] | None = None,
    population: Population | None = None,
    groups: Sequence[str] | ReaderGroups | None = None,
    constraints: Sequence[Constraint] = (),
) -> Evaluation:
    """Estimate the value of ``policy``, of its reference, and their difference.

    Parameters
    ----------
    policy:
        A policy that can be called, such as a `ListedPolicy` ("always this text"); an `ExternalPolicy`, whose
        log-probabilities are a column of the data; a `ScoredPolicy`, known by numbers from elsewhere; or
        `LoggedPolicy`.
    data:
        Rows that were not used to train or select the policy; nuisances are cross-fitted on these rows alone. Or
        their pseudo-outcomes, if they have been computed.
    reference:
        The policy to compare with, given in the same ways; may be left out for a policy that `optimize` returned.
        `LoggedPolicy` compares with the texts as they were logged.
    nuisances:
        How to fit the nuisances; None uses the defaults of `PseudoOutcomeEstimator`.
    estimators:
        Names in `causalopt.estimators.names.ESTIMATORS`; the first that can be computed is the headline. None takes
        "balance", "sndr", "dr", "snipw" and "dm"; for adaptive logs with logged propensities "adaptive_dr" comes first.
    behavior_policy:
        Source of q: "logged" log-probabilities, the "reference" policy, the "frequency" of each logged text (given its
        prompt), "uniform" over these texts, or "embedding", for which a classifier separates each policy's texts from
        the logged ones (`marginal_log_ratio`). None takes the first of these that is available: frequencies for two
        listed policies (or one and the logs) without prompts, if the logged texts have 5 rows or more on average;
        embeddings if one of the policies is known by its texts alone. `mips` and `mdr` always use the last one.
    behavior_reference:
        The policy whose log-probabilities are q under "reference"; None uses ``reference`` itself, if it is a model.
    draws:
        Number of texts drawn from each policy for the plug-in part; their Monte Carlo error is in the standard error.
        With prompts, texts are drawn for that many of the rows (or, with more draws than rows, the same number for each
        row, rounded down), the same rows for both policies; the sampling of the prompts is in the standard error too.
    level:
        Level of the confidence intervals.
    seed:
        Seed of the nuisances' folds (if ``nuisances`` is None) and of the draws.
    reference_draws:
        Draws of the reference from an earlier evaluation on the same rows, to reuse.
    without:
        From `leave_out`: nuisances fitted without a covariate, as benchmarks for the strength of a hidden confounder.
    population:
        Whether texts and prompts are a sample or the whole population. None follows the policies: fixed if both choose
        among known texts, else drawn.
    groups:
        Covariates by which readers are grouped, for the gain among each group: levels of a category, thirds of a
        number. Or groups that were found in the training rows (`causalopt.find_groups`).
    constraints:
        Bounds on other outcomes of the data, whose values are estimated for both policies in the same way.

    Returns
    -------
    Evaluation
        Standard errors and overlap refer to the units that were drawn, see `DirectOutcomeDataset.cluster`.

    Raises
    ------
    DataError
        If more than half of the rows are among those that `optimize` used for the policy.
    MissingPartError
        If the probabilities of the logged texts under the policy are not available.

    Warns
    -----
    OverlapWarning
        If overlap is too thin for a conclusion, see `causalopt.evaluation.thin_overlap`; and if the mean ratio to
        logged log-probabilities is far from one.
    """
    reference = check_two("evaluate", policy, reference, data)
    if estimators is None:
        rows = data.dataset if isinstance(data, PseudoOutcomes) else data
        estimators = ADAPTIVE if rows.adaptive and propensity(rows) is not None else DEFAULT
    if isinstance(estimators, str) or not isinstance(estimators, Sequence) or not estimators:
        raise ConfigError(f"evaluate: estimators must be a list with at least one name, not {shown(estimators)}")
    for name in estimators:
        check_type("evaluate: each of estimators", name, (str,), "a name")
        check_estimator(name)
    check_number("evaluate: draws", draws, least=2, whole=True)
    check_number("evaluate: level", level, above=0, below=1)
    check_seed("evaluate: seed", seed)
    if without is not None:
        check_type("evaluate: without", without, (Mapping,), "a mapping from names of covariates to PseudoOutcomes")
        for name, one in without.items():
            check_type(f"evaluate: without[{name!r}]", one, (PseudoOutcomes,), "PseudoOutcomes")
    constraints = check_constraints(constraints, data.dataset if isinstance(data, PseudoOutcomes) else data)
    if population is not None:
        check_type("evaluate: population", population, (Population,), "a Population")
    if groups is not None and not isinstance(groups, ReaderGroups):
        if isinstance(groups, str) and groups == "found":
            raise ConfigError(
                "groups that are found come from training rows: pass groups=co.find_groups(policy, train), with the "
                "pseudo-outcomes of the training rows"
            )
        if isinstance(groups, str) or not isinstance(groups, Sequence):
            raise ConfigError(f"evaluate: groups must be a list of covariates, not {shown(groups)}")
        asked = data.dataset if isinstance(data, PseudoOutcomes) else data
        check_names(groups, asked.covariates.columns, asked.source)
    ready = prepare(
        policy,
        reference,
        data,
        nuisances=nuisances,
        estimators=estimators,
        behavior_policy=behavior_policy,
        behavior_reference=behavior_reference,
        draws=draws,
        seed=seed,
        population=population,
        reference_draws=reference_draws,
    )
    pseudo, population, terms, drawn, source = ready.pseudo, ready.population, ready.terms, ready.draws, ready.source
    new, old = ready.subjects["policy"], ready.subjects["reference"]
    if source == "logged":
        found = terms["policy"]
        warn_if_mean_ratio_is_not_one(found.log_ratio, weight=found.weight, cluster=found.cluster)
    estimates, left_out = _estimates(terms, estimators, pseudo.dataset.source)
    headline = next(iter(estimates["difference"]))
    shared = overlap_of(terms, headline, pseudo.dataset, population)
    thin = thin_overlap(shared)
    if thin is not None:
        warnings.warn(f"{pseudo.dataset.source}: {thin}", OverlapWarning, stacklevel=2)
    difference = estimates["difference"][headline]
    evidence = gather_evidence(pseudo, terms["policy"], terms["reference"], headline, difference, without or {}, seed)
    known = {who: texts for who, texts in drawn.items() if texts is not None}
    kl = None
    if isinstance(new, ModelPolicy) and isinstance(old, ModelPolicy) and drawn["policy"] is not None:
        kl = divergence(new.policy, old.policy, pseudo.dataset, drawn["policy"])
    law = _logged_law(ready, draws, seed)
    # Without stabilized weights there is no correction, and no gain is concluded; with the mean for m there is less
    # precision. Balancing weights need neither q nor s.
    ratios = headline != "balance"
    drifting = () if evidence.drift is None or not evidence.drift.drifting else (evidence.drift.sentence,)
    notes = (
        *_failures(pseudo, "outcome model"),
        *_failures(pseudo, "observation model"),
        *law.notes(ratios),
        *drifting,
    )
    failed = _failures(pseudo, "assignment model") if ratios else ()
    barred = (*failed, *law.barred(ratios), *_adaptive(pseudo.dataset))
    by_group = None
    if groups is not None:
        if not isinstance(groups, ReaderGroups):
            groups = ReaderGroups.by(pseudo.dataset.with_population(population), groups)
        by_group = gains_by_group(
            groups, pseudo, terms["policy"], terms["reference"], headline, level=level, population=population, seed=seed
        )
    how = ready.behavior, source, headline, level, seed
    constrained = tuple(constrained_value(one, terms, ready.subjects, pseudo, *how) for one in constraints)
    broken = tuple(one.sentence for one in constrained if one.holds is False)
    return Evaluation(
        estimates,
        headline,
        level,
        shared,
        kl,
        known,
        evidence,
        law,
        left_out,
        population,
        (*broken, *notes),
        barred,
        by_group,
        constrained,
    )


def _adaptive(data: DirectOutcomeDataset) -> tuple[str, ...]:
    """Say, and return, what adaptive logs without propensities do not identify."""
    if not data.adaptive or propensity(data) is not None:
        return ()
    sentence = (
        "The texts were chosen by earlier outcomes, and the probabilities of the choices were not logged: how often a "
        "text was shown is not the probability with which it was chosen, so that no ratio is identified, and the mean "
        "outcome of texts that were given up early is too low."
    )
    warnings.warn(
        f"{data.source}: {sentence[0].lower()}{sentence[1:]} Name the logged propensities (data.behavior_log_prob, or "
        "data.propensities): no gain or harm is concluded without them. What outcomes alone say of each text is in the "
        "posterior of the outcome model text-random-effect",
        CausalOptWarning,
        stacklevel=3,
    )
    return (sentence,)


def _failures(pseudo: PseudoOutcomes, nuisance: str) -> tuple[str, ...]:
    """Return sentences on the nuisances that failed."""
    said = [str(failure) for failure in pseudo.failures if failure.nuisance == nuisance]
    return tuple(f"{one[0].upper()}{one[1:]}." for one in said)


def _logged_law(ready: Prepared, draws: int, seed: int) -> LoggedLaw:
    """Compare the logged texts with those of the reference used as q, and with those of the policy."""
    old, behavior_reference = ready.subjects["reference"], ready.behavior_reference
    if behavior_reference is None or (isinstance(old, ModelPolicy) and behavior_reference is old.policy):
        q, q_draws = old, ready.draws["reference"]
    else:
        q = as_subject(behavior_reference)
        q_draws = q.draw(ready.pseudo, draws, seed, ready.row) if ready.source == "reference" else None
    return look_at_logged_law(
        ready.pseudo, ready.source, q, q_draws, ready.subjects, ready.draws, ready.population, seed
    )


def _estimates(
    terms: Mapping[str, PolicyTerms], estimators: Sequence[str], source: str
) -> tuple[dict[str, dict[str, Estimate]], dict[str, str]]:
    """Apply each estimator to both policies; one that cannot be computed is left out with the reason."""
    estimates: dict[str, dict[str, Estimate]] = {"reference": {}, "policy": {}, "difference": {}}
    left_out: dict[str, str] = {}
    for name in estimators:
        try:
            pair = {who: terms[who].estimate(name) for who in terms}
        except OverlapError as error:
            warnings.warn(f"{source}: {name} cannot be computed: {error}", OverlapWarning, stacklevel=3)
            left_out[name] = str(error)
            continue
        except MissingPartError as error:
            left_out[name] = str(error)
            continue
        for who, estimate in (*pair.items(), ("difference", pair["policy"] - pair["reference"])):
            estimates[who][name] = estimate
    if not estimates["difference"]:
        reasons = "; ".join(dict.fromkeys(left_out.values()))
        raise OverlapError(
            f"{source}: none of {', '.join(estimators)} can be computed ({reasons}): raise objective.kl, or name "
            "another estimator in evaluation.estimators, such as dm or snipw"
        )
    return estimates, left_out


def leave_out(
    nuisances: PseudoOutcomeEstimator,
    data: DirectOutcomeDataset,
    covariates: Sequence[str] | None = None,
    outcome_data: DirectOutcomeDataset | None = None,
) -> dict[str, PseudoOutcomes]:
    """Refit the nuisances without each of some covariates, on the same folds.

    Parameters
    ----------
    nuisances, data, outcome_data:
        As for the fit with all covariates.
    covariates:
        Columns to leave out, one at a time; None leaves out each of them.

    Returns
    -------
    dict
        Pseudo-outcomes by covariate, for ``without`` of `evaluate`.

    Raises
    ------
    ConfigError
        For a column that is not a covariate.

    Examples
    --------
    >>> import causalopt as co
    >>> from causalopt.evaluation.evaluate import leave_out
    >>> data = co.simulation.TemplateWorld().sample(300, seed=0)
    >>> nuisances = co.PseudoOutcomeEstimator(outcome_model="ridge", assignment_model="randomized")
    >>> list(leave_out(nuisances, data, ["age"]))
    ['age']
    """
    known = list(data.covariates.columns)
    chosen = known if covariates is None else list(covariates)
    for name in chosen:
        if name not in known:
            raise ConfigError(
                f"{name!r} is not a covariate, so it cannot be a benchmark; there are: {', '.join(known)}"
            )

    def shorter(rows: DirectOutcomeDataset, name: str) -> DirectOutcomeDataset:
        return replace(rows, covariates=rows.covariates.drop(columns=name), other_outcomes=None)

    return {
        name: nuisances.fit_transform(
            shorter(data, name), outcome_data=None if outcome_data is None else shorter(outcome_data, name)
        )
        for name in track(chosen, "leaving out covariates", len(chosen))
    }
