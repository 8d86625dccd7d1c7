"""Inputs of an objective for a policy that is given only by its log-probabilities."""

from __future__ import annotations

import numpy as np
import torch

from causalopt.backends.contracts import Policy, PolicyProblem
from causalopt.objectives.contract import ObjectiveInputs


def objective_inputs(problem: PolicyProblem, policy: Policy, reference: Policy) -> ObjectiveInputs:
    """Return the inputs of an objective at a policy, float64, without a gradient.

    For backends that compare a few policies, such as `causalopt-rerank`, instead of following a gradient. Lengths are
    1: a text counts as a single token.

    Parameters
    ----------
    problem:
        The n logged rows, with ``per_row`` texts drawn from the reference for each.
    policy, reference:
        The policy, and the reference that the texts were drawn from.

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.backends.contracts import PolicyProblem, Progress
    >>> from causalopt.backends.finite import FiniteBackend
    >>> from causalopt.backends.inputs import objective_inputs
    >>> from causalopt.objectives.paper import CPO
    >>> backend = FiniteBackend(["a", "b"])
    >>> reference = backend.reference(None, ["a", "b"], np.ones(2), seed=0, progress=Progress())
    >>> log_q, one = reference.log_prob(None, ["a", "b"]), np.ones(2)
    >>> problem = PolicyProblem(["a", "b"], None, log_q, one, 0 * one, one, [["b"], ["a"]], np.zeros((2, 1)))
    >>> objective_inputs(problem, reference, reference).log_ratio.tolist()
    [0.0, 0.0]
    """
    per_row = problem.sampled_g.shape[1]
    texts = [text for row in problem.sampled_texts for text in row]
    prompts = None if problem.prompts is None else [prompt for prompt in problem.prompts for _ in range(per_row)]
    at_policy, at_reference = (
        np.asarray(one.log_prob(prompts, texts)) if texts else np.zeros(0) for one in (policy, reference)
    )
    logged = np.asarray(policy.log_prob(problem.prompts, problem.texts))
    values = {
        "log_ratio": logged - problem.behavior_log_prob,
        "residual": problem.residual,
        "g": problem.g,
        "weight": problem.weight,
        "length": np.ones(len(problem)),
        "sampled_log_ratio": at_policy - at_reference,
        "sampled_g": problem.sampled_g.ravel(),
        "sampled_weight": np.repeat(problem.weight, per_row),
        "sampled_length": np.ones(len(texts)),
        "sampled_reference_log_prob": at_reference,
        "noise": np.zeros(len(problem)) if problem.noise is None else problem.noise,
    }
    return ObjectiveInputs(**{name: torch.as_tensor(value, dtype=torch.float64) for name, value in values.items()})
