"""The true values that a run in a world reports with its estimates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from causalopt.backends.contracts import Policy
from causalopt.evaluation.policies import Draws
from causalopt.simulation.all_texts import SampledValue, value_of_all_texts
from causalopt.simulation.contracts import AnyTextWorld, TrueValue, World
from causalopt.typing import Float64


def truth_metrics(world: World, policy: Policy, reference: Policy, draws: Mapping[str, Draws]) -> dict[str, float]:
    """Return true values of policy and reference, and the policy's share of the gain achievable at its own KL.

    If the world knows the effect of any text (`causalopt.simulation.AnyTextWorld`), then ``reference``, ``policy`` and
    ``difference`` are the values of all texts that the policies write, as the estimates are: texts outside the world
    are taken from the evaluation's ``draws``, and ``se`` is the Monte Carlo error of the difference. In any other world
    they are conditional on the world's texts, and exact. ``best`` and ``gain_share`` are conditional on the world's
    texts in every world, as are ``reference_given_texts`` and ``policy_given_texts``.
    """
    start, end = world.true_value(reference), world.true_value(policy)
    kl = world.kl(policy, reference)
    best = world.best_value(reference, kl)
    all_start = _of_all_texts(world, reference, start, draws["reference"])
    all_end = _of_all_texts(world, policy, end, draws["policy"])
    return {
        "reference": all_start.value,
        "policy": all_end.value,
        "difference": all_end.value - all_start.value,
        "se": float(np.hypot(all_start.se, all_end.se)),
        "reference_given_texts": start.value,
        "policy_given_texts": end.value,
        "best": best,
        "gain_share": (end.value - start.value) / (best - start.value) if best > start.value else 0.0,
        "kl": kl,
        "mass_reference": start.mass,
        "mass_policy": end.mass,
    }


def _of_all_texts(world: World, policy: Policy, given_texts: TrueValue, draws: Draws) -> SampledValue:
    if isinstance(world, AnyTextWorld):
        return value_of_all_texts(world, policy, draws.texts)
    return SampledValue(given_texts.value, 0.0)


def true_responses(world: World, texts: Sequence[str], prompts: Sequence[str] | None) -> Float64:
    """Return g of texts that a policy wrote, shape [k], outcome units; nan if the world does not know the text."""
    if isinstance(world, AnyTextWorld):
        return world.true_dose_response_of_any(texts)
    known = set(world.texts)
    inside = [i for i, text in enumerate(texts) if text in known]
    found = np.full(len(texts), np.nan)
    found[inside] = world.true_dose_response(
        [texts[i] for i in inside], None if prompts is None else [prompts[i] for i in inside]
    )
    return found
