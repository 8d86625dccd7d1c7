"""Gain against KL along the path of one fit, on rows that it was not trained on."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

from causalopt.backends.contracts import ChoiceSetPolicy, EnumerablePolicy, Policy
from causalopt.behavior import behavior_log_prob, behavior_source
from causalopt.data.constraint import Constraint
from causalopt.data.population import Population
from causalopt.diagnostics.frontier import Frontier, Point, choose_point
from causalopt.diagnostics.verdict import not_to_be_relied_on
from causalopt.errors import CausalOptWarning, MissingPartError, OverlapError
from causalopt.estimators.estimate import Estimate
from causalopt.evaluation.comparison import compared, of_other_outcome, overlap_of
from causalopt.evaluation.policies import ModelPolicy, over_choices_of, population_of
from causalopt.optimization.path import FACTORS, at, ends_of, factors_of
from causalopt.optimization.seen_policy import OwnTexts, Setting, SharedTexts, Texts
from causalopt.progress import track
from causalopt.pseudo_outcome import PseudoOutcomes
from causalopt.typing import BehaviorPolicy

EXTRAPOLATED = 0.25
"""Largest share of a policy's texts outside of the logged ones' support, beyond the reference's own share."""


def frontier(
    end: Policy,
    reference: Policy,
    pseudo: PseudoOutcomes,
    *,
    estimator: str = "balance",
    behavior_policy: BehaviorPolicy | None = None,
    level: float = 0.9,
    draws: int = 400,
    furthest: float = FACTORS[-1],
    population: Population | None = None,
    seed: int = 0,
    constraints: Sequence[Constraint] = (),
    penalised: Mapping[float, tuple[Policy, float]] | None = None,
) -> Frontier:
    """Estimate the gain of policies between a reference and the end of a fit, and choose one of them.

    A point is not chosen if its interval is not to be relied on (fewer than 20 effective units, or a few that carry the
    answer), or if a quarter more of its texts than of the reference's lie outside of the logged ones' support, where
    outcomes are extrapolated.

    Parameters
    ----------
    end, reference:
        The two ends of the path; see `causalopt.optimization.path.at`.
    pseudo:
        Rows that the fit was not trained on and the value is not reported from, with nuisances fitted on them alone.
    estimator:
        A name in `causalopt.estimators.names.ESTIMATORS`.
    behavior_policy:
        The source of q, see `causalopt.behavior.behavior_log_prob`.
    level, seed:
        See `causalopt.diagnostics.frontier.choose_point`; the seed is also that of the drawn texts.
    draws:
        Number of texts drawn from the reference and from each of the path's `causalopt.optimization.path.ENDS`; at the
        points between them, these texts are weighted. If the policies are over known texts, or q is that of embeddings,
        as many are drawn at each point.
    furthest:
        Largest factor. Beyond 1, the end of the fit, the path is followed while its points may be chosen.
    population:
        The population that the value refers to; None follows the policy, see `causalopt.evaluation.evaluate`.
    constraints:
        Bounds on other outcomes of the rows (`PseudoOutcomes.others`): a point that is not shown to keep them is not
        chosen.
    penalised:
        By correlation, the end of a fit with a penalty on the constrained outcomes
        (`causalopt.optimization.penalty.penalised`), and the largest factor of its path. The points of all paths are
        candidates, and the bands hold for all of them at once.
    """
    data = pseudo.dataset
    old = over_choices_of(reference, data)
    source = behavior_source(data, reference, behavior_policy)
    setting = Setting(
        pseudo=pseudo,
        behavior=None if source == "embedding" else behavior_log_prob(data, old, source),
        source=source,
        population=population or population_of(ModelPolicy(end)),
        draws=draws,
        seed=seed,
    )

    others = {one.outcome: pseudo.other(one.outcome, one.direction) for one in constraints}
    of_reference: dict[str, Estimate] = {}

    def point(factor: float, texts: Texts, correlation: float | None) -> Point:
        seen = texts.see(factor)
        subjects = {"policy": ModelPolicy(seen.policy), "reference": ModelPolicy(old)}
        how = setting.behavior, source, [estimator], seed, seen.log_ratio
        pair = compared({"policy": seen.terms, "reference": seen.reference}, subjects, pseudo, *how)
        constrained: dict[str, Estimate] = {}
        for name, other in others.items():
            both = of_other_outcome(pair, subjects, pseudo, other, *how)
            try:
                of_reference.setdefault(name, both["reference"].estimate(estimator))
                constrained[name] = both["policy"].estimate(estimator)
            except (OverlapError, MissingPartError):
                continue  # the point is barred: no limit is known
        kl, kl_se, outside = seen.divergence.kl, seen.divergence.se, seen.outside
        try:
            difference = pair["policy"].estimate(estimator) - pair["reference"].estimate(estimator)
            shared = overlap_of(pair, estimator, data, setting.population)
        except (OverlapError, MissingPartError) as error:
            return Point(factor, kl, kl_se, None, 0.0, outside, str(error), correlation)
        barred = not_to_be_relied_on(shared)
        if barred is None and outside is not None and outside > EXTRAPOLATED + (seen.outside_of_reference or 0.0):
            barred = f"{outside:.0%} of its texts lie outside of what was logged."
        return Point(factor, kl, kl_se, difference, shared.ess, outside, barred, correlation, constrained)

    def along(end: Policy, furthest: float, correlation: float | None) -> list[Point]:
        def path(factor: float) -> Policy:
            return old if factor == 0 else over_choices_of(at(end, reference, factor), data)

        listed = isinstance(end, EnumerablePolicy | ChoiceSetPolicy)
        factors = factors_of(end, furthest)
        if not factors:
            return []
        if listed or source == "embedding" or estimator == "adaptive_dr":
            texts: Texts = OwnTexts(path, setting)
        else:
            texts = SharedTexts(path, ends_of(factors), setting)
        points: list[Point] = []
        for factor in track(factors, "how far to go", len(factors)):
            points.append(point(factor, texts, correlation))
            if factor >= 1 and points[-1].barred is not None:
                break  # beyond its end, a path is followed while its points may be chosen
        return points

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CausalOptWarning)  # the table says which points are thin
        points = along(end, furthest, None)
        for correlation, (other_end, its_furthest) in (penalised or {}).items():
            points += along(other_end, its_furthest, correlation)
    return choose_point(
        points,
        rows=len(data),
        direction=data.direction,
        level=level,
        seed=seed,
        constraints=constraints,
        reference=of_reference,
    )
