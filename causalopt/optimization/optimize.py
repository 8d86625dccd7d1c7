"""From pseudo-outcomes to a better policy, by the same steps in `optimize` and in every run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np

from causalopt import plugins
from causalopt.backends.contracts import Backend, Callback, CheckpointRule, Policy, PolicyProblem, Progress
from causalopt.backends.optimized import OptimizedPolicy
from causalopt.behavior import behavior_log_prob, embedding_log_prob
from causalopt.data.constraint import Constraint, check_constraints
from causalopt.doors import as_path, check_choice, check_contract, check_number, check_seed, check_type
from causalopt.errors import ConfigError, MissingPartError
from causalopt.objectives.contract import OBJECTIVE, Objective
from causalopt.optimization.correlations import CORRELATIONS, check_correlations
from causalopt.optimization.frontier import frontier
from causalopt.optimization.kl_limit import UntilKL, kl_to
from causalopt.optimization.path import FACTORS, at, factor_at_kl
from causalopt.optimization.penalty import penalised
from causalopt.optimization.problem import draw_samples, policy_problem
from causalopt.output import check_new_folder
from causalopt.pseudo_outcome import PseudoOutcomes
from causalopt.signatures import MOST_PER_ROW, shown
from causalopt.typing import BehaviorPolicy

TARGET_DRAWS = 1000
"""Number of texts from which the KL of a policy that meets a target is estimated."""


def optimize(
    pseudo: PseudoOutcomes,
    *,
    objective: str | Mapping[str, Any] | Objective = "dr_cpo",
    backend: str | Mapping[str, Any] | Backend = "huggingface",
    reference: Policy | None = None,
    behavior_policy: BehaviorPolicy | None = None,
    per_row: int = 2,
    choose: PseudoOutcomes | None = None,
    target_kl: float | None = None,
    constraints: Sequence[Constraint] = (),
    correlations: Sequence[float] = CORRELATIONS,
    seed: int = 0,
    directory: Path | None = None,
    callbacks: Sequence[Callback] = (),
) -> OptimizedPolicy:
    """Tune a policy on pseudo-outcomes.

    Parameters
    ----------
    pseudo:
        From `PseudoOutcomeEstimator.fit_transform`.
    objective, backend:
        A registered name, a mapping with a name and settings, or an object.
    reference:
        P^f0; by default the backend fits it to the logged texts.
    behavior_policy:
        The source of q, see `causalopt.behavior.behavior_log_prob` and, for "embedding", `embedding_log_prob` there.
    per_row:
        Number of texts drawn from the reference for each logged row, for the terms that need them.
    choose:
        Pseudo-outcomes of rows that are not in ``pseudo``, with nuisances fitted on them alone: of the policies between
        the reference and the end of the fit, the one whose gain has the best lower bound on these rows is returned
        (`causalopt.optimization.frontier.frontier`), or the reference if none is above zero. By default the end of the
        fit is returned.
    target_kl:
        KL of the policy to its reference, nats: the fit ends at or beyond it, and its path is followed back to it. With
        ``choose`` the path ends there. None sets no target.
    constraints:
        Bounds on the values of other outcomes (the data set's ``other_outcomes``), which ``choose`` is needed for: a
        policy whose limits on these rows do not keep them is not returned (`causalopt.diagnostics.frontier`), unless
        not even the reference's do and no other policy's, as ``frontier.sentence`` then says.
    correlations:
        With constraints, of the rewards of further fits with the constrained outcomes: each is penalised such that over
        the reference's texts it has this correlation with them, and its path is a candidate too
        (`causalopt.optimization.penalty.penalised`). At 0 a constrained outcome stays, to first order, as it is.
    seed:
        Seed of the reference's tuning, the draws and the optimisation.
    directory:
        Folder for checkpoints, from which a killed optimisation resumes.
    callbacks:
        Called with ("step", metrics) during the fit.

    Returns
    -------
    OptimizedPolicy
        The policy together with its reference.

    Raises
    ------
    DataError
        If ``pseudo`` is of another type, such as the data set itself.
    ConfigError
        If ``objective`` or ``backend`` does not satisfy its contract, or constraints cannot be used.

    Examples
    --------
    >>> import causalopt as co
    >>> world = co.simulation.TemplateWorld(confounding=0.0, seed=0)
    >>> pseudo = co.PseudoOutcomeEstimator().fit_transform(world.sample(300, seed=1))
    >>> policy = co.optimize(pseudo, backend={"name": "finite", "candidates": world.texts})
    >>> len(policy.sample(None, 3, seed=0))
    3
    """
    check_type(
        "optimize: pseudo", pseudo, (PseudoOutcomes,), "the PseudoOutcomes of PseudoOutcomeEstimator.fit_transform"
    )
    data = pseudo.dataset
    maximand: Objective = plugins.objectives.create(objective)
    check_contract("optimize: objective", maximand, OBJECTIVE, "an objective (see objectives.contract.BaseObjective)")
    maker: Backend = plugins.backends.create(backend)
    check_contract("optimize: backend", maker, ("reference", "fit"), "a backend")
    check_number("optimize: per_row", per_row, least=1, most=MOST_PER_ROW, whole=True)
    check_seed("optimize: seed", seed)
    if target_kl is not None:
        check_number("optimize: target_kl", target_kl, above=0)
    if choose is not None:
        check_type("optimize: choose", choose, (PseudoOutcomes,), "PseudoOutcomes of other rows, or None")
    constraints = check_constraints(constraints, data)
    correlations = check_correlations("optimize: correlations", correlations) if constraints else ()
    if constraints and choose is None:
        raise ConfigError("optimize: constraints need choose=, rows that show which policies keep them")
    if behavior_policy is not None:
        check_choice("optimize: behavior_policy", behavior_policy, get_args(BehaviorPolicy))
    check_type("optimize: callbacks", callbacks, (Sequence,), "a list of functions")
    for callback in callbacks:
        if not callable(callback):
            raise ConfigError(f"optimize: callbacks must be functions of an event and metrics, not {shown(callback)}")
    if directory is not None:
        directory = as_path("optimize: directory", directory)
        check_new_folder(directory)
    if reference is not None:
        check_contract("optimize: reference", reference, ("log_prob", "sample"), "a policy")
    if reference is None:
        progress = Progress(None if directory is None else directory / "reference", callbacks)
        reference = maker.reference(data.prompts, data.texts, data.weight, seed=seed, progress=progress)
    samples = draw_samples(reference, data, per_row, seed) if needs_samples(maximand, behavior_policy) else None
    rule = None
    if target_kl is not None:
        rule = UntilKL(kl_to(reference, data, seed), target_kl, name=f"until kl {target_kl} {seed}")
    start = reference

    def fit(correlation: float | None, folder: str) -> tuple[Policy, float] | None:
        """Return the end of a fit and the furthest point of its path; None if there is nothing to penalise."""
        end = fit_policy(
            pseudo,
            maximand,
            maker,
            start,
            samples,
            behavior_policy=behavior_policy,
            seed=seed,
            progress=Progress(None if directory is None else directory / folder, callbacks),
            on_checkpoint=rule,
            constraints=constraints,
            correlation=correlation,
        )
        if end is None or target_kl is None:
            return None if end is None else (end, FACTORS[-1])
        return end, factor_at_kl(end, start, target_kl, kl_to(start, data, seed, TARGET_DRAWS))

    seen = (data,) if choose is None else (data, choose.dataset)
    plain = fit(None, "policy")
    assert plain is not None
    end, furthest = plain
    if choose is None:
        policy = end if target_kl is None else at(end, reference, furthest)
        return OptimizedPolicy(policy, reference, seen, end)
    fits = {k: fit(k, f"correlation {k:g}") for k in correlations}
    ends = {k: found for k, found in fits.items() if found is not None}
    found = frontier(
        end,
        reference,
        choose,
        behavior_policy=behavior_policy,
        furthest=furthest,
        seed=seed,
        constraints=constraints,
        penalised=ends,
    )
    chosen = end if found.correlation is None else ends[found.correlation][0]
    return OptimizedPolicy(at(chosen, reference, found.chosen), reference, seen, chosen, found)


def needs_samples(objective: Objective, behavior_policy: BehaviorPolicy | None) -> bool:
    """Whether texts drawn from the reference are needed: for the objective, or for q from embeddings."""
    return objective.needs_samples or behavior_policy == "embedding"


def fit_policy(
    pseudo: PseudoOutcomes,
    objective: Objective,
    backend: Backend,
    reference: Policy,
    samples: Sequence[Sequence[str]] | None,
    *,
    behavior_policy: BehaviorPolicy | None,
    seed: int,
    progress: Progress,
    on_checkpoint: CheckpointRule | None = None,
    constraints: Sequence[Constraint] = (),
    correlation: float | None = None,
) -> Policy | None:
    """Fit a policy to pseudo-outcomes, given a reference and its ``samples``; used by `optimize` and every run.

    With a ``correlation``, the rewards are penalised by the outcomes of ``constraints``
    (`causalopt.optimization.penalty.penalised`); None is returned if there is nothing to penalise.

    Raises
    ------
    MissingPartError
        If texts drawn from the reference are needed (`needs_samples`) and there are none.
    """
    if samples is None and needs_samples(objective, behavior_policy):
        raise MissingPartError("the objective, or q from embeddings, needs texts drawn from the reference")
    if behavior_policy == "embedding":
        assert samples is not None
        behavior = embedding_log_prob(pseudo, reference, samples, seed)
    else:
        behavior = behavior_log_prob(pseudo.dataset, reference, behavior_policy)

    def problem_of(rows: PseudoOutcomes) -> PolicyProblem:
        drawn = samples if objective.needs_samples else None
        return policy_problem(rows, behavior, drawn, second_stage=objective.second_stage, reference=reference)

    problem = problem_of(pseudo)
    if correlation is not None:
        others = [pseudo.other(one.outcome, one.direction) for one in constraints]
        varying = [rows for rows in others if np.ptp(rows.dataset.outcome[rows.dataset.rated])]
        against = penalised(problem, [problem_of(rows) for rows in varying], correlation)
        if against is None:
            return None
        problem = against
    if on_checkpoint is None:
        return backend.fit(problem, objective, reference=reference, seed=seed, progress=progress)
    rule = _Watched(on_checkpoint)
    policy = backend.fit(problem, objective, reference=reference, seed=seed, progress=progress, on_checkpoint=rule)
    if rule.was_asked or on_checkpoint.best([on_checkpoint.judge(policy)]) is not None:
        return policy
    return reference


class _Watched:
    """A rule that records whether a backend called it; if not, the caller applies it to the final policy."""

    def __init__(self, rule: CheckpointRule) -> None:
        self._rule = rule
        self.name = rule.name
        self.judge, self.is_over = rule.judge, rule.is_over
        self.was_asked = False

    def best(self, found: Sequence[Mapping[str, float]]) -> int | None:
        self.was_asked = True
        return self._rule.best(found)
