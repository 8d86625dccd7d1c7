"""`optimize`: pseudo-outcomes in, a better policy out, for those who write Python rather than YAML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from causalopt import plugins
from causalopt.backends.contracts import Backend, Callback, Policy, Progress
from causalopt.backends.optimized import OptimizedPolicy
from causalopt.behavior import BehaviorPolicy, behavior_log_prob, embedding_log_prob
from causalopt.objectives.contract import Objective
from causalopt.optimization.problem import draw_samples, policy_problem
from causalopt.optimization.selection import select_by_lower_bound
from causalopt.pseudo_outcome import PseudoOutcomes


def optimize(
    pseudo: PseudoOutcomes,
    *,
    objective: str | Mapping[str, Any] | Objective = "dr_cpo",
    backend: str | Mapping[str, Any] | Backend = "huggingface",
    reference: Policy | None = None,
    behavior_policy: BehaviorPolicy | None = None,
    per_row: int = 2,
    validation: PseudoOutcomes | None = None,
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
        P^f0; by default the backend makes it from the logged texts.
    behavior_policy:
        Where q comes from, see `causalopt.behavior.behavior_log_prob` and, for "embedding", `embedding_log_prob` there.
    per_row:
        Texts drawn from the reference for each logged row, for the terms that need them.
    validation:
        Of rows that take no part in ``pseudo``: the policy with the best lower bound of its value there is kept, see
        `causalopt.optimization.selection.select_by_lower_bound`. By default the last policy of the training is.
    seed:
        Seeds the reference's tuning, the draws and the optimisation.
    directory:
        Where checkpoints go, and where a killed optimisation resumes.
    callbacks:
        Called with ("step", metrics) as the backend works.

    Returns
    -------
    OptimizedPolicy
        The policy together with its reference.

    Examples
    --------
    >>> import causalopt as co
    >>> world = co.simulation.TemplateWorld(confounding=0.0, seed=0)
    >>> pseudo = co.PseudoOutcomeEstimator().fit_transform(world.sample(300, seed=1))
    >>> policy = co.optimize(pseudo, backend={"name": "finite", "candidates": world.texts})
    >>> len(policy.sample(None, 3, seed=0))
    3
    """
    data = pseudo.dataset
    maximand: Objective = plugins.objectives.create(objective)
    maker: Backend = plugins.backends.create(backend)
    if reference is None:
        progress = Progress(None if directory is None else directory / "reference", callbacks)
        reference = maker.reference(data.prompts, data.texts, data.weight, seed=seed, progress=progress)
    samples = None
    if maximand.needs_samples or behavior_policy == "embedding":
        samples = draw_samples(reference, data, per_row, seed)
    if behavior_policy == "embedding":
        assert samples is not None
        behavior = embedding_log_prob(pseudo, reference, samples, seed)
    else:
        behavior = behavior_log_prob(data, reference, behavior_policy)
    selection = None
    if validation is not None:
        selection = select_by_lower_bound(validation, reference, behavior_policy=behavior_policy, seed=seed)
    policy = maker.fit(
        policy_problem(
            pseudo,
            behavior,
            samples if maximand.needs_samples else None,
            second_stage=getattr(maximand, "second_stage", None),
        ),
        maximand,
        reference=reference,
        seed=seed,
        progress=Progress(None if directory is None else directory / "policy", callbacks),
        selection=selection,
    )
    seen = (data,) if validation is None else (data, validation.dataset)
    return OptimizedPolicy(policy, reference, seen)
